#include "host/atomic_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/fs.h>
#include <string>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <vector>

#include "base/scope_exit.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

void write_all(int fd, std::string_view bytes, const fs::path& shown) {
  while (!bytes.empty()) {
    const ssize_t count = ::write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("write", shown, errno);
    bytes.remove_prefix(static_cast<std::size_t>(count));
  }
}

std::string read_all(int fd, const fs::path& shown, std::size_t most) {
  struct stat status{};
  std::string content;
  if (::fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
    content.reserve(std::min(static_cast<std::size_t>(status.st_size) + 1, most));
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (content.size() < most) {
    const ssize_t count = ::read(fd, buffer.data(), std::min(buffer.size(), most - content.size()));
    if (count < 0 && errno == EINTR) {
      check_interrupt();
      continue;
    }
    if (count < 0) throw io_error("read", shown, errno);
    if (count == 0) break;
    content.append(buffer.data(), static_cast<std::size_t>(count));
  }
  return content;
}

// A new file beside `file`; the caller renames or removes it.
Fd open_beside(const fs::path& file, fs::path& temporary) {
  std::string name = (folder_of(file) / ("." + file.filename().string() + ".XXXXXX")).string();
  Fd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) throw io_error("create", file, errno);
  temporary = name;
  return fd;
}

// Gives the nameless file `fd` the name `file`, which must not exist. 0, or -1 with errno.
int give_name(int fd, const fs::path& file) {
  const std::string self = "/proc/self/fd/" + std::to_string(fd);
  return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, file.c_str(), AT_SYMLINK_FOLLOW);
}

// A new file without a name in the folder of `file`: whoever is killed while it is written leaves nothing.
// None where the file system has no such files; what else is wrong, open_part() says.
Fd open_nameless(const fs::path& file) {
  return Fd(::open(folder_of(file).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
}

// Held until `fd` is closed, so also by nobody who was killed. Where a file system has no locks, two writers
// of one file at the same time are their callers' care.
void lock(int fd) {
  while (::flock(fd, LOCK_EX) != 0 && errno == EINTR) check_interrupt();
}

bool has_name(int fd, const fs::path& name) {
  struct stat ours{};
  struct stat named{};
  return ::fstat(fd, &ours) == 0 && ::lstat(name.c_str(), &named) == 0 && ours.st_dev == named.st_dev &&
         ours.st_ino == named.st_ino;
}

// Removes the part that a killed writer left; waits for one that is at work. False, with errno, when it
// stays.
bool clear_part(const fs::path& part) {
  const Fd left(::open(part.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!left && errno == ENOENT) return true;
  if (left) lock(left.get());
  if (left && !has_name(left.get(), part)) return true;
  return ::unlink(part.c_str()) == 0 || errno == ENOENT;
}

// Gives the nameless `fd` the name `part`, which stays its own as long as it is open.
void name_part(int fd, const fs::path& part) {
  lock(fd);
  while (give_name(fd, part) != 0) {
    if (errno != EEXIST) throw io_error("create", part, errno);
    if (!clear_part(part)) throw io_error("remove", part, errno);
  }
}

// A new file with the name `part`, which stays its own as long as it is open.
Fd open_part(const fs::path& part, const fs::path& shown) {
  while (true) {
    Fd fd(::open(part.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
    if (fd) {
      lock(fd.get());
      if (has_name(fd.get(), part))
        return fd;  // else somebody had the lock before, and took it for a left one
    } else {
      if (errno != EEXIST) throw io_error("create", shown, errno);
      if (!clear_part(part)) throw io_error("remove", part, errno);
    }
  }
}

void fill_file(int fd, std::string_view content, unsigned mode, const fs::path& shown) {
  write_all(fd, content, shown);
  if (::fchmod(fd, mode) != 0) throw io_error("set the mode of", shown, errno);
  if (::fsync(fd) != 0) throw io_error("write", shown, errno);
}

// The same of a part, which goes when that fails.
void fill_part(int fd, const fs::path& part, std::string_view content, unsigned mode, const fs::path& shown) {
  base::ScopeExit drop([&] { ::unlink(part.c_str()); });
  fill_file(fd, content, mode, shown);
  drop.release();
}

// `flags` are renameat2's. When it fails the part goes.
void rename_part(const fs::path& part, const fs::path& file, unsigned flags) {
  if (::renameat2(AT_FDCWD, part.c_str(), AT_FDCWD, file.c_str(), flags) == 0) return;
  const int code = errno;
  ::unlink(part.c_str());
  throw io_error(flags == 0 ? "replace" : "create", file, code);
}

// Copies [from, from + length) of one file to the same place of another.
void copy_range(int in, int out, off_t offset, off_t length, const fs::path& from, const fs::path& to) {
  std::vector<char> buffer;
  bool in_kernel = true;
  while (length > 0) {
    check_interrupt();
    const auto chunk = static_cast<std::size_t>(std::min<off_t>(length, off_t{16} << 20));
    if (in_kernel) {
      off_t read_at = offset;
      off_t write_at = offset;
      const ssize_t count = ::copy_file_range(in, &read_at, out, &write_at, chunk, 0);
      if (count > 0) {
        offset += count;
        length -= count;
        continue;
      }
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
        throw io_error("write", to, errno);
      }
      in_kernel = false;  // not between these file systems
    }
    buffer.resize(std::size_t{1} << 20U);
    const ssize_t got = ::pread(in, buffer.data(), std::min(buffer.size(), chunk), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw io_error("read", from, errno);
    if (got == 0) throw base::Error("'" + from.string() + "' became shorter while it was copied");
    ssize_t put = 0;
    while (put < got) {
      const ssize_t count =
          ::pwrite(out, buffer.data() + put, static_cast<std::size_t>(got - put), offset + put);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw io_error("write", to, errno);
      put += count;
    }
    offset += got;
    length -= got;
  }
}

}  // namespace

fs::path part_of(const fs::path& file) {
  return folder_of(file) / ("." + file.filename().string() + ".kiln-part");
}

void write_file(const fs::path& file, std::string_view content, unsigned mode) {
  const fs::path part = part_of(file);
  Fd fd = open_nameless(file);
  if (fd) {
    fill_file(fd.get(), content, mode, file);
    if (give_name(fd.get(), file) == 0) {
      static_cast<void>(clear_part(part));
    } else {
      name_part(fd.get(), part);
      rename_part(part, file, 0);
    }
  } else {
    fd = open_part(part, file);
    fill_part(fd.get(), part, content, mode, file);
    rename_part(part, file, 0);
  }
  sync_path(folder_of(file));
}

void write_new_file(const fs::path& file, std::string_view content, unsigned mode) {
  const fs::path part = part_of(file);
  Fd fd = open_nameless(file);
  if (fd) {
    fill_file(fd.get(), content, mode, file);
    if (give_name(fd.get(), file) != 0) throw io_error("create", file, errno);
    static_cast<void>(clear_part(part));  // the file is there all the same
  } else {
    fd = open_part(part, file);
    fill_part(fd.get(), part, content, mode, file);
    rename_part(part, file, RENAME_NOREPLACE);
  }
  sync_path(folder_of(file));
}

std::string read_file(const fs::path& file, std::size_t most) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("read", file, errno);
  return read_all(fd.get(), file, most);
}

std::string read_input(std::size_t most) {
  return read_all(STDIN_FILENO, "standard input", most);
}

bool has_name(const fs::path& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) == 0) return true;
  if (errno != ENOENT && errno != ENOTDIR) throw io_error("look at", path, errno);
  return false;
}

void sync_path(const fs::path& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("open", path, errno);
  // Some file systems have no fsync of directories: nothing can be lost there that could be kept.
  if (::fsync(fd.get()) != 0 && errno != EINVAL) throw io_error("write", path, errno);
}

void rename_synced(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw io_error("move '" + from.string() + "' to", to, errno);
  }
  sync_path(folder_of(to));
  if (folder_of(from) != folder_of(to)) sync_path(folder_of(from));
}

