#include "image/deb_cache.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "base/digest.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::image {

namespace fs = std::filesystem;

DebCache::DebCache(fs::path cache, fs::path folder) : cache_(std::move(cache)), folder_(std::move(folder)) {
  fs::create_directories(cache_);
  fs::create_directories(folder_);
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(cache_)) all.push_back(entry.path());
  for (const fs::path& file : all) {
    host::check_interrupt();
    const std::string name = file.filename();
    const std::size_t cut = name.find('_');
    if (cut != 64 || file.extension() != ".deb" || !fs::is_regular_file(fs::symlink_status(file))) continue;
    if (base::sha256_file(file) != name.substr(0, cut)) {
      fs::remove(file);
      continue;
    }
    const std::string own = name.substr(cut + 1);
    if (::link(file.c_str(), (folder_ / own).c_str()) != 0 && errno != EEXIST && errno != ENOENT)
      throw host::io_error("link", folder_ / own, errno);
    known_.insert(own);
  }
}

void DebCache::keep_new() {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename();
    if (entry.path().extension() != ".deb" || known_.contains(name)) continue;
    if (!fs::is_regular_file(entry.symlink_status())) continue;
    const fs::path kept = cache_ / (base::sha256_file(entry.path()) + "_" + name);
    if (::link(entry.path().c_str(), kept.c_str()) != 0 && errno != EEXIST)
      throw host::io_error("keep", kept, errno);
    known_.insert(name);
  }
}

std::optional<fs::path> DebCache::find(const fs::path& cache, const std::string& name,
                                       const std::string& sha256) {
  fs::path file = cache / (sha256 + "_" + name);
  if (!fs::is_regular_file(fs::symlink_status(file))) return std::nullopt;
  if (base::sha256_file(file) != sha256) {
    fs::remove(file);
    return std::nullopt;
  }
  // As linking it would: its ctime says when it was used last.
  const std::array<timespec, 2> times = {timespec{0, UTIME_NOW}, timespec{0, UTIME_OMIT}};
  ::utimensat(AT_FDCWD, file.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
  return file;
}

void DebCache::keep(const fs::path& cache, const std::string& name, const std::string& content) {
  fs::create_directories(cache);
  host::write_file(cache / (base::sha256(content) + "_" + name), content);
}

}  // namespace kiln::image
