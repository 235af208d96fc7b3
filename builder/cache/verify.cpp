// Store::verify: reads all there is, from the disk.
#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <set>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

#include "base/digest.hpp"
#include "cache/folders.hpp"
#include "cache/store.hpp"
#include "host/io_error.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;

struct Wanted {
  fs::path file;
  std::string sha256;
  std::optional<std::uint64_t> size;  // nullopt: not told
};

// Throws base::Error when it cannot be read to its end.
std::string read_from_disk(const fs::path& file, const std::function<void(std::uint64_t)>& on_read) {
  const host::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw host::io_error("read", file, errno);
  // What the kernel still has in memory says nothing about the disk.
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  base::Sha256 digest;
  std::vector<char> buffer(1U << 20U);
  for (;;) {
    host::check_interrupt();
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw host::io_error("read", file, errno);
    if (count == 0) return digest.hex();
    digest.add({buffer.data(), static_cast<std::size_t>(count)});
    on_read(static_cast<std::uint64_t>(count));
  }
}

// The files of an item and what they have to be; none when its info.json does not tell.
std::vector<Wanted> files_of(const Item& item) {
  const fs::path& path = item.paths.front();
  if (item.kind == Item::Kind::blob) return {{path, item.id(), std::nullopt}};
  std::vector<Wanted> all;
  const auto info = read_json(path / "info.json");
  if (!info || !item.sound) return all;
  try {
    if (item.kind == Item::Kind::layer)
      return {{path / "image.qcow2", info->at("sha256").get<std::string>(),
               info->at("size").get<std::uint64_t>()}};
    for (const auto& file : info->at("files"))
      all.push_back({path / "files" / file.at("name").get<std::string>(),
                     file.at("sha256").get<std::string>(), file.at("size").get<std::uint64_t>()});
  } catch (const nlohmann::json::exception&) {
    all.clear();
  }
  return all;
}

// Two things of one name are told apart by it; 0 when there is none.
ino_t inode_of(const fs::path& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 ? status.st_ino : 0;
}

std::uint64_t length_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? 0 : size;
}

// Parents before their children.
std::vector<Item> parents_first(std::vector<Item> items) {
  std::map<std::string, std::string> layers;  // with their parents
  for (const auto& item : items)
    if (item.kind == Item::Kind::layer) layers[item.id()] = item.parent;
  const auto depth = [&](const Item& item) {
    std::size_t steps = 0;
    auto at = layers.find(item.parent);
    // A ring cannot be built, but it can be written.
    for (; at != layers.end() && steps <= layers.size(); at = layers.find(at->second)) ++steps;
    return item.kind == Item::Kind::layer ? steps : layers.size() + 1;
  };
  std::map<std::string, std::size_t> depths;
  for (const auto& item : items) depths[item.name] = depth(item);
  std::stable_sort(items.begin(), items.end(),
                   [&](const Item& a, const Item& b) { return depths.at(a.name) < depths.at(b.name); });
  return items;
}

}  // namespace

Verified Store::verify(
    const std::function<void(const Item& item, std::uint64_t done, std::uint64_t total)>& on_read) {
  auto items = contents(root_);
  std::erase_if(items, [](const Item& item) {
    if (item.kind == Item::Kind::blob) return !base::is_sha256(item.id());  // half of one
    return item.kind != Item::Kind::layer && item.kind != Item::Kind::artifact;
  });
  items = parents_first(std::move(items));
  std::uint64_t total = 0;
  for (const auto& item : items)
    for (const auto& file : files_of(item)) total += length_of(file.file);

  Verified result;
  std::map<std::string, Stamp> stamps;
  std::set<std::string> bad;  // ids of layers
  for (const auto& item : items) {
    const fs::path& path = item.paths.front();
    const auto inode = inode_of(path);
    ++result.read[item.kind];
    on_read(item, result.bytes, total);
    fs::path where = path;
    std::string what;
    const auto files = files_of(item);
    if (files.empty()) {
      where = path / "info.json";
      what = "it cannot be read, or is not as kiln writes it";
    }
    for (const auto& file : files) {
      const auto before = stamp_of(file.file);
      std::string found;
      if (!before) {
        found = "it is not there";
      } else if (file.size && before->size != *file.size) {
        found = fmt::format("it has {} bytes, not {}", before->size, *file.size);
      } else {
        try {
          const std::string sha256 = read_from_disk(file.file, [&](std::uint64_t count) {
            result.bytes += count;
            on_read(item, result.bytes, total);
          });
          if (sha256 != file.sha256)
            found = fmt::format("its sha256 is {}, not {}", sha256, file.sha256);
          else if (stamp_of(file.file) == before) {
            auto stamp = *before;
            stamp.sha256 = sha256;
            stamps[file.file.lexically_relative(root_)] = stamp;
          }
        } catch (const base::Error& error) {
          if (error.exit() != base::Exit::failed) throw;
          found = error.message();
        }
      }
      if (found.empty() || !what.empty()) continue;
      where = file.file;
      what = found;
    }
    std::error_code ignored;
    if (what.empty() && item.kind == Item::Kind::layer && !item.parent.empty()) {
      if (bad.contains(item.parent))
        what = fmt::format("it stands on {}, which is damaged", item.parent);
      else if (!fs::exists(root_ / "layers" / item.parent, ignored))
        what = fmt::format("it stands on {}, which is gone", item.parent);
    }
    if (what.empty()) continue;
    if (item.kind == Item::Kind::layer) bad.insert(item.id());
    fs::path kept;
    if (writable_) {
      const auto lock = take_lock();
      // Another kiln may have set it aside, or made it anew, while it was read.
      if (inode_of(path) != inode) continue;
      if (const auto moved = move_aside(path)) kept = *moved;
    }
    result.damaged.push_back({item, where, what, kept});
  }
  if (writable_) {
    const auto lock = take_lock();
    keep_stamps(stamps);
  }
  return result;
}

}  // namespace kiln::cache
