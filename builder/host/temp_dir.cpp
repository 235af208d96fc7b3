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

// Removes what is below the directory `fd`, but nothing on another file system: a mount that could not be
// taken away must not be emptied. Follows no links. What cannot be removed stays.
void empty_folder(Fd fd, dev_t device) {
  ::fchmod(fd.get(), 0700);  // a tool may have left folders we cannot search
  const int listed = ::dup(fd.get());
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(listed < 0 ? nullptr : ::fdopendir(listed), &::closedir);
  if (!dir) return;
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) {  // NOLINT(concurrency-mt-unsafe)
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  for (const std::string& name : names) {
    if (::unlinkat(fd.get(), name.c_str(), 0) == 0) continue;
    struct stat status{};
    if (::fstatat(fd.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISDIR(status.st_mode) || status.st_dev != device) continue;
    Fd child(::openat(fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!child && errno == EACCES && ::fchmodat(fd.get(), name.c_str(), 0700, 0) == 0) {
      child = Fd(::openat(fd.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    }
    if (child) empty_folder(std::move(child), device);
    ::unlinkat(fd.get(), name.c_str(), AT_REMOVEDIR);
  }
}

}  // namespace

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
  if (path_.empty()) return;
  Fd fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat status{};
  if (fd && ::fstat(fd.get(), &status) == 0) empty_folder(std::move(fd), status.st_dev);
  ::rmdir(path_.c_str());
}

}  // namespace kiln::host
