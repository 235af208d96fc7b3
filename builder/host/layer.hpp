// Layers of a docker image: what a root tree has that the one below it has not, as a tar that is the same for
// the same trees. Root only: owners are real.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "host/host.hpp"

namespace kiln::host {

// What a path of a tree is, but for its time.
struct TreeEntry {
  char kind = 'f';  // f file, d directory, l link
  unsigned mode = 0;
  int uid = 0, gid = 0;
  std::string content;       // sha256 of a file, or a link's text
  std::string capabilities;  // as the file system keeps them
  bool operator==(const TreeEntry&) const = default;
};

// All below `root` by path without a leading '/'. Sockets, fifos and devices are left out.
std::map<std::string, TreeEntry> scan_tree(const std::filesystem::path& root);

// The time of every file of a layer.
inline constexpr std::int64_t layer_time = 1'700'000'000;

// Leaves at `to` a tar of all paths of `root` that are new or other than `below` says, with the folders on
// the way to them, and marks those that are gone (".wh.NAME"). False, and no file, when nothing differs.
bool write_layer(const Host& host, const std::filesystem::path& root,
                 const std::map<std::string, TreeEntry>& below, const std::filesystem::path& to);

// The names that mark what a layer takes away: the path itself, or a folder that is emptied first.
struct Whiteouts {
  std::set<std::string> removed, emptied;
  std::set<std::string> marks;  // as they stand in the tar
};
// Reads a foreign layer through. Throws base::Error for one that is damaged, or holds paths or marks that
// lead out of it, or devices.
Whiteouts read_layer(const std::filesystem::path& tar);

}  // namespace kiln::host
