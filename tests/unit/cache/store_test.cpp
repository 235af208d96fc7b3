#include "cache/store.hpp"

#include <array>
#include <csignal>
#include <fcntl.h>
#include <filesystem>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/temp_dir.hpp"
#include "unit/cache/store_fixture.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(StoreTest, IsMadeForItsOwnerAlone) {
  const Store store(host, root);
  EXPECT_EQ(mode(root), 0700U);
  EXPECT_TRUE(fs::is_directory(root / "layers"));
}

TEST_F(StoreTest, ACommittedLayerIsFoundByKeyAndNeverWritable) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "base");
  const auto found = store.find_layer(kKeyA, "");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->id, layer.id);
  EXPECT_EQ(found->sha256, base::sha256("base"));
  EXPECT_EQ(found->size, 4U);
  EXPECT_EQ(found->seconds, 3);
  EXPECT_EQ(nlohmann::json::parse(found->info).at("stage"), "overlay");
  EXPECT_EQ(mode(found->image()), 0444U);
  EXPECT_EQ(mode(found->folder / "info.json"), 0444U);
  EXPECT_THAT(names(found->folder), ElementsAre("image.qcow2", "info.json"));
  EXPECT_THAT(names(root / "tmp"), IsEmpty());
  EXPECT_EQ(host::read_file(root / "stages" / kKeyA), layer.id + "\n");
}

TEST_F(StoreTest, AnEntryThatIsNotCommittedLeavesNothing) {
  Store store(host, root);
  {
    auto entry = store.begin();
    host::write_file(entry.image(), "half");
    fs::create_directories(entry.folder() / "closed" / "below");
    ::chmod((entry.folder() / "closed").c_str(), 0500);
    EXPECT_EQ(names(root / "tmp").size(), 1U);
  }
  EXPECT_THAT(names(root / "tmp"), IsEmpty());
  EXPECT_FALSE(store.known(kKeyA));
}

TEST_F(StoreTest, AStepThatLeftNoDiskIsNoLayer) {
  Store store(host, root);
  auto entry = store.begin();
  EXPECT_THROW(entry.commit(kKeyA, "", 1, ""), base::Error);
  EXPECT_FALSE(store.find_layer(kKeyA, ""));
}

TEST_F(StoreTest, AChildIsAHitOnlyOnTheVeryParentItWasBuiltUpon) {
  Store store(host, root);
  const auto first = add(store, kKeyA, "", "base 1");
  const auto child = add(store, kKeyB, first.id, "child of 1");
  const auto second = add(store, kKeyA, "", "base 2");
  EXPECT_EQ(store.find_layer(kKeyA, "")->id, second.id) << "newest first";
  std::string why;
  EXPECT_FALSE(store.find_layer(kKeyB, second.id, &why));
  EXPECT_EQ(why, "parent missed");
  EXPECT_EQ(store.find_layer(kKeyB, first.id)->id, child.id);
}

TEST_F(StoreTest, AKeyNeverSeenHasNoReason) {
  Store store(host, root);
  std::string why = "before";
  EXPECT_FALSE(store.find_layer(kKeyA, "", &why));
  EXPECT_EQ(why, "");
}

TEST_F(StoreTest, ADamagedLayerIsMovedAsideAlsoWhenItsTimeWasPutBack) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "content");
  overwrite(layer.image(), "CONTENT");
  std::string why;
  EXPECT_FALSE(store.find_layer(kKeyA, "", &why));
  EXPECT_EQ(why, "damaged");
  EXPECT_TRUE(fs::exists(root / "failed" / ("damaged-" + layer.id) / "image.qcow2"));
  EXPECT_FALSE(fs::exists(layer.folder));
}

TEST_F(StoreTest, AFileOutsideIsReadAgainOnlyWhenItHasChanged) {
  const fs::path file = dir.path() / "published";
  host::write_file(file, "content");
  const auto sha256 = base::sha256("content");
  {
    Store store(host, root);
    EXPECT_FALSE(store.has_content(file, base::sha256("CONTENT"), 7));
    EXPECT_FALSE(store.has_content(file, sha256, 8));
    EXPECT_FALSE(store.has_content(dir.path() / "none", sha256, 7));
    EXPECT_TRUE(store.has_content(file, sha256, 7));
  }
  // The stamp alone is asked: of one that names another digest that digest is believed.
  const fs::path stamps = root / "stamps.json";
  std::string text = host::read_file(stamps);
  const std::string believed(64, 'f');
  text.replace(text.find(sha256), 64, believed);
  host::write_file(stamps, text);
  EXPECT_TRUE(Store(host, root).has_content(file, believed, 7));
  Store store(host, root);
  overwrite(file, "CONTENT");
  EXPECT_FALSE(store.has_content(file, believed, 7));
  EXPECT_TRUE(store.has_content(file, base::sha256("CONTENT"), 7));
}

