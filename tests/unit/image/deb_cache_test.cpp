#include "image/deb_cache.hpp"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

std::vector<std::string> names(const fs::path& folder) {
  std::vector<std::string> all;
  for (const auto& entry : fs::directory_iterator(folder)) all.push_back(entry.path().filename());
  return all;
}

TEST(DebCache, keeps_a_package_under_its_digest_and_offers_it_under_its_name) {
  fakes::TempTree tree;
  {
    DebCache first(tree / "cache", tree / "one");
    EXPECT_THAT(names(first.folder()), IsEmpty());
    host::write_file(first.folder() / "nginx_1%3a1.22_amd64.deb", "content");
    host::write_file(first.folder() / "lock", "");
    fs::create_directories(first.folder() / "partial");
    first.keep_new();
    first.keep_new();
  }
  EXPECT_THAT(names(tree / "cache"),
              UnorderedElementsAre(base::sha256("content") + "_nginx_1%3a1.22_amd64.deb"));
  DebCache second(tree / "cache", tree / "two");
  EXPECT_THAT(names(second.folder()), UnorderedElementsAre("nginx_1%3a1.22_amd64.deb"));
  EXPECT_EQ(host::read_file(second.folder() / "nginx_1%3a1.22_amd64.deb"), "content");
}

TEST(DebCache, a_damaged_package_is_dropped_and_never_offered) {
  fakes::TempTree tree;
  const auto kept = tree.file("cache/" + base::sha256("content") + "_a.deb", "c0ntent");
  const DebCache cache(tree / "cache", tree / "one");
  EXPECT_THAT(names(cache.folder()), IsEmpty());
  EXPECT_FALSE(fs::exists(kept));
}

TEST(DebCache, what_it_did_not_write_is_left_alone) {
  fakes::TempTree tree({{"cache/README", "x"}, {"cache/a.deb", "x"}, {"cache/short_a.deb", "x"}});
  const DebCache cache(tree / "cache", tree / "one");
  EXPECT_THAT(names(cache.folder()), IsEmpty());
  EXPECT_THAT(names(tree / "cache"), UnorderedElementsAre("README", "a.deb", "short_a.deb"));
}

TEST(DebCache, emptying_the_folder_leaves_the_cache) {
  fakes::TempTree tree;
  tree.file("cache/" + base::sha256("x") + "_a.deb", "x");
  const DebCache cache(tree / "cache", tree / "one");
  fs::remove(cache.folder() / "a.deb");
  EXPECT_EQ(names(tree / "cache").size(), 1U);
}

TEST(DebCache, one_package_is_found_by_name_and_digest) {
  const fakes::TempTree tree;
  const auto cache = tree / "cache";
  EXPECT_EQ(DebCache::find(cache, "a.deb", base::sha256("x")), std::nullopt);
  DebCache::keep(cache, "a.deb", "x");
  const auto found = DebCache::find(cache, "a.deb", base::sha256("x"));
  ASSERT_TRUE(found);
  EXPECT_EQ(host::read_file(*found), "x");
  EXPECT_EQ(DebCache::find(cache, "a.deb", base::sha256("y")), std::nullopt);
  EXPECT_EQ(DebCache::find(cache, "b.deb", base::sha256("x")), std::nullopt);
  host::write_file(*found, "y");
  EXPECT_EQ(DebCache::find(cache, "a.deb", base::sha256("x")), std::nullopt);
  EXPECT_FALSE(fs::exists(*found));
}

}  // namespace
}  // namespace kiln::image
