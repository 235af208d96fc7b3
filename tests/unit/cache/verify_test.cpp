// Store::verify reads all there is and sets aside what is damaged.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>

#include "base/digest.hpp"
#include "cache/store.hpp"
#include "unit/cache/store_fixture.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class VerifyTest : public StoreTest {
 protected:
  static void ignore(const Item& /*item*/, std::uint64_t /*done*/, std::uint64_t /*total*/) {}
  static std::vector<std::string> damaged(const Verified& found) {
    std::vector<std::string> all;
    all.reserve(found.damaged.size());
    for (const auto& one : found.damaged) all.push_back(one.item.name);
    return all;
  }
};

TEST_F(VerifyTest, AllThatIsIntactIsReadAndStays) {
  Store store(host, root);
  const auto base = add(store, kKeyA, "", "base");
  add(store, kKeyB, base.id, "child");
  keep(store, kKeyC, base.id, "export");
  host::write_file(root / "blobs" / base::sha256("blob"), "blob");
  host::write_file(root / "blobs" / (kKeyA + ".part"), "half");
  std::uint64_t last = 0;
  std::uint64_t whole = 0;
  const auto found = store.verify([&](const Item&, std::uint64_t done, std::uint64_t total) {
    EXPECT_LE(last, done);
    last = done;
    whole = total;
  });
  EXPECT_THAT(found.damaged, IsEmpty());
  EXPECT_EQ(found.read.at(Item::Kind::layer), 2U);
  EXPECT_EQ(found.read.at(Item::Kind::artifact), 1U);
  EXPECT_EQ(found.read.at(Item::Kind::blob), 1U);
  EXPECT_EQ(found.bytes, std::string("basechildexportblob").size());
  EXPECT_EQ(last, found.bytes);
  EXPECT_EQ(whole, found.bytes);
}

// The stamp is that of the damaged file: a build takes it for what was digested.
TEST_F(VerifyTest, WhatTheStampsSayIsNotBelieved) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "content");
  overwrite(layer.image(), "CONTENT");
  struct stat now{};
  ASSERT_EQ(::stat(layer.image().c_str(), &now), 0);
  const auto nanoseconds = [](const timespec& time) { return time.tv_sec * 1'000'000'000 + time.tv_nsec; };
  const nlohmann::json stamps = {
      {"layers/" + layer.id + "/image.qcow2",
       {now.st_ino, now.st_size, nanoseconds(now.st_mtim), nanoseconds(now.st_ctim), layer.sha256}}};
  host::write_file(root / "stamps.json", stamps.dump());
  ASSERT_TRUE(store.find_layer(kKeyA, ""));

  const auto found = store.verify(ignore);
  ASSERT_EQ(found.damaged.size(), 1U);
  EXPECT_EQ(found.damaged[0].item.id(), layer.id);
  EXPECT_EQ(found.damaged[0].file, layer.image());
  EXPECT_EQ(found.damaged[0].what,
            "its sha256 is " + base::sha256("CONTENT") + ", not " + base::sha256("content"));
  EXPECT_EQ(found.damaged[0].kept, root / "failed" / ("damaged-" + layer.id));
  EXPECT_TRUE(fs::exists(found.damaged[0].kept / "image.qcow2"));
  EXPECT_FALSE(store.find_layer(kKeyA, ""));
  EXPECT_THAT(store.verify(ignore).damaged, IsEmpty()) << "it is told once";
}

TEST_F(VerifyTest, WhatStandsOnADamagedLayerIsSetAsideWithIt) {
  Store store(host, root);
  const auto base = add(store, kKeyA, "", "base");
  const auto child = add(store, kKeyB, base.id, "child");
  const auto grandchild = add(store, kKeyC, child.id, "grandchild");
  overwrite(child.image(), "CHILD");
  const auto found = store.verify(ignore);
  EXPECT_THAT(damaged(found), ElementsAre("layers/" + child.id, "layers/" + grandchild.id));
  EXPECT_EQ(found.damaged[1].what, "it stands on " + child.id + ", which is damaged");
  EXPECT_THAT(names(root / "layers"), ElementsAre(base.id));
}

TEST_F(VerifyTest, ALayerWhoseParentIsGoneIsTold) {
  Store store(host, root);
  const auto base = add(store, kKeyA, "", "base");
  const auto child = add(store, kKeyB, base.id, "child");
  remove_tree(base.folder);
  const auto found = store.verify(ignore);
  EXPECT_THAT(damaged(found), ElementsAre("layers/" + child.id));
  EXPECT_EQ(found.damaged[0].what, "it stands on " + base.id + ", which is gone");
}

TEST_F(VerifyTest, CutLostAndUnreadableFilesAreDamage) {
  Store store(host, root);
  const auto cut = add(store, kKeyA, "", "content");
  const auto lost = add(store, kKeyB, "", "content");
  const auto garbled = add(store, kKeyC, "", "content");
  fs::resize_file(cut.image(), 3);
  fs::remove(lost.image());
  fs::remove(garbled.folder / "info.json");
  std::map<std::string, std::string> what;
  for (const auto& one : store.verify(ignore).damaged) what[one.item.id()] = one.what;
  EXPECT_EQ(what[cut.id], "it has 3 bytes, not 7");
  EXPECT_EQ(what[lost.id], "it is not there");
  EXPECT_THAT(what[garbled.id], HasSubstr("cannot be read"));
  EXPECT_THAT(names(root / "layers"), IsEmpty());
}

TEST_F(VerifyTest, ExportsAndBlobsAreReadToo) {
  Store store(host, root);
  const auto layer = add(store, kKeyA, "", "base");
  const auto made = keep(store, kKeyB, layer.id, "export");
  overwrite(made.files / "minimal.qcow2", "EXPORT");
  const auto blob = base::sha256("blob");
  host::write_file(root / "blobs" / blob, "BLOB");
  const auto found = store.verify(ignore);
  EXPECT_THAT(damaged(found), ElementsAre("artifacts/" + kKeyB, "blobs/" + blob));
  EXPECT_FALSE(fs::exists(store.blob(blob)));
  EXPECT_FALSE(store.find_artifact(kKeyB));
  EXPECT_TRUE(store.find_layer(kKeyA, ""));
}

// A chain that is set aside as a whole leaves what explains a failure.
TEST_F(VerifyTest, DamagedLayersDriveOutNoEvidence) {
  Store store(host, root);
  const auto scratch = store.scratch();
  fs::create_directories(scratch.folder() / "e");
  const auto evidence = store.keep_failure("2026-minimal-step", scratch.folder() / "e");
  auto parent = add(store, kKeyA, "", "base");
  overwrite(parent.image(), "BASE");
  for (int n = 0; n < 25; ++n) parent = add(store, kKeyB, parent.id, std::to_string(n));
  EXPECT_EQ(store.verify(ignore).damaged.size(), 26U);
  EXPECT_TRUE(fs::exists(evidence));
  EXPECT_EQ(names(root / "failed").size(), 21U);
}

}  // namespace
}  // namespace kiln::cache
