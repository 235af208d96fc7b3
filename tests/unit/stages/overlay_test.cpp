#include <gtest/gtest.h>

#include "stage/key_writer.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType overlay;
}

namespace kiln::tests {
namespace {

class OverlayTest : public ::testing::Test {
 protected:
  OverlayTest() {
    work.image_files.add("/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/app:/bin/sh\n");
    work.image_files.add("/etc/group", "root:x:0:\nwww-data:x:33:\n");
  }
  void run(const std::string& more = "") {
    make_stage(stages::overlay, "{tree: tree" + more + "}", tree.path())->run(work);
  }
  image::Stat at(const std::string& path) {
    image::Stat nothing;
    nothing.kind = '-';
    return work.image_files.find(path).value_or(nothing);
  }

  fakes::TempTree tree;
  FakeWorkspace work;
};

TEST_F(OverlayTest, FilesBecomeRootsWithModesByTheExecuteBit) {
  tree.file("tree/etc/motd", "hello\n", 0600);
  tree.file("tree/usr/local/bin/tool", "#!/bin/sh\n", 0700);
  tree.link("tree/etc/link", "motd");
  run();
  EXPECT_EQ(work.image_files.read("/etc/motd"), "hello\n");
  EXPECT_EQ(at("/etc/motd").mode, 0644U);
  EXPECT_EQ(at("/etc/motd").uid, 0);
  EXPECT_EQ(at("/usr/local/bin/tool").mode, 0755U);
  EXPECT_EQ(at("/usr/local/bin").mode, 0755U);
  EXPECT_EQ(at("/etc/link").target, "motd");
}

TEST_F(OverlayTest, RulesSetOwnersAndModesAndTheLastOneWins) {
  tree.file("tree/app/a.env", "x");
  tree.file("tree/app/b.env", "x");
  tree.file("tree/overlay.yml",
            "rules:\n"
            "  - {path: app/**, owner: app, group: www-data}\n"
            "  - {path: 'app/*.env', mode: \"0640\"}\n"
            "  - {path: app/b.env, mode: 0600, owner: 4711}\n");
  run();
  EXPECT_EQ(at("/app").uid, 1000);
  EXPECT_EQ(at("/app/a.env").mode, 0640U);
  EXPECT_EQ(at("/app/a.env").uid, 1000);
  EXPECT_EQ(at("/app/a.env").gid, 33);
  EXPECT_EQ(at("/app/b.env").mode, 0600U);
  EXPECT_EQ(at("/app/b.env").uid, 4711);
  EXPECT_EQ(at("/overlay.yml").kind, '-');
}

TEST_F(OverlayTest, RulesBehindALinkAreRefused) {
  tree.file("elsewhere.yml", "rules: [{path: f, mode: \"0600\"}]\n");
  tree.file("tree/f", "x");
  for (const char* target : {"../elsewhere.yml", "nowhere"}) {
    std::filesystem::remove(tree.path() / "tree/overlay.yml");
    tree.link("tree/overlay.yml", target);
    const auto overlay = make_stage(stages::overlay, "{tree: tree}", tree.path());
    const host::Host host;
    stage::KeyWriter key(host);
    for (const std::string& said : {error_of([&] { overlay->describe(key); }), error_of([&] { run(); })}) {
      EXPECT_EQ(said, (tree.path() / "tree/overlay.yml").string() +
                          ": overlay.yml is a link; put the file itself there");
    }
  }
}

TEST_F(OverlayTest, DirectoriesThatAreThereStayAsTheyAre) {
  work.image_files.add_folder("/tmp", {.mode = 01777});
  work.image_files.add_folder("/srv/data", {.mode = 0700, .uid = 1000, .gid = 33});
  tree.file("tree/tmp/x", "x");
  tree.file("tree/srv/data/x", "x");
  tree.file("tree/overlay.yml", "rules: [{path: srv/data, group: app2}]\n");
  work.image_files.add("/etc/group", "app2:x:55:\n");
  run();
  EXPECT_EQ(at("/tmp").mode, 01777U);
  EXPECT_EQ(at("/srv/data").mode, 0700U);
  EXPECT_EQ(at("/srv/data").uid, 1000);
  EXPECT_EQ(at("/srv/data").gid, 55);  // a rule names it
}

TEST_F(OverlayTest, LinkedDirectoriesOfTheImageAreFollowedInsideIt) {
  work.image_files.add_folder("/usr/lib")
      .add_link("/lib", "usr/lib")
      .add_link("/out", "../../../../../../tmp/elsewhere");
  work.image_files.add_folder("/tmp/elsewhere");
  tree.file("tree/lib/x", "x");
  tree.file("tree/out/y", "y");
  run();
  EXPECT_EQ(at("/lib").kind, 'l');
  EXPECT_EQ(at("/usr/lib/x").kind, 'f');
  EXPECT_EQ(at("/tmp/elsewhere/y").kind, 'f');  // the image's /tmp
  EXPECT_FALSE(std::filesystem::exists("/tmp/elsewhere/y"));
}

TEST_F(OverlayTest, AFileReplacesALinkNotWhatItLeadsTo) {
  work.image_files.add("/etc/real", "old\n").add_link("/etc/motd", "real");
  tree.file("tree/etc/motd", "new\n");
  run();
  EXPECT_EQ(at("/etc/motd").kind, 'f');
  EXPECT_EQ(work.image_files.read("/etc/real"), "old\n");
}

TEST_F(OverlayTest, IntoIsMadeWhenItIsNotThere) {
  tree.file("tree/x", "x");
  run(", into: /opt/new/place");
  EXPECT_EQ(at("/opt/new/place/x").kind, 'f');
  EXPECT_EQ(at("/opt/new").mode, 0755U);
}

TEST_F(OverlayTest, AFileWhereTheTreeHasADirectoryIsAnError) {
  work.image_files.add("/etc/thing", "x");
  tree.file("tree/etc/thing/x", "x");
  EXPECT_NE(
      error_of([&] { run(); }).find("/etc/thing is no directory in the image and a directory in the tree"),
      std::string::npos);
}

TEST_F(OverlayTest, ADirectoryWhereTheTreeHasAFileIsAnError) {
  work.image_files.add("/etc/thing/x", "x");
  tree.file("tree/etc/thing", "x");
  EXPECT_NE(error_of([&] { run(); }).find("/etc/thing is a directory in the image"), std::string::npos);
}

TEST_F(OverlayTest, UnknownOwnersAreErrorsWithAGuess) {
  tree.file("tree/x", "x");
  const auto rules = tree.file("tree/overlay.yml", "rules:\n  - path: x\n    owner: appp\n");
  const std::string error = error_of([&] { run(); });
  EXPECT_EQ(error, rules.string() + ":2:5: the image has no user 'appp'; did you mean 'app'?");
}

TEST_F(OverlayTest, MistakesInRulesAreAllTold) {
  tree.file("tree/x", "x");
  tree.file("tree/overlay.yml",
            "rules:\n"
            "  - {path: x, mode: rw-r--r--}\n"
            "  - {owner: root}\n"
            "  - {path: x, ownr: root}\n");
  const std::string error = error_of([&] { run(); });
  EXPECT_NE(error.find("overlay.yml:2:"), std::string::npos) << error;
  EXPECT_NE(error.find("octal digits"), std::string::npos) << error;
  EXPECT_NE(error.find("overlay.yml:3:"), std::string::npos) << error;
  EXPECT_NE(error.find("rule: unknown key 'ownr', did you mean 'owner'?"), std::string::npos) << error;
}

TEST_F(OverlayTest, ARuleThatFitsNothingIsAnError) {
  tree.file("tree/etc/x", "x");
  tree.file("tree/overlay.yml", "rules: [{path: ect/x, mode: \"0600\"}]\n");
  EXPECT_NE(error_of([&] { run(); }).find("'ect/x' fits nothing"), std::string::npos);
}

TEST_F(OverlayTest, MistakesAreToldBeforeAnythingRuns) {
  tree.file("tree/key.pem",
            "-----BEGIN "
            "PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwgg\n");
  const auto stage = make_stage(stages::overlay, "{tree: tree}", tree.path());
  const host::Host host = work.host();
  stage::KeyWriter key(host);
  const std::string error = error_of([&] { stage->describe(key); });
  EXPECT_EQ(error.find("/stage.yml:1:8: the overlay holds a private key"), tree.path().string().size())
      << error;
  EXPECT_NE(error_of([&] { stage->run(work); }).find("private key"), std::string::npos);
  EXPECT_EQ(at("/key.pem").kind, '-');
}

}  // namespace
}  // namespace kiln::tests
