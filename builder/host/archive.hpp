// Reading and writing archives; libarchive lives only here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kiln::host {

struct Member {
  std::string path;  // relative, checked: no leading '/', no ".." part
  char kind = 'f';   // f file, d directory, l symbolic link; read only: h hard link, o other
  unsigned mode = 0644;
  // Names or numbers; numbers are used as ids. A cpio and an ISO know only numbers and "root".
  std::string owner = "root";
  std::string group = "root";
  std::int64_t mtime = 0;
  std::string content;           // of a file, when `source` is empty
  std::filesystem::path source;  // local file that holds the content
  std::string target;            // of a link; a symbolic link's may lead anywhere
  std::uint64_t size = 0;        // of a file's content; set when reading
};

enum class Format { tar, cpio_newc, iso9660 };

// Writes `members` in their order, the same bytes for the same members (an ISO excepted: its volume holds the
// clock), to `to` (by rename). `label` is the volume id of an ISO (Joliet and Rock
// Ridge are on).
void write_archive(const std::filesystem::path& to, Format format, const std::vector<Member>& members,
                   const std::string& label = {});

// The same as a tar, in memory.
std::string tar_in_memory(const std::vector<Member>& members);

// Of the member that is being looked at; taken once. Throws base::Error when the archive is damaged.
class Content {
 public:
  using Next = std::function<std::string_view()>;  // the next piece, empty at the end
  explicit Content(Next next) : next_(std::move(next)) {}

  [[nodiscard]] std::string operator()() const;
  // Leaves it in the new file `to`, mode 0600, piece by piece: it may be larger than memory.
  void save(const std::filesystem::path& to) const;

 private:
  Next next_;
};

using EachMember = std::function<void(const Member&, const Content& read)>;

// Calls `each` for every member of a tar, cpio, zip, ar or ISO, compressed by gzip, bzip2, xz, lz4 or zstd.
// The archive's root ("./") is left out. Throws
// base::Error on a damaged archive or a member whose path leaves the archive.
void read_archive(const std::filesystem::path& from, const EachMember& each);
// The same of an archive in memory, which errors call `name`.
void read_archive_in(std::string_view bytes, const std::string& name, const EachMember& each);

// Leaves the content of `from` (compressed by gzip, bzip2, xz or zstd, or as it is) in the new file `to`.
// Throws base::Error when it is damaged.
void expand(const std::filesystem::path& from, const std::filesystem::path& to);

// Reads the socket `from` to its end and leaves it in `to`, compressed by zstd, on the disk. Throws
// base::Error.
void compress_socket(int from, const std::filesystem::path& to);
// Writes what compress_socket() left in `from` to the socket `to`; false when its other end is gone before
// all was taken. Throws base::Error when the file is damaged.
bool expand_to_socket(const std::filesystem::path& from, int to);

}  // namespace kiln::host
