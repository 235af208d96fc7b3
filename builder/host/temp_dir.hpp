// A directory that goes away with its owner, and how a tree is removed.
#pragma once

#include <filesystem>
#include <string>

namespace kiln::host {

class TempDir {
 public:
  // Makes `parent`/`prefix`XXXXXX, mode 0700. An empty parent means the system's directory for temporary
  // files. Throws base::Error.
  explicit TempDir(const std::filesystem::path& parent = {}, const std::string& prefix = "kiln-");
  ~TempDir();  // removes all below it, one file system only
  TempDir(TempDir&& other) noexcept;
  TempDir& operator=(TempDir&&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Removes a file or a tree without following links or leaving its file system (a mount that could not be
// taken away must not be emptied); what cannot be removed stays.
void remove_tree(const std::filesystem::path& path) noexcept;

}  // namespace kiln::host
