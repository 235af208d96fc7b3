// What leaves a store that has grown too large: Store::trim.
#include <algorithm>
#include <fcntl.h>
#include <map>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "cache/folders.hpp"
#include "cache/store.hpp"

namespace kiln::cache {

namespace fs = std::filesystem;

std::uint64_t Store::trim(std::uint64_t bytes) {
  if (!writable_) return 0;
  // Alone or not at all: a build that found a layer relies on it until it ends. The kernel lets go of the
  // shared lock before it tries for the other one, so that is taken again in either case.
  if (::flock(users_.get(), LOCK_EX | LOCK_NB) != 0) {
    share();
    return 0;
  }
  struct Item {
    fs::path path;
    std::int64_t used = 0;
    std::uint64_t size = 0;
    std::string layer, parent;
  };
  std::vector<Item> items;
  std::map<std::string, int> children_of;
  for (const auto& path : children(root_ / "layers")) {
    Item item{path, mtime_of(path), room_of(path), path.filename(), ""};
    if (const auto layer = find_layer_by_id(item.layer)) item.parent = layer->parent;
    ++children_of[item.parent];
    items.push_back(std::move(item));
  }
  for (const auto& path : children(root_ / "artifacts"))
    items.push_back({path, mtime_of(path), room_of(path), "", ""});
  for (const auto& path : children(root_ / "blobs"))
    items.push_back({path, mtime_of(path), room_of(path), "", ""});
  for (const auto& kind : children(root_ / "packages"))
    for (const auto& path : children(kind)) {
      struct stat status{};
      // A package's mtime is its maker's; when it came here is its ctime.
      const auto used = ::lstat(path.c_str(), &status) == 0 ? nanoseconds(status.st_ctim) : 0;
      items.push_back({path, used, room_of(path), "", ""});
    }
  for (const auto& path : children(root_ / "failed")) {
    const bool damaged = path.filename().string().starts_with("damaged-");
    items.push_back({path, damaged ? 0 : mtime_of(path), room_of(path), "", ""});
  }
  std::uint64_t total = 0;
  for (const auto& item : items) total += item.size;

  std::uint64_t freed = 0;
  const auto lock = take_lock();
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.used < b.used; });
  while (total - freed > bytes) {
    const auto victim = std::find_if(items.begin(), items.end(), [&](const Item& item) {
      return !used_.contains(item.path) && (item.layer.empty() || children_of[item.layer] == 0);
    });
    if (victim == items.end()) break;
    // Renamed first: half a layer must never be found where a whole one was.
    const fs::path grave = root_ / "tmp" / base::random_hex(16);
    if (::rename(victim->path.c_str(), grave.c_str()) == 0)
      remove_tree(grave);
    else
      remove_tree(victim->path);
    freed += victim->size;
    if (!victim->layer.empty()) --children_of[victim->parent];
    items.erase(victim);
  }
  for (const auto& file : children(root_ / "stages"))
    if (file.filename().string().ends_with(".lock")) ::unlink(file.c_str());
  keep_stamps({});
  share();
  return freed;
}

}  // namespace kiln::cache
