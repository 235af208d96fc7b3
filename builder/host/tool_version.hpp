// The version of a host program from the package database of the distribution, without running anything. For
// host/ itself.
#pragma once

#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <string>

namespace kiln::host {

class ToolVersions {
 public:
  // `root` is where the system's file tree begins: "/", in tests another folder.
  explicit ToolVersions(std::filesystem::path root);
  // "<package> <version>" of the package that brought the program at `path` (below root), else a stamp of the
  // file: "<path> <size> bytes of <mtime>"; "absent" when there is no such file. Remembered. Builds at once
  // share one.
  std::string of(const std::filesystem::path& path);

 private:
  std::string look_up(const std::filesystem::path& path);
  // The package that owns one of `names` (lines of a file list), "" if none does.
  std::string owner(const std::string& program, const std::string& names) const;
  void read_status();

  std::mutex mutex_;  // of all below
  std::filesystem::path root_;
  bool status_read_ = false;
  std::map<std::string, std::string> versions_;  // installed packages; "name" and "name:arch"
  std::map<std::string, std::string> known_;
};

}  // namespace kiln::host
