#include "image/list_cache.hpp"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> files(const fs::path& folder) {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(folder)) all.push_back(entry.path());
  return all;
}

TEST(ListCache, GivesBackTheNewestSetOfTheSameSources) {
  fakes::TempTree tree;
  const ListCache cache(tree / "lists");
  EXPECT_EQ(cache.take("sources", tree / "out"), std::nullopt);
  cache.keep("sources", "monday", tree.file("1.tar", "old"), 1000);
  cache.keep("others", "monday", tree.file("2.tar", "of others"), 1500);
  cache.keep("sources", "tuesday", tree.file("3.tar", "new"), 2000);
  EXPECT_EQ(cache.take("sources", tree / "out"), 2000);
  EXPECT_EQ(host::read_file(tree / "out"), "new");
  EXPECT_EQ(cache.take("others", tree / "out"), 1500);
  EXPECT_EQ(host::read_file(tree / "out"), "of others");
  EXPECT_EQ(files(tree / "lists").size(), 2U);
  EXPECT_FALSE(fs::exists(tree / "3.tar"));
}

TEST(ListCache, ADamagedSetIsDroppedAndNeverGiven) {
  fakes::TempTree tree;
  const ListCache cache(tree / "lists");
  cache.keep("sources", "monday", tree.file("1.tar", "content"), 1000);
  host::write_file(files(tree / "lists").front(), "c0ntent");
  EXPECT_FALSE(cache.refreshed("sources", "monday", 2000));
  EXPECT_EQ(cache.take("sources", tree / "out"), std::nullopt);
  EXPECT_TRUE(files(tree / "lists").empty());
}

TEST(ListCache, ASetWithTheSameReleasesIsAsFreshAsNow) {
  fakes::TempTree tree;
  const ListCache cache(tree / "lists");
  EXPECT_FALSE(cache.refreshed("sources", "monday", 1000));
  cache.keep("sources", "monday", tree.file("1.tar", "content"), 1000);
  EXPECT_FALSE(cache.refreshed("sources", "tuesday", 2000));
  EXPECT_FALSE(cache.refreshed("others", "monday", 2000));
  EXPECT_EQ(cache.take("sources", tree / "out"), 1000);
  EXPECT_TRUE(cache.refreshed("sources", "monday", 2000));
  EXPECT_EQ(cache.take("sources", tree / "out"), 2000);
}

TEST(ListCache, WhatItDidNotWriteIsLeftAlone) {
  fakes::TempTree tree({{"lists/README", "x"}, {"lists/short-set.tar", "x"}});
  const ListCache cache(tree / "lists");
  EXPECT_EQ(cache.take("sources", tree / "out"), std::nullopt);
  cache.keep("sources", "monday", tree.file("1.tar", "content"), 1000);
  EXPECT_EQ(files(tree / "lists").size(), 3U);
}

TEST(ListCache, DescriptionsForPeopleAreNotKept) {
  EXPECT_TRUE(is_kept_list("mirror.test_debian_dists_bookworm_InRelease"));
  EXPECT_TRUE(is_kept_list("mirror.test_debian_dists_bookworm_main_binary-amd64_Packages"));
  EXPECT_FALSE(is_kept_list("mirror.test_debian_dists_bookworm_main_i18n_Translation-en"));
  EXPECT_FALSE(is_kept_list("lock"));
}

// As apt would call it.
TEST(OfflineMethod, ServesWhatIsThereByTheNameAptGivesItAndSaysItsDigest) {
  fakes::TempTree tree({{"lists/mirror.test_dists_x_InRelease", "signed"}, {"partial/keep", ""}});
  tree.file("methods/http", std::string(offline_method), 0755);
  const std::string there = (tree / "partial/mirror.test_dists_x_InRelease").string();
  host::Command command{(tree / "methods/http").string()};
  command.input =
      "601 Configuration\nConfig-Item: a=b\n\n"
      "600 URI Acquire\nURI: http://mirror.test/dists/x/InRelease\nFilename: " +
      there + "\nIndex-File: true\n\n600 URI Acquire\nURI: http://mirror.test/pool/a.deb\nFilename: " +
      (tree / "partial/a.deb").string() + "\n\n";
  const host::Finished done = host::system_runner()->run(command);
  EXPECT_TRUE(done.ok());
  EXPECT_EQ(done.out,
            "100 Capabilities\nVersion: 1.0\nSingle-Instance: true\n\n"
            "201 URI Done\nURI: http://mirror.test/dists/x/InRelease\nFilename: " +
                there + "\nSize: 6\nSHA256-Hash: " + base::sha256("signed") +
                "\n\n"
                "400 URI Failure\nURI: http://mirror.test/pool/a.deb\n"
                "Message: it is not among the kept downloads\n\n");
  EXPECT_EQ(host::read_file(there), "signed");
}

TEST(OfflineMethod, TakesThePlaceOfTheMethodsThatAskTheNetwork) {
  fakes::TempTree tree;
  fakes::write_tar(tree / "set.tar",
                   {{"mirror.test_dists_x_InRelease", "signed"}, {"auxfiles/x", "no list"}});
  serve_lists(tree / "set.tar", tree / "to");
  EXPECT_EQ(host::read_file(tree / "to/lists/mirror.test_dists_x_InRelease"), "signed");
  EXPECT_EQ(files(tree / "to/lists").size(), 1U);
  for (const std::string_view name : network_methods)
    EXPECT_EQ(host::read_file(tree / "to/methods" / name), offline_method);
}

}  // namespace
}  // namespace kiln::image
