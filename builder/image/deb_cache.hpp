// Downloaded packages kept between builds. apt takes a file of the right size in its archive folder for the
// right one, and wants that folder for itself; so each use gets a folder of its own with links to those files
// of the cache whose digest is still the one they were kept under.
#pragma once

#include <filesystem>
#include <set>
#include <string>

namespace kiln::image {

class DebCache {
 public:
  // `cache` holds "<sha256>_<file>.deb" and is made if need be; damaged files are dropped from it. `folder`
  // (made, on the same file system) then has every good one under its own name. Throws base::Error.
  DebCache(std::filesystem::path cache, std::filesystem::path folder);
  // Keeps what was downloaded into the folder since. Two builds may do so at once.
  void keep_new();
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path cache_;
  std::filesystem::path folder_;
  std::set<std::string> known_;
};

}  // namespace kiln::image
