// Reading and writing archives; libarchive lives only here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace kiln::host {

struct Member {
  std::string path;  // relative, checked: no leading '/', no ".." part
  char kind = 'f';   // f file, d directory, l symbolic link
  unsigned mode = 0644;
  std::string owner = "root";  // names or numbers; numbers are used as ids
  std::string group = "root";
  std::int64_t mtime = 0;
  std::string content;           // of a file, when `source` is empty
  std::filesystem::path source;  // local file that holds the content
  std::string target;            // of a link
};

enum class Format { tar, cpio_newc, iso9660 };

// Writes `members` in their order to `to` (by rename). `label` is the volume id of an ISO (Joliet and Rock
// Ridge are on).
void write_archive(const std::filesystem::path& to, Format format, const std::vector<Member>& members,
                   const std::string& label = {});

// Calls `each` for every member of any archive libarchive reads; content is read lazily by `read`. Throws
// base::Error on a damaged archive or a member whose path leaves the archive.
void read_archive(const std::filesystem::path& from,
                  const std::function<void(const Member&, const std::function<std::string()>& read)>& each);

}  // namespace kiln::host