TEST_F(StoreTest, AnOlderIntactLayerServesWhenTheNewestIsDamaged) {
  Store store(host, root);
  const auto older = add(store, kKeyA, "", "one");
  const auto newer = add(store, kKeyA, "", "two");
  overwrite(newer.image(), "TWO");
  EXPECT_EQ(store.find_layer(kKeyA, "")->id, older.id);
}

TEST_F(StoreTest, ATruncatedLayerAndALostInfoAreDamage) {
  Store store(host, root);
  const auto cut = add(store, kKeyA, "", "content");
  const auto lost = add(store, kKeyB, "", "content");
  fs::resize_file(cut.image(), 3);
  fs::remove(lost.folder / "info.json");
  std::string why;
  EXPECT_FALSE(store.find_layer(kKeyA, "", &why));
  EXPECT_EQ(why, "damaged");
  EXPECT_FALSE(store.find_layer(kKeyB, "", &why));
  EXPECT_EQ(why, "damaged");
}

TEST_F(StoreTest, AnEvictedLayerIsAMissWithThatReason) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "content");
  fs::remove_all(layer.folder);
  std::string why;
  EXPECT_FALSE(store.find_layer(kKeyA, "", &why));
  EXPECT_EQ(why, "evicted");
  EXPECT_TRUE(store.known(kKeyA));
}

TEST_F(StoreTest, AStoreThatMovedIsDigestedAgainAndServes) {
  {
    Store store(host, root);
    add(store, kKeyA, "", "content");
  }
  const fs::path copy = dir.path() / "copy";
  fs::copy(root, copy, fs::copy_options::recursive);
  Store store(host, copy);
  const auto found = store.find_layer(kKeyA, "");
  ASSERT_TRUE(found);
  overwrite(found->image(), "CONTENT");
  EXPECT_FALSE(store.find_layer(kKeyA, ""));
}

TEST_F(StoreTest, AnotherUsersStoreIsRefusedWithOwnerAndWayOut) {
  {
    const Store store(host, root);
  }
  host.uid += 4711;
  try {
    const Store store(host, root);
    FAIL() << "opened";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    EXPECT_THAT(error.message(), HasSubstr("belongs to"));
    EXPECT_THAT(error.message(), HasSubstr(fmt::format("uid {}", ::geteuid())));
    EXPECT_THAT(error.hint_text(), HasSubstr("--store"));
  }
}

TEST_F(StoreTest, AFolderOfSomebodysFilesIsNotTakenForAStore) {
  fs::create_directories(root / "photos");
  ::chmod(root.c_str(), 0755);
  try {
    const Store store(host, root);
    FAIL() << "opened";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    EXPECT_THAT(error.message(), HasSubstr("photos"));
  }
  EXPECT_EQ(mode(root), 0755U);
}

// Its names alone make no store: it would be swept and trimmed.
TEST_F(StoreTest, AFolderThatLooksLikeAStoreIsNotSwept) {
  fs::create_directories(root / "tmp" / "work");
  fs::create_directories(root / "packages");
  try {
    const Store store(host, root);
    FAIL() << "opened";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    EXPECT_THAT(error.message(), HasSubstr(root.string() + " is not a store: there is 'packages' in it"));
    EXPECT_THAT(error.message(), HasSubstr("'lock' and 'users'"));
  }
  EXPECT_TRUE(fs::exists(root / "tmp" / "work"));
}

TEST_F(StoreTest, AStoreWhoseMakingWasKilledIsMadeAgain) {
  fs::create_directories(root / "lost+found");
  host::write_file(root / "lock", "");
  const Store store(host, root);
  EXPECT_TRUE(store.writable());
  EXPECT_TRUE(fs::exists(root / "layers"));
}

