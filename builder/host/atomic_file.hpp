// Files that appear whole or not at all: written beside, fsynced, renamed.
#pragma once

#include <filesystem>
#include <string_view>

namespace kiln::host {

// Replaces `file` by `content`; `mode` is exact (no umask). Throws base::Error; then the old file is as it
// was.
void write_file(const std::filesystem::path& file, std::string_view content, unsigned mode = 0644);
// The whole of a file; throws base::Error, naming it.
std::string read_file(const std::filesystem::path& file);
// fsync of a file or directory.
void sync_path(const std::filesystem::path& path);
// rename(2) and fsync of both parents. Same file system only; throws base::Error.
void rename_synced(const std::filesystem::path& from, const std::filesystem::path& to);
// Copies with holes and, where the file system can, shared blocks (reflink). Result is fsynced. Throws
// base::Error; then `to` does not exist.
void copy_sparse(const std::filesystem::path& from, const std::filesystem::path& to);
// Free bytes of the file system that holds `path` (or its nearest existing parent).
std::uintmax_t free_space(const std::filesystem::path& path);

}  // namespace kiln::host
