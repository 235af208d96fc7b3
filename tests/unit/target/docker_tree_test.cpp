#include "target/docker_tree.hpp"

#include <filesystem>
#include <gtest/gtest.h>
#include <memory>

#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

class DockerTreeTest : public testing::Test {
 protected:
  DockerTreeTest() : DockerTreeTest(std::make_unique<FakeFiles>()) {}
  [[nodiscard]] bool has(const std::string& path) { return files.find(path).has_value(); }

  FakeFiles& files;
  target::DockerTree tree;
  host::TempDir folder;

 private:
  explicit DockerTreeTest(std::unique_ptr<FakeFiles> made) : files(*made), tree(std::move(made)) {}
};

TEST_F(DockerTreeTest, AUserHasItsNumberItsGroupAndNoDateOfToday) {
  files.add("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n");
  files.add("/etc/shadow", "root:*:1:0:99999:7:::\n", {.mode = 0640, .gid = 42});
  tree.add({.name = "redis", .id = 420, .home = "/data"});
  EXPECT_EQ(files.read("/etc/passwd"),
            "root:x:0:0:root:/root:/bin/bash\nredis:x:420:420::/data:/usr/sbin/nologin\n");
  EXPECT_EQ(files.read("/etc/group"), "redis:x:420:\n");
  EXPECT_EQ(files.read("/etc/shadow"), "root:*:1:0:99999:7:::\nredis:!:19675::::::\n");
  EXPECT_EQ(files.find("/etc/shadow")->gid, 42);
  EXPECT_EQ(files.find("/data")->uid, 420);
  const std::string before = files.read("/etc/passwd");
  tree.add({.name = "redis", .id = 420, .home = "/data"});
  EXPECT_EQ(files.read("/etc/passwd"), before) << "it is there already";
}

TEST_F(DockerTreeTest, ANumberOrANameOfAnotherUserIsRefused) {
  tree.add({.name = "redis", .id = 420});
  EXPECT_THROW(tree.add({.name = "redis", .id = 421}), base::Error);
  EXPECT_THROW(tree.add({.name = "other", .id = 420}), base::Error);
}

TEST_F(DockerTreeTest, ALayerTakesAwayWhatItMarks) {
  files.add("/etc/gone").add("/opt/old/x").add("/etc/stays");
  std::vector<host::Member> members(3);
  members[0].path = "etc/.wh.gone";
  members[1].path = "opt/old/.wh..wh..opq";
  members[2].path = "opt/old/new";
  for (host::Member& member : members) member.owner = member.group = "0";
  const fs::path tar = folder.path() / "layer.tar";
  host::write_archive(tar, host::Format::tar, members);
  tree.lay(tar);
  EXPECT_FALSE(has("/etc/gone"));
  EXPECT_FALSE(has("/opt/old/x"));
  EXPECT_TRUE(has("/opt/old/new"));
  EXPECT_TRUE(has("/etc/stays"));
  EXPECT_FALSE(has("/etc/.wh.gone"));
  EXPECT_FALSE(has("/opt/old/.wh..wh..opq"));
}

TEST_F(DockerTreeTest, FilesGoWhereLinksLeadAndFoldersThatAreThereKeepTheirMode) {
  files.add_folder("/usr/bin", {.mode = 0750}).add_link("/bin", "usr/bin");
  fs::create_directories(folder.path() / "from/bin");
  host::write_file(folder.path() / "from/bin/tool", "x", 0700);
  host::write_file(folder.path() / "from/text", "y", 0600);
  fs::create_symlink("text", folder.path() / "from/link");
  tree.lay_files(folder.path() / "from", "/", folder.path());
  EXPECT_EQ(files.read("/usr/bin/tool"), "x");
  EXPECT_EQ(files.find("/usr/bin/tool")->mode, 0755U);
  EXPECT_EQ(files.find("/usr/bin")->mode, 0750U);
  EXPECT_EQ(files.find("/text")->mode, 0644U);
  EXPECT_EQ(files.find("/link")->target, "text");
  tree.lay_files(folder.path() / "from/text", "/etc/deep/conf", folder.path());
  EXPECT_EQ(files.read("/etc/deep/conf"), "y");
}

TEST_F(DockerTreeTest, WhatIsCleanedSaysNeitherWhenNorWhereAndLicencesStay) {
  files.add("/usr/share/doc/jq/copyright").add("/usr/share/doc/jq/README").add("/usr/share/doc/jq/html/x");
  files.add("/usr/share/man/man1/jq.1").add("/usr/share/locale/de/x").add("/usr/share/locale/locale.alias");
  files.add("/var/cache/apt/archives/x.deb").add("/var/log/dpkg.log").add("/var/lib/apt/lists/x");
  files.add("/etc/machine-id", "1").add("/etc/resolv.conf", "x").add("/etc/passwd-").add("/tmp/x");
  files.add("/etc/shadow", "root:*:20785:0:99999:7:::\nempty:!::::::\n", {.mode = 0640});
  files.add("/var/lib/dpkg/status", "Package: jq\n").add("/var/lib/dpkg/status-old");
  tree.clean();
  for (const char* gone :
       {"/usr/share/doc/jq/README", "/usr/share/doc/jq/html", "/usr/share/man/man1", "/usr/share/locale/de",
        "/var/cache/apt/archives/x.deb", "/var/log/dpkg.log", "/var/lib/apt/lists/x", "/etc/machine-id",
        "/etc/resolv.conf", "/etc/passwd-", "/tmp/x", "/var/lib/dpkg/status-old"})
    EXPECT_FALSE(has(gone)) << gone;
  for (const char* there : {"/usr/share/doc/jq/copyright", "/usr/share/locale/locale.alias",
                            "/var/cache/apt/archives", "/var/log", "/var/lib/dpkg/status"})
    EXPECT_TRUE(has(there)) << there;
  EXPECT_EQ(files.read("/etc/shadow"), "root:*:19675:0:99999:7:::\nempty:!::::::\n");
}

}  // namespace
}  // namespace kiln::tests