TEST_F(StoreTest, AReadOnlyStoreServesHitsAndSaysWhyItCannotBuild) {
  {
    Store store(host, root);
    add(store, kKeyA, "", "content");
  }
  // Root writes anywhere: it becomes somebody else for this test.
  const bool was_root = ::geteuid() == 0;
  if (was_root) {
    ::chmod(dir.path().c_str(), 0711);
    for (const auto& item : fs::recursive_directory_iterator(root))
      ASSERT_EQ(::lchown(item.path().c_str(), 65534, 65534), 0);
    ASSERT_EQ(::lchown(root.c_str(), 65534, 65534), 0);
  }
  for (const auto& item : fs::recursive_directory_iterator(root))
    if (item.is_directory()) ::chmod(item.path().c_str(), 0500);
  ::chmod(root.c_str(), 0500);
  ASSERT_TRUE(!was_root || ::seteuid(65534) == 0);
  host.uid = static_cast<int>(::geteuid());
  {
    Store store(host, root);
    EXPECT_FALSE(store.writable());
    EXPECT_TRUE(store.find_layer(kKeyA, ""));
    try {
      store.begin();
      ADD_FAILURE() << "began";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.exit(), base::Exit::missing);
      EXPECT_THAT(error.hint_text(), HasSubstr("--store"));
    }
    EXPECT_EQ(store.trim(0).freed, 0U);
  }
  ASSERT_TRUE(!was_root || ::seteuid(0) == 0);
  for (const auto& item : fs::recursive_directory_iterator(root))
    if (item.is_directory()) ::chmod(item.path().c_str(), 0700);
  ::chmod(root.c_str(), 0700);
}

// A file system with no room for another file.
class FullDiskTest : public StoreTest {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "skip: mounting needs root";
    host::private_mounts();
    fs::create_directories(disk);
    ASSERT_EQ(::mount("full", disk.c_str(), "tmpfs", 0, "size=64k,nr_inodes=64"), 0);
  }
  void TearDown() override { ::umount2(disk.c_str(), MNT_DETACH); }
  // Until `left` more files could be made.
  void fill(int left) const {
    std::vector<fs::path> made;
    for (int n = 0;; ++n) {
      const fs::path file = disk / fmt::format("file{}", n);
      if (::close(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) != 0) break;
      made.push_back(file);
    }
    for (int n = 0; n < left; ++n) fs::remove(made.at(static_cast<std::size_t>(n)));
  }
  void expect_full(const std::function<void()>& deed) const {
    try {
      deed();
      ADD_FAILURE() << "no error";
    } catch (const base::Error& error) {
      EXPECT_EQ(error.exit(), base::Exit::failed) << error.what();
      EXPECT_THAT(error.message(), HasSubstr("No space left on device"));
      EXPECT_THAT(error.hint_text(), HasSubstr("the file system of '" + disk.string()));
      EXPECT_THAT(error.hint_text(), HasSubstr(" free; make room, or give another place with --store"));
    }
  }
  fs::path disk = dir.path() / "disk";
};

TEST_F(FullDiskTest, FailsTheMakingOfTheStore) {
  fill(0);
  expect_full([&] { const Store store(host, disk / "store"); });
  expect_full([&] { const Store store(host, disk / "above" / "store"); });
  fill(3);
  Store store(host, disk / "store");
  EXPECT_FALSE(store.writable());
  expect_full([&] { store.begin(); });
}

TEST_F(FullDiskTest, FailsWhatIsWrittenIntoTheStore) {
  Store store(host, disk / "store");
  fill(0);
  expect_full([&] { store.begin(); });
  expect_full([&] { store.packages("debs"); });
  expect_full([&] { store.keep_keys("minimal", {}); });
  expect_full([&] { store.lock_blob(kKeyA); });
}

