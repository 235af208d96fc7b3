// Files that appear whole or not at all: written without a name, fsynced, then named.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::host {

// Replaces `file` by `content`; `mode` is exact (no umask). Throws base::Error; then the old file is as it
// was. Nothing replaces a file that is there but a rename, so the new one has a name of its own for a moment:
// whoever is killed then leaves part_of(file), which the next write of `file` removes.
void write_file(const std::filesystem::path& file, std::string_view content, unsigned mode = 0644);
// .NAME.kiln-part in the folder of `file`.
std::filesystem::path part_of(const std::filesystem::path& file);
// Makes `file`, which must not exist: when it does, throws base::Error and leaves it alone.
void write_new_file(const std::filesystem::path& file, std::string_view content, unsigned mode);
// The whole of a file, or its first `most` bytes; throws base::Error, naming it.
std::string read_file(const std::filesystem::path& file, std::size_t most = SIZE_MAX);
// The same of standard input.
std::string read_input(std::size_t most);
// fsync of a file or directory.
void sync_path(const std::filesystem::path& path);
// Whether something has this name, a link that leads nowhere too. Throws base::Error when that cannot be
// known.
bool has_name(const std::filesystem::path& path);
// rename(2) and fsync of both parents. Same file system only; throws base::Error.
void rename_synced(const std::filesystem::path& from, const std::filesystem::path& to);
// A file with a name of its own beside `to`, which `write` fills, then fsync, rename and fsync of the folder.
// Throws base::Error, and what `write` does; then `to` is as it was.
void write_beside(const std::filesystem::path& to, unsigned mode, const std::function<void(int fd)>& write);
// Copies with holes and, where the file system can, shared blocks (reflink). Result is fsynced, and has
// `mode`, else that of `from`; until it is whole it is its owner's alone. Throws base::Error; then `to` does
// not exist.
void copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to,
                 std::optional<unsigned> mode = std::nullopt);
// Free bytes of the file system that holds `path` (or its nearest existing parent).
std::uintmax_t free_space(const std::filesystem::path& path);

}  // namespace kiln::host
