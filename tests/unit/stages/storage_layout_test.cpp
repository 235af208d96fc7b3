#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType storage_layout;
}

namespace kiln::tests {
namespace {

class StorageLayoutTest : public ::testing::Test {
 protected:
  std::string run(const std::string& table) {
    tree.file("table.conf", table);
    return error_of(
        [&] { make_stage(stages::storage_layout, "{table: table.conf}", tree.path())->run(work); });
  }
  // The place of a line of the table, for messages.
  [[nodiscard]] std::string at(int line) const {
    return (tree / "table.conf").string() + ":" + std::to_string(line) + ": ";
  }
  FakeFiles& files() { return work.image_files; }

  fakes::TempTree tree;
  FakeWorkspace work;
};

TEST_F(StorageLayoutTest, FoldersHaveTheNumbersAndModesOfTheTable) {
  EXPECT_EQ(run("# a comment\n\nd /data 0755 0 0\nd /data/ecs-ca 0700 1000 1000\nd\t/srv/a/b 2750 0 410 -\n"),
            at(5) + "a line of type d has 5 columns; d PATH MODE USER GROUP");
  EXPECT_EQ(run("d /data 0755 0 0\nd /data/ecs-ca 0700 1000 1001\nd\t/srv/a/b  2750 0 410\n"), "no error");
  EXPECT_EQ(files().listing(),
            (std::vector<std::string>{"d 0755 0:0 /data", "d 0700 1000:1001 /data/ecs-ca", "d 0755 0:0 /srv",
                                      "d 0755 0:0 /srv/a", "d 2750 0:410 /srv/a/b"}));
}

TEST_F(StorageLayoutTest, AFolderThatIsThereGetsOwnerAndModeAndKeepsWhatItHolds) {
  files().add("/data/etc/kept", "x").set_attributes("/data/etc", {.mode = 0700, .uid = 5, .gid = 5});
  EXPECT_EQ(run("d /data/etc 0755 0 0\n"), "no error");
  EXPECT_EQ(files().find("/data/etc")->mode, 0755U);
  EXPECT_EQ(files().find("/data/etc")->uid, 0);
  EXPECT_EQ(files().read("/data/etc/kept"), "x");
}

TEST_F(StorageLayoutTest, ALinkTakesThePlaceOfAnEmptyFolderAndIsMadeOnce) {
  files().add_folder("/var/lib/docker");
  const std::string table = "d /volatile/docker 0710 0 0\nL /var/lib/docker - - - - /volatile/docker\n";
  EXPECT_EQ(run(table), "no error");
  EXPECT_EQ(files().find("/var/lib/docker")->target, "/volatile/docker");
  const auto before = files().listing();
  EXPECT_EQ(run(table), "no error");
  EXPECT_EQ(files().listing(), before);
}

TEST_F(StorageLayoutTest, WhatHoldsSomethingIsNotReplacedByALink) {
  files().add("/var/lib/postgresql/15/PG_VERSION", "15");
  const std::string table = "L /var/lib/postgresql - - - - /data/postgresql\n";
  EXPECT_EQ(run(table), at(1) +
                            "/var/lib/postgresql holds something in the image already; put storage_layout "
                            "before the step that fills it");
  EXPECT_EQ(files().read("/var/lib/postgresql/15/PG_VERSION"), "15");
  files().add_link("/app/etc", "/elsewhere");
  EXPECT_EQ(run("L /app/etc - - - - /data/etc\n"), at(1) + "/app/etc leads to /elsewhere in the image");
  files().add("/data", "no folder");
  EXPECT_EQ(run("d /data 0755 0 0\n"), at(1) + "/data is no folder in the image");
}

TEST_F(StorageLayoutTest, FoldersAreMadeWhereLinksLead) {
  files().add_folder("/usr/lib").add_link("/lib", "usr/lib");
  EXPECT_EQ(run("d /lib/site 0750 0 0\nL /lib/x - - - - /usr/lib/site\n"), "no error");
  EXPECT_EQ(files().find("/usr/lib/site")->mode, 0750U);
  EXPECT_EQ(files().find("/usr/lib/x")->target, "/usr/lib/site");
  EXPECT_EQ(files().find("/lib")->kind, 'l');
}

TEST_F(StorageLayoutTest, AllMistakesOfATableAreToldAtOnceAndNothingIsMade) {
  const std::string error =
      run("d /data 0755 0 0\n"
          "f /data/file 0644 0 0\n"
          "d data 0755 0 0\n"
          "d /data/../etc 0755 0 0\n"
          "d /data/x 0755 app app\n"
          "d /data/x 0799 0 0\n"
          "d /data/x 7 0 0\n"
          "d /data/x 0755 0 65534\n"
          "L /app/etc /data/etc\n"
          "L /app/etc - - - - data/etc\n");
  for (const std::string& part : {
           at(2) + "the type 'f' is not known here; d for a folder, L for a link",
           at(3) + "'data' is no whole path",
           at(4) + "'/data/../etc' is no whole path",
           at(5) + "'app app' are no numbers of a user and a group",
           at(6) + "the mode '0799' is not octal",
           at(7) + "the mode '7' is not octal",
           at(8) + "'0 65534' are no numbers of a user and a group",
           at(9) + "a line of type L has 7 columns; L PATH - - - - TARGET",
           at(10) + "'data/etc' is no whole path",
       }) {
    EXPECT_NE(error.find(part), std::string::npos) << part << "\n" << error;
  }
  EXPECT_TRUE(files().listing().empty());
}

TEST_F(StorageLayoutTest, TheTableOfTheApplianceIsUnderstood) {
  const std::filesystem::path table =
      std::filesystem::path(KILN_SOURCE_DIR) / "overlays/ecs/salt/appliance/layout/tmpfiles.conf";
  EXPECT_EQ(run(host::read_file(table)), "no error");
  EXPECT_EQ(files().find("/data/ecs-gpg")->mode, 0700U);
  EXPECT_EQ(files().find("/data/ecs-gpg")->uid, 1000);
  EXPECT_EQ(files().find("/var/lib/postgresql")->target, "/data/postgresql");
}

}  // namespace
}  // namespace kiln::tests
