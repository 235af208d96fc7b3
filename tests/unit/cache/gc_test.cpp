// What a trim takes and what it leaves. Store::trim; its source is cache/gc.cpp.
#include <csignal>
#include <fmt/core.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <sys/file.h>
#include <sys/wait.h>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "cache/store.hpp"
#include "unit/cache/store_fixture.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

class GcTest : public StoreTest {
 protected:
  static std::vector<std::string> removed(const Trimmed& trimmed) {
    std::vector<std::string> all;
    all.reserve(trimmed.removed.size());
    for (const auto& item : trimmed.removed) all.push_back(item.name);
    return all;
  }
};

constexpr std::uint64_t kNoLimit = 1ULL << 60;

TEST_F(GcTest, TrimmingTakesTheOldestAndNeverTheParentOfOneThatStays) {
  std::string base_id;
  std::string old_leaf;
  std::string new_leaf;
  {
    Store store(host, root);
    const std::string big(100'000, 'x');
    base_id = add(store, kKeyA, "", big).id;
    old_leaf = add(store, kKeyB, base_id, big).id;
    new_leaf = add(store, kKeyC, base_id, big).id;
  }
  {
    Store store(host, root);
    EXPECT_GT(store.trim(230'000).freed, 0U);
  }
  EXPECT_FALSE(fs::exists(root / "layers" / old_leaf)) << "used longest ago of those nobody stands upon";
  EXPECT_TRUE(fs::exists(root / "layers" / new_leaf));
  EXPECT_TRUE(fs::exists(root / "layers" / base_id)) << "older still, but a parent";
  {
    Store store(host, root);
    store.trim(0);
  }
  EXPECT_THAT(names(root / "layers"), IsEmpty());
}

TEST_F(GcTest, AHitIsAUse) {
  std::string first;
  std::string second;
  {
    Store store(host, root);
    const std::string big(100'000, 'x');
    first = add(store, kKeyA, "", big).id;
    second = add(store, kKeyB, "", big).id;
  }
  {
    Store store(host, root);
    EXPECT_TRUE(store.find_layer(kKeyA, ""));
  }
  Store store(host, root);
  store.trim(120'000);
  EXPECT_TRUE(fs::exists(root / "layers" / first));
  EXPECT_FALSE(fs::exists(root / "layers" / second));
}

TEST_F(GcTest, TrimmingSparesWhatThisRunUsedAndWaitsForOthers) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "content");
  EXPECT_EQ(store.trim(0).freed, 0U);
  EXPECT_TRUE(fs::exists(layer.folder));
  Store other(host, root);
  EXPECT_EQ(other.trim(0).freed, 0U) << "the first has it open";
  EXPECT_TRUE(fs::exists(layer.folder));
}

TEST_F(GcTest, WhoeverTrimsOrCouldNotStillHasTheStoreOpen) {
  const auto alone = [&] {
    const host::Fd users(::open((root / "users").c_str(), O_RDWR | O_CLOEXEC));
    return ::flock(users.get(), LOCK_EX | LOCK_NB) == 0;
  };
  Store store(host, root);
  {
    const Store other(host, root);
    store.trim(0);
  }
  EXPECT_FALSE(alone()) << "after a trim that had to wait";
  store.trim(0);
  EXPECT_FALSE(alone()) << "after a trim";
}

// Without its layer an export is found by nobody, however new it is.
TEST_F(GcTest, AnExportGoesBeforeTheLayerItWasMadeOf) {
  std::string layer;
  const std::string big(100'000, 'x');
  {
    Store store(host, root);
    layer = add(store, kKeyA, "", big).id;
    add(store, kKeyB, "", big);
    keep(store, kKeyC, layer, big);
  }
  Store store(host, root);
  store.trim(230'000);
  EXPECT_TRUE(fs::exists(root / "layers" / layer)) << "used before the other, but its export is kept";
  EXPECT_THAT(names(root / "layers"), ElementsAre(layer));
  EXPECT_THAT(names(root / "artifacts"), ElementsAre(kKeyC));
  store.trim(120'000);
  EXPECT_THAT(names(root / "layers"), ElementsAre(layer));
  EXPECT_THAT(names(root / "artifacts"), IsEmpty());
}

TEST_F(GcTest, WhatStandsOnALayerThatIsGoneIsRemovedWithinAnyLimit) {
  Layer base;
  Layer child;
  Layer grandchild;
  Layer other;
  {
    Store store(host, root);
    base = add(store, kKeyA, "", "base");
    child = add(store, kKeyB, base.id, "child");
    grandchild = add(store, kKeyC, child.id, "grandchild");
    other = add(store, kKeyC, "", "other");
    keep(store, kKeyC, grandchild.id, "export");
    fs::create_directories(root / "settled" / grandchild.id);
    fs::create_directories(root / "settled" / other.id);
  }
  remove_tree(base.folder);
  Store store(host, root);
  const auto trimmed = store.trim(kNoLimit);
  EXPECT_THAT(removed(trimmed),
              testing::UnorderedElementsAre("layers/" + child.id, "layers/" + grandchild.id,
                                            "artifacts/" + kKeyC, "settled/" + grandchild.id));
  EXPECT_GT(trimmed.freed, 0U);
  EXPECT_THAT(names(root / "layers"), ElementsAre(other.id));
  EXPECT_THAT(names(root / "settled"), ElementsAre(other.id));
  EXPECT_EQ(host::read_file(root / "stages" / kKeyC), other.id + "\n") << "of two ids the one that is gone";
  std::string why;
  EXPECT_FALSE(store.find_layer(kKeyA, "", &why));
  EXPECT_EQ(why, "evicted") << "that it was there once is still known";
}

TEST_F(GcTest, OfKeysWithoutALayerTheNewestAreRemembered) {
  Store store(host, root);
  for (int n = 0; n < 510; ++n) host::write_file(root / "stages" / base::sha256(std::to_string(n)), "");
  store.trim(kNoLimit);
  EXPECT_EQ(names(root / "stages").size(), 500U);
  EXPECT_TRUE(store.known(base::sha256("509")));
  EXPECT_FALSE(store.known(base::sha256("0")));
}

TEST_F(GcTest, VerdictsOfKeptImagesStayAndTheNewestFiftyOfOthers) {
  {
    Store store(host, root);
    const auto layer = add(store, kKeyA, "", "base");
    const auto made = keep(store, kKeyB, layer.id, "disk");
    store.keep_verdict(made.list.front().sha256, "bios", "{}");
    for (int n = 0; n < 55; ++n) {
      const auto sha256 = base::sha256(std::to_string(n));
      store.keep_verdict(sha256, "bios", "{}");
      const auto console = store.verdict_file(sha256, "bios", "console.log");
      host::write_file(console, "booted");
      const std::array<timespec, 2> times = {timespec{1000 + n, 0}, timespec{1000 + n, 0}};
      ::utimensat(AT_FDCWD, console.c_str(), times.data(), 0);
      ::utimensat(AT_FDCWD, store.verdict_file(sha256, "bios", "json").c_str(), times.data(), 0);
    }
    const std::array<timespec, 2> old = {timespec{1, 0}, timespec{1, 0}};
    ::utimensat(AT_FDCWD, store.verdict_file(base::sha256("disk"), "bios", "json").c_str(), old.data(), 0);
  }
  Store store(host, root);
  EXPECT_EQ(store.trim(kNoLimit).removed.size(), 5U);
  EXPECT_TRUE(store.find_verdict(base::sha256("disk"), "bios")) << "the oldest, but of an image that is kept";
  EXPECT_FALSE(store.find_verdict(base::sha256("4"), "bios"));
  EXPECT_FALSE(fs::exists(store.verdict_file(base::sha256("4"), "bios", "console.log")));
  EXPECT_TRUE(store.find_verdict(base::sha256("5"), "bios"));
  store.trim(0);
  EXPECT_THAT(names(root / "verdicts"), IsEmpty());
}

TEST_F(GcTest, WhatIsSetAsideAndSettledGuestsGoFirst) {
  Layer layer;
  const std::string big(100'000, 'x');
  {
    Store store(host, root);
    layer = add(store, kKeyA, "", big);
    store.set_aside(add(store, kKeyB, "", big));
    fs::create_directories(root / "settled" / layer.id);
    host::write_file(root / "settled" / layer.id / "disk.qcow2", big);
  }
  Store store(host, root);
  store.trim(150'000);
  EXPECT_TRUE(fs::exists(layer.folder));
  EXPECT_THAT(names(root / "failed"), IsEmpty());
  EXPECT_THAT(names(root / "settled"), IsEmpty());
}

TEST_F(GcTest, TheSettledGuestOfAnImageStandsOnNothing) {
  const std::string name = Store::settled_name(std::string(64, 'c'), "bios");
  {
    Store store(host, root);
    const auto entry = store.begin();
    for (const char* file : {"disk.qcow2", "key"}) host::write_file(entry.folder() / file, file);
    store.keep_settled(name, {entry.folder(), "a machine", {"disk.qcow2", "key"}});
    EXPECT_EQ(fs::status(root / "settled" / name / "key").permissions(), fs::perms::owner_read);
  }
  {
    Store store(host, root);
    EXPECT_THAT(store.trim(kNoLimit).removed, IsEmpty());
  }
  {
    Store store(host, root);
    const auto found = store.find_settled(name);
    ASSERT_TRUE(found);
    EXPECT_EQ(found->machine, "a machine");
    EXPECT_THAT(found->files, ElementsAre("disk.qcow2", "key"));
  }
  Store store(host, root);
  store.trim(0);
  EXPECT_FALSE(store.find_settled(name));
}

TEST_F(GcTest, ADamagedSettledGuestIsGone) {
  const std::string name = Store::settled_name(std::string(64, 'c'), "bios");
  Store store(host, root);
  const auto entry = store.begin();
  host::write_file(entry.folder() / "memory.zst", "memory");
  store.keep_settled(name, {entry.folder(), "a machine", {"memory.zst"}});
  overwrite(root / "settled" / name / "memory.zst", "memorY");
  EXPECT_FALSE(store.find_settled(name));
  EXPECT_THAT(names(root / "settled"), IsEmpty());
}

TEST_F(GcTest, OfSettledGuestsOfLayersAndOfImagesTheNewestFewStay) {
  for (int i = 0; i < 6; ++i) {
    Store store(host, root);
    const auto digit = static_cast<char>('0' + i);
    for (const auto& name : {std::string(32, digit), Store::settled_name(std::string(64, digit), "bios")}) {
      const auto entry = store.begin();
      host::write_file(entry.folder() / "disk.qcow2", name);
      store.keep_settled(name, {entry.folder(), "", {"disk.qcow2"}});
    }
  }
  EXPECT_THAT(names(root / "settled"), ElementsAre(std::string(32, '2'), std::string(64, '2') + "-bios",
                                                   std::string(32, '3'), std::string(64, '3') + "-bios",
                                                   std::string(32, '4'), std::string(64, '4') + "-bios",
                                                   std::string(32, '5'), std::string(64, '5') + "-bios"));
}

TEST_F(GcTest, LocksThatNobodyHoldsAreSweptAndPartsOfDownloadsAreOld) {
  Store store(host, root);
  host::write_file(root / "blobs" / (kKeyA + ".lock"), "");
  host::write_file(root / "blobs" / (kKeyA + ".part"), "half");
  host::write_file(root / "stages" / ("." + kKeyA + ".lock"), "");
  store.trim(kNoLimit);
  EXPECT_THAT(names(root / "blobs"), ElementsAre(kKeyA + ".part"));
  EXPECT_THAT(names(root / "stages"), IsEmpty());
  store.trim(0);
  EXPECT_THAT(names(root / "blobs"), IsEmpty());
}

TEST_F(GcTest, WhoHasTheStoreOpenIsTold) {
  Store store(host, root);
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const Store theirs(host, root);
    if (::write(ready[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const auto trimmed = store.trim(0);
  EXPECT_FALSE(trimmed.alone);
  // Some file systems are called otherwise in /proc/locks.
  EXPECT_THAT(trimmed.users, AnyOf(IsEmpty(), ElementsAre(child)));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(store.trim(0).alone);
  ::close(ready[0]);
  ::close(ready[1]);
}

// A store as nobody would build it: chains, branches, layers whose parent is gone, exports, downloads.
class RandomStore {
 public:
  RandomStore(fs::path root, unsigned seed) : root_(std::move(root)), random_(seed) {
    const std::size_t count = below(14);
    for (std::size_t n = 0; n < count; ++n) {
      const auto dice = below(10);
      const std::string parent = layers_.empty() || dice == 0 ? "" : dice == 1 ? random_id() : some_layer();
      layer(parent);
    }
    for (std::size_t n = below(5); n > 0; --n) {
      const std::string layer = layers_.empty() || below(5) == 0 ? random_id() : some_layer();
      artifact(layer);
    }
    for (std::size_t n = below(4); n > 0 && !layers_.empty(); --n)
      file("settled/" + (below(4) == 0 ? random_id() : some_layer()) + "/disk.qcow2");
    for (std::size_t n = below(5); n > 0; --n) file("blobs/" + random_id() + random_id());
    for (std::size_t n = below(5); n > 0; --n) file("packages/debs/" + random_id());
    for (std::size_t n = below(4); n > 0; --n) file("failed/" + random_id() + "/log");
    for (std::size_t n = below(3); n > 0; --n) file("failed/damaged-" + random_id() + "/image.qcow2");
    for (std::size_t n = below(4); n > 0; --n) file("verdicts/" + random_id() + random_id() + "-bios.json");
  }
  std::size_t below(std::size_t end) {
    return std::uniform_int_distribution<std::size_t>(0, end - 1)(random_);
  }
  // The layers from the base to one, as keys and parents; empty when its chain is broken.
  std::vector<std::pair<std::string, std::string>> some_chain() {
    std::vector<std::pair<std::string, std::string>> chain;
    if (layers_.empty()) return chain;
    for (std::string id = some_layer(); !id.empty(); id = parents_.at(id)) {
      if (!parents_.contains(id)) return {};
      chain.insert(chain.begin(), {base::sha256(id), parents_.at(id)});
    }
    return chain;
  }

 private:
  std::string random_id() {
    std::string id;
    for (int n = 0; n < 32; ++n) id += "0123456789abcdef"[below(16)];
    return id;
  }
  std::string some_layer() { return layers_[below(layers_.size())]; }
  void age(const fs::path& path) {
    const std::array<timespec, 2> times = {timespec{1000 + static_cast<time_t>(below(1000)), 0},
                                           timespec{1000 + static_cast<time_t>(below(1000)), 0}};
    ::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
  }
  std::string file(const std::string& name) {
    const std::string content(1 + below(60'000), 'x');
    fs::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << content;
    age(root_ / name);
    age((root_ / name).parent_path());
    return content;
  }
  void layer(const std::string& parent) {
    const std::string id = random_id();
    const std::string content = file("layers/" + id + "/image.qcow2");
    const nlohmann::json info = {{"id", id},
                                 {"parent", parent},
                                 {"key", base::sha256(id)},
                                 {"sha256", base::sha256(content)},
                                 {"size", content.size()},
                                 {"seconds", 1.0},
                                 {"built", 1000}};
    std::ofstream(root_ / "layers" / id / "info.json") << (below(15) == 0 ? "{}" : info.dump());
    std::ofstream(root_ / "stages" / base::sha256(id)) << id << '\n' << random_id() << '\n';
    age(root_ / "layers" / id);
    layers_.push_back(id);
    parents_[id] = parent;
  }
  void artifact(const std::string& layer) {
    const std::string key = base::sha256(random_id());
    const std::string content = file("artifacts/" + key + "/files/disk.qcow2");
    const nlohmann::json info = {
        {"key", key},
        {"layer", layer},
        {"seconds", 1.0},
        {"files", {{{"name", "disk.qcow2"}, {"sha256", base::sha256(content)}, {"size", content.size()}}}}};
    std::ofstream(root_ / "artifacts" / key / "info.json") << info.dump();
    if (below(2) == 0) file("verdicts/" + base::sha256(content) + "-bios.json");
    age(root_ / "artifacts" / key);
  }

  fs::path root_;
  std::mt19937 random_;
  std::vector<std::string> layers_;
  std::map<std::string, std::string> parents_;
};

TEST_F(GcTest, AnyStoreIsWholeAndSmallEnoughAfterATrim) {
  std::size_t evicted = 0;
  std::size_t still_too_large = 0;
  for (unsigned seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    const fs::path place = dir.path() / std::to_string(seed);
    {
      const Store made(host, place);
    }
    RandomStore random(place, seed);
    Store store(host, place);
    std::set<std::string> used;
    if (random.below(2) == 0)
      for (const auto& [key, parent] : random.some_chain()) {
        const auto layer = store.find_layer(key, parent);
        if (!layer) break;  // a build makes the rest anew
        used.insert("layers/" + layer->id);
      }

    std::map<std::string, Item> before;
    std::uint64_t size = 0;
    for (const auto& item : contents(place)) {
      before[item.name] = item;
      size += item.size;
    }
    const std::uint64_t limit = random.below(3) == 0 ? 0 : random.below(size + 1);
    const auto trimmed = store.trim(limit);

    ASSERT_TRUE(trimmed.alone);
    std::set<std::string> left;
    std::uint64_t left_size = 0;
    for (const auto& item : contents(place)) {
      left.insert(item.name);
      left_size += item.size;
    }
    EXPECT_EQ(trimmed.left, left_size);
    EXPECT_EQ(trimmed.freed + trimmed.left, size);
    EXPECT_EQ(left.size() + trimmed.removed.size(), before.size());
    for (const auto& name : left)
      for (const auto& held : before.at(name).holds) EXPECT_THAT(left, Contains(held)) << "below " << name;
    for (const auto& name : used) EXPECT_THAT(left, Contains(name));
    if (left_size > limit) {
      ++still_too_large;
      std::set<std::string> needed = used;
      for (const auto& name : used)
        for (const auto& held : before.at(name).holds) needed.insert(held);
      EXPECT_EQ(left, needed) << "of " << left_size << " bytes, at most " << limit;
    }
    evicted += trimmed.removed.size();
    for (const auto& list : fs::directory_iterator(place / "stages"))
      for (const auto& id : base::lines(host::read_file(list.path())))
        EXPECT_THAT(left, Contains("layers/" + id));
    EXPECT_THAT(names(place / "tmp"), IsEmpty());
    EXPECT_THAT(store.trim(limit).removed, IsEmpty()) << "a second one has nothing to do";
  }
  EXPECT_GT(evicted, 200U);
  EXPECT_GT(still_too_large, 5U);
}

}  // namespace
}  // namespace kiln::cache
