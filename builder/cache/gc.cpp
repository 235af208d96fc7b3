// What leaves a store: what nobody can find any more, then what was used longest ago. Store::trim.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <map>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <utility>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "cache/folders.hpp"
#include "cache/store.hpp"
#include "host/atomic_file.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;

// Of images that are not kept: an export that comes out the same again needs no boot.
constexpr std::size_t kKeptVerdicts = 50;
// Of keys without a layer: by them a miss is told as "evicted".
constexpr std::size_t kKeptEmptyLists = 500;

// Which processes hold a flock of the file, as far as the kernel tells (those of another PID namespace have
// no number here).
std::vector<int> holders_of(const fs::path& file) {
  struct stat status{};
  std::vector<int> all;
  if (::stat(file.c_str(), &status) != 0) return all;
  // "3: FLOCK  ADVISORY  READ 4711 fe:00:131 0 EOF"; a device that the kernel names otherwise (Btrfs) is not
  // recognized. One that waits has "->" in the second place.
  std::string locks;
  try {
    locks = host::read_file("/proc/locks");
  } catch (const base::Error&) {
    return all;
  }
  for (const auto& line : base::lines(locks)) {
    int pid = 0;
    unsigned major = 0;
    unsigned minor = 0;
    unsigned long inode = 0;
    // NOLINTNEXTLINE(cert-err34-c): a line that is too short or no number is counted
    if (std::sscanf(line.c_str(), "%*d: FLOCK %*s %*s %d %x:%x:%lu", &pid, &major, &minor, &inode) != 4)
      continue;
    if (pid > 0 && inode == status.st_ino && major == gnu_dev_major(status.st_dev) &&
        minor == gnu_dev_minor(status.st_dev))
      all.push_back(pid);
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

// What stays and what goes, while it is decided. Knows which things stand on which.
class Remains {
 public:
  Remains(std::vector<Item> items, std::function<bool(const Item&)> used, fs::path graves)
      : items_(std::move(items)), used_(std::move(used)), graves_(std::move(graves)) {
    for (std::size_t i = 0; i < items_.size(); ++i) {
      at_.emplace(items_[i].name, i);
      size_ += items_[i].size;
      for (const auto& name : items_[i].holds) ++held_[name];
    }
  }
  [[nodiscard]] std::uint64_t size() const { return size_; }
  std::vector<Item> take_removed() { return std::move(removed_); }

  // What stands on something that is gone, and what stands on that.
  void remove_lost() {
    for (bool again = true; std::exchange(again, false);)
      for (const auto& item : items_)
        if (there(item) && !used_(item) &&
            std::any_of(item.holds.begin(), item.holds.end(),
                        [this](const auto& name) { return !at_.contains(name); })) {
          remove(item);
          again = true;
        }
  }

  // What was used longest ago, until no more than `bytes` are left.
  void remove_oldest(std::uint64_t bytes) {
    // First what is only looked at, or soon made again.
    const auto rank = [](const Item& item) {
      const bool first = item.kind == Item::Kind::damaged || item.kind == Item::Kind::settled;
      return first ? 0 : item.used;
    };
    std::vector<const Item*> order;
    for (const auto& item : items_)
      if (there(item) && !used_(item)) order.push_back(&item);
    std::stable_sort(order.begin(), order.end(),
                     [&](const Item* a, const Item* b) { return rank(*a) < rank(*b); });
    while (size_ > bytes) {
      const auto victim =
          std::find_if(order.begin(), order.end(), [this](const Item* item) { return !held(*item); });
      if (victim == order.end()) break;
      remove(**victim);
      order.erase(victim);
    }
  }

  // All but the newest of the verdicts whose image is not kept.
  void remove_old_verdicts() {
    std::vector<const Item*> others;
    for (const auto& item : items_)
      if (item.kind == Item::Kind::verdict && there(item) && !held(item)) others.push_back(&item);
    std::stable_sort(others.begin(), others.end(),
                     [](const Item* a, const Item* b) { return a->used > b->used; });
    for (std::size_t i = kKeptVerdicts; i < others.size(); ++i)
      if (!used_(*others[i])) remove(*others[i]);
  }

 private:
  [[nodiscard]] bool there(const Item& item) const { return at_.contains(item.name); }
  [[nodiscard]] bool held(const Item& item) const {
    const auto found = held_.find(item.name);
    return found != held_.end() && found->second > 0;
  }
  void remove(const Item& item) {
    for (const auto& path : item.paths) {
      // Renamed first: half a layer must never be found where a whole one was.
      const fs::path grave = graves_ / base::random_hex(16);
      remove_tree(::rename(path.c_str(), grave.c_str()) == 0 ? grave : path);
    }
    at_.erase(item.name);
    for (const auto& name : item.holds) --held_[name];
    size_ -= item.size;
    removed_.push_back(item);
  }

  std::vector<Item> items_;
  std::function<bool(const Item&)> used_;
  fs::path graves_;
  std::map<std::string, std::size_t> at_;  // of those that are there
  std::map<std::string, int> held_;        // by how many of them
  std::uint64_t size_ = 0;
  std::vector<Item> removed_;
};

}  // namespace

std::uint64_t default_limit(const fs::path& store) {
  std::error_code ignored;
  const auto space = fs::space(store, ignored);
  constexpr std::uint64_t kMost = 20ULL << 30;
  return ignored ? kMost : std::min<std::uint64_t>(kMost, space.capacity / 4);
}

Trimmed Store::trim(std::uint64_t bytes) {
  Trimmed done;
  if (!writable_) return done;
  // Alone or not at all: a build that found a layer relies on it until it ends. The kernel lets go of the
  // shared lock before it tries for the other one, so that is taken again in either case.
  if (::flock(users_.get(), LOCK_EX | LOCK_NB) != 0) {
    done.alone = false;
    done.users = holders_of(root_ / "users");
    share();
    return done;
  }
  const auto lock = take_lock();
  Remains remains(
      contents(root_), [this](const Item& item) { return used_.contains(item.paths.front()); },
      root_ / "tmp");
  const std::uint64_t before = remains.size();
  remains.remove_lost();
  remains.remove_oldest(bytes);
  remains.remove_old_verdicts();
  done.left = remains.size();
  done.freed = before - done.left;
  done.removed = remains.take_removed();
  for (const auto* folder : {"stages", "blobs"})
    for (const auto& file : children(root_ / folder))
      if (file.extension() == ".lock") ::unlink(file.c_str());
  shorten_lists();
  keep_stamps({});
  share();
  return done;
}

// The caller holds the store's lock.
void Store::shorten_lists() {
  std::vector<std::pair<std::int64_t, fs::path>> empty;
  std::error_code ignored;
  for (const auto& list : children(root_ / "stages")) {
    const std::string before = host::read_file(list);
    std::string after;
    for (const auto& id : base::lines(before))
      if (is_id(id) && fs::exists(root_ / "layers" / id, ignored)) after += id + "\n";
    if (after != before) host::write_file(list, after, 0600);
    if (after.empty()) empty.emplace_back(mtime_of(list), list);
  }
  std::sort(empty.rbegin(), empty.rend());
  for (std::size_t i = kKeptEmptyLists; i < empty.size(); ++i) ::unlink(empty[i].second.c_str());
}

}  // namespace kiln::cache
