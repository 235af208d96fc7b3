#include "host/atomic_file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/fs.h>
#include <string>
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

// A new file beside `file`; the caller renames or removes it.
Fd open_beside(const fs::path& file, fs::path& temporary) {
  std::string name = (folder_of(file) / ("." + file.filename().string() + ".XXXXXX")).string();
  Fd fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd) throw io_error("create", file, errno);
  temporary = name;
  return fd;
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

void write_file(const fs::path& file, std::string_view content, unsigned mode) {
  fs::path temporary;
  Fd fd = open_beside(file, temporary);
  base::ScopeExit drop([&] { ::unlink(temporary.c_str()); });
  write_all(fd.get(), content, file);
  if (::fchmod(fd.get(), mode) != 0) throw io_error("set the mode of", file, errno);
  if (::fsync(fd.get()) != 0) throw io_error("write", file, errno);
  if (::rename(temporary.c_str(), file.c_str()) != 0) throw io_error("replace", file, errno);
  drop.release();
  sync_path(folder_of(file));
}

std::string read_file(const fs::path& file) {
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw io_error("read", file, errno);
  struct stat status{};
  std::string content;
  if (::fstat(fd.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    content.reserve(static_cast<std::size_t>(status.st_size) + 1);
  }
  std::vector<char> buffer(std::size_t{1} << 16U);
  while (true) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("read", file, errno);
    if (count == 0) return content;
    content.append(buffer.data(), static_cast<std::size_t>(count));
  }
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

void copy_sparse(const fs::path& from, const fs::path& to) {
  const Fd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) throw io_error("read", from, errno);
  struct stat status{};
  if (::fstat(in.get(), &status) != 0) throw io_error("read", from, errno);
  if (!S_ISREG(status.st_mode)) throw base::Error("cannot copy '" + from.string() + "': not a regular file");

  fs::path temporary;
  Fd out = open_beside(to, temporary);
  base::ScopeExit drop([&] { ::unlink(temporary.c_str()); });
  if (::ioctl(out.get(), FICLONE, in.get()) != 0) {
    if (::ftruncate(out.get(), status.st_size) != 0) throw io_error("write", to, errno);
    off_t at = 0;
    while (at < status.st_size) {
      const off_t data = ::lseek(in.get(), at, SEEK_DATA);
      if (data < 0 && errno == ENXIO) break;  // only a hole is left
      if (data < 0) {                         // no holes known here: all is data
        copy_range(in.get(), out.get(), at, status.st_size - at, from, to);
        break;
      }
      off_t hole = ::lseek(in.get(), data, SEEK_HOLE);
      if (hole < 0) hole = status.st_size;
      copy_range(in.get(), out.get(), data, hole - data, from, to);
      at = hole;
    }
  }
  if (::fchmod(out.get(), status.st_mode & 0777U) != 0) throw io_error("set the mode of", to, errno);
  if (::fsync(out.get()) != 0) throw io_error("write", to, errno);
  if (::rename(temporary.c_str(), to.c_str()) != 0) throw io_error("replace", to, errno);
  drop.release();
  sync_path(folder_of(to));
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