TEST_F(StoreTest, WhatAKilledRunLeftIsSweptAndALiveOnesIsNot) {
  Store store(host, root);
  auto live = store.begin();
  host::write_file(live.image(), "live");
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    // Another kiln, which says when it holds its folder and is then killed.
    host::Host other = host;
    Store theirs(other, root);
    auto entry = theirs.begin();
    host::write_file(entry.folder() / "file", "x");
    if (::write(ready[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  {
    const Store third(host, root);
  }
  EXPECT_EQ(names(root / "tmp").size(), 2U) << "both live";
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  {
    const Store third(host, root);
  }
  EXPECT_THAT(names(root / "tmp"), ElementsAre(live.folder().filename().string()));
  EXPECT_EQ(host::read_file(live.image()), "live");
  ::close(ready[0]);
  ::close(ready[1]);
}

TEST_F(StoreTest, AFolderWithoutALockIsOfTheDead) {
  {
    const Store store(host, root);
  }
  fs::create_directories(root / "tmp" / "0123" / "below");
  {
    const Store store(host, root);
  }
  EXPECT_THAT(names(root / "tmp"), IsEmpty());
}

TEST_F(StoreTest, ManyProcessesCommitToOneKeyAndNoneIsLost) {
  constexpr int kProcesses = 4;
  constexpr int kEach = 8;
  {
    const Store store(host, root);
  }
  std::vector<pid_t> all;
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = 0;
      try {
        Store store(host, root);
        for (int n = 0; n < kEach; ++n) add(store, kKeyA, "", fmt::format("{} {}", i, n));
      } catch (const std::exception&) {
        status = 1;
      }
      ::_exit(status);
    }
    all.push_back(child);
  }
  for (const auto child : all) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_EQ(base::lines(host::read_file(root / "stages" / kKeyA)).size(), 1U * kProcesses * kEach);
  Store store(host, root);
  EXPECT_TRUE(store.find_layer(kKeyA, ""));
  EXPECT_EQ(nlohmann::json::parse(host::read_file(root / "stamps.json")).size(), 1U * kProcesses * kEach);
  EXPECT_THAT(names(root / "tmp"), IsEmpty());
}

TEST_F(StoreTest, AClockSetBackChangesNoHitAndGivesNoNegativeTime) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "content", -5);
  EXPECT_EQ(layer.seconds, 0);
  clock = 1000;
  EXPECT_EQ(store.find_layer(kKeyA, "")->id, layer.id);
  const auto later = add(store, kKeyA, "", "again");
  EXPECT_EQ(store.find_layer(kKeyA, "")->id, later.id) << "the order is that of building";
}

TEST_F(StoreTest, TheNewestTwentyFailuresAreKept) {
  Store store(host, root);
  for (int i = 0; i < 25; ++i) {
    auto scratch = store.scratch();
    fs::create_directories(scratch.folder() / "e");
    host::write_file(scratch.folder() / "e" / "log", std::to_string(i));
    const auto kept = store.keep_failure("2026-minimal-step", scratch.folder() / "e");
    EXPECT_EQ(host::read_file(kept / "log"), std::to_string(i));
  }
  EXPECT_EQ(names(root / "failed").size(), 20U);
}

TEST_F(StoreTest, KeyTextsOfTheLastTwentyBuildsAreKept) {
  Store store(host, root);
  EXPECT_THAT(store.last_keys("minimal"), IsEmpty());
  for (int i = 0; i < 23; ++i)
    store.keep_keys("minimal", {{"base", kKeyA, fmt::format("text {}", i), 1.5}, {"seal", kKeyB, "t", -1}});
  EXPECT_EQ(names(root / "keys" / "minimal").size(), 20U);
  const auto last = store.last_keys("minimal");
  ASSERT_EQ(last.size(), 2U);
  EXPECT_EQ(last[0].step, "base");
  EXPECT_EQ(last[0].text, "text 22");
  EXPECT_EQ(last[0].seconds, 1.5);
  EXPECT_EQ(last[1].seconds, 0);
  EXPECT_THAT(store.last_keys("other"), IsEmpty());
}

TEST_F(StoreTest, ArtifactsAreFoundByKeyAndCheckedForDamage) {
  Store store(host, root);
  {
    auto scratch = store.scratch();
    fs::create_directories(scratch.folder() / "out");
    host::write_file(scratch.folder() / "out" / "minimal.qcow2", "disk");
    const auto kept = store.keep_artifact(kKeyA, scratch.folder() / "out", 2, R"({"layer": "x"})");
    ASSERT_EQ(kept.list.size(), 1U);
    EXPECT_EQ(kept.list[0].sha256, base::sha256("disk"));
  }
  const auto found = store.find_artifact(kKeyA);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seconds, 2);
  EXPECT_EQ(host::read_file(found->files / "minimal.qcow2"), "disk");
  EXPECT_EQ(mode(found->files / "minimal.qcow2"), 0444U);
  EXPECT_EQ(nlohmann::json::parse(found->info).at("layer"), "x");
  EXPECT_FALSE(store.find_artifact(kKeyB));
  overwrite(found->files / "minimal.qcow2", "DISK");
  EXPECT_FALSE(store.find_artifact(kKeyA));
  EXPECT_TRUE(fs::exists(root / "failed" / ("damaged-" + kKeyA)));
}

TEST_F(StoreTest, VerdictsAreKeptByImageAndFirmware) {
  Store store(host, root);
  EXPECT_FALSE(store.find_verdict(kKeyA, "bios"));
  store.keep_verdict(kKeyA, "bios", R"({"proven": true})");
  EXPECT_EQ(store.find_verdict(kKeyA, "bios"), R"({"proven": true})");
  EXPECT_FALSE(store.find_verdict(kKeyA, "uefi"));
}

}  // namespace
}  // namespace kiln::cache