void write_beside(const fs::path& to, unsigned mode, const std::function<void(int fd)>& write) {
  fs::path temporary;
  const Fd out = open_beside(to, temporary);
  base::ScopeExit drop([&] { ::unlink(temporary.c_str()); });
  write(out.get());
  if (::fchmod(out.get(), mode) != 0) throw io_error("set the mode of", to, errno);
  if (::fsync(out.get()) != 0) throw io_error("write", to, errno);
  if (::rename(temporary.c_str(), to.c_str()) != 0) throw io_error("replace", to, errno);
  drop.release();
  sync_path(folder_of(to));
}

void copy_sparse(const fs::path& from, const fs::path& to, std::optional<unsigned> mode) {
  const Fd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) throw io_error("read", from, errno);
  struct stat status{};
  if (::fstat(in.get(), &status) != 0) throw io_error("read", from, errno);
  if (!S_ISREG(status.st_mode)) throw base::Error("cannot copy '" + from.string() + "': not a regular file");

  write_beside(to, mode.value_or(status.st_mode & 0777U), [&](int out) {
    if (::ioctl(out, FICLONE, in.get()) == 0) return;
    if (::ftruncate(out, status.st_size) != 0) throw io_error("write", to, errno);
    off_t at = 0;
    while (at < status.st_size) {
      const off_t data = ::lseek(in.get(), at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // only a hole is left
      if (data < 0) {                         // no holes known here: all is data
        copy_range(in.get(), out, at, status.st_size - at, from, to);
        break;
      }
      off_t hole = ::lseek(in.get(), data, SEEK_HOLE);
      if (hole < 0) hole = status.st_size;
      copy_range(in.get(), out, data, hole - data, from, to);
      at = hole;
    }
  });
}

std::uintmax_t free_space(const fs::path& path) {
  std::error_code ignored;
  fs::path place = fs::absolute(path, ignored);
  while (true) {
    struct statvfs status{};
    if (::statvfs(place.c_str(), &status) == 0) {
      return static_cast<std::uintmax_t>(status.f_bavail) * status.f_frsize;
    }
    if (!place.has_relative_path()) return 0;
    place = place.parent_path();
  }
}

}  // namespace kiln::host
