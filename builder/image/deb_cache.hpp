// Downloaded packages kept between builds. apt takes a file of the right size in its archive folder for the
// right one, and wants that folder for itself; so each use gets a folder of its own with links to those files
// of the cache whose digest is still the one they were kept under.
#pragma once

#include <filesystem>
#include <optional>
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

  // One package of `cache` by its file name and digest, for where no folder can be lent; its file is read and
  // dropped when it is damaged.
  static std::optional<std::filesystem::path> find(const std::filesystem::path& cache,
                                                   const std::string& name, const std::string& sha256);
  // Keeps one, whose digest is of `content`.
  static void keep(const std::filesystem::path& cache, const std::string& name, const std::string& content);

 private:
  std::filesystem::path cache_;
  std::filesystem::path folder_;
  std::set<std::string> known_;
};

}  // namespace kiln::image
