#include "host/temp_dir.hpp"

#include <cerrno>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>
#include <vector>

#include "host/fd.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

Fd open_folder(int parent, const char* name) {
  return Fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

std::vector<std::string> names_in(const Fd& fd) {
  std::vector<std::string> names;
  const int listed = ::dup(fd.get());
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(listed < 0 ? nullptr : ::fdopendir(listed), &::closedir);
  while (const dirent* entry = dir ? ::readdir(dir.get()) : nullptr) {  // NOLINT(concurrency-mt-unsafe)
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

// `device`: of the file system that is not left.
void remove_at(int parent, const char* name, dev_t device) {
  if (::unlinkat(parent, name, 0) == 0) return;
  struct stat status{};
  if (::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) != 0) return;
  if (!S_ISDIR(status.st_mode) || status.st_dev != device) return;
  Fd fd = open_folder(parent, name);
  // A tool may have left folders we cannot search.
  if (!fd && errno == EACCES && ::fchmodat(parent, name, 0700, 0) == 0) fd = open_folder(parent, name);
  if (fd) {
    ::fchmod(fd.get(), 0700);
    for (const std::string& below : names_in(fd)) remove_at(fd.get(), below.c_str(), device);
  }
  ::unlinkat(parent, name, AT_REMOVEDIR);
}

}  // namespace

void remove_tree(const fs::path& path) noexcept {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return;
  try {
    remove_at(AT_FDCWD, path.c_str(), status.st_dev);
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    // No memory for a name: the rest stays.
  }
}

TempDir::TempDir(const fs::path& parent, const std::string& prefix) {
  fs::path place = parent;
  if (place.empty()) {
    std::error_code code;
    place = fs::temp_directory_path(code);
    if (code) throw io_error("find", "the directory for temporary files", code.value());
  }
  std::string name = (place / (prefix + "XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr) throw io_error("create a directory in", place / prefix, errno);
  path_ = name;
}

TempDir::TempDir(TempDir&& other) noexcept : path_(std::exchange(other.path_, {})) {}

TempDir::~TempDir() {
  if (!path_.empty()) remove_tree(path_);
}

}  // namespace kiln::host
