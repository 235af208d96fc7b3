#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/list_cache.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType base_debian;
}

namespace kiln::tests {
namespace {

// Up to mmdebstrap, which fails: what it was asked for is looked at.
class BaseDebianTest : public ::testing::Test {
 protected:
  class Workspace : public FakeWorkspace {
   public:
    explicit Workspace(bool root) {
      world.root = root;
      world.on({"mmdebstrap"}, fakes::failed(25, "E: no\n"));
      world.on({"unshare"}, fakes::printed(""));
      there = world.host();
    }
    [[nodiscard]] const host::Host& host() const override { return there; }
    host::Host there;
  };
  static host::Command asked(Workspace& work) {
    EXPECT_NE(error_of([&] { make_stage(stages::base_debian, "{}")->run(work); }).find("exit status 25"),
              std::string::npos);
    return work.world.commands().back();
  }
};

TEST_F(BaseDebianTest, WhatRootsMmdebstrapLeavesWhenItIsKilledIsSweptWithTheStep) {
  Workspace work(true);
  const host::Command command = asked(work);
  ASSERT_TRUE(command.env.contains("TMPDIR"));
  const std::string folder = *command.env.at("TMPDIR");
  EXPECT_EQ(folder.find(work.scratch().string() + "/"), 0U) << folder;
  EXPECT_TRUE(std::filesystem::is_directory(folder));
}

TEST_F(BaseDebianTest, AUsersMmdebstrapStaysOutOfTheStoreAndLeavesNothing) {
  Workspace work(false);
  work.there.uid = static_cast<int>(::geteuid());
  // Of a run that was killed, and one that is being made.
  const auto place = std::filesystem::temp_directory_path();
  const host::TempDir dead(place, "kiln-mmdebstrap-");
  const host::TempDir young(place, "kiln-mmdebstrap-");
  std::filesystem::create_directory(dead.path() / "mmdebstrap.x");
  ASSERT_EQ(::chmod(dead.path().c_str(), 0711), 0);
  work.world.on({"mmdebstrap"}, [](const host::Command& command) {
    struct stat status{};
    EXPECT_EQ(::stat(command.env.at("TMPDIR")->c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777U, 0711U);
    return fakes::failed(25);
  });
  const std::filesystem::path folder = *asked(work).env.at("TMPDIR");
  EXPECT_EQ(folder.parent_path(), place);
  EXPECT_FALSE(std::filesystem::exists(folder));
  EXPECT_FALSE(std::filesystem::exists(dead.path()));
  EXPECT_TRUE(std::filesystem::exists(young.path()));
}

TEST_F(BaseDebianTest, OfflineWithoutListsNothingIsRun) {
  Workspace work(true);
  work.is_offline = true;
  EXPECT_EQ(error_of([&] { make_stage(stages::base_debian, "{}")->run(work); }),
            "--offline: the store does not keep the package lists of bookworm; build once without --offline, "
            "which fetches and keeps it");
  EXPECT_TRUE(work.world.commands().empty());
}

TEST_F(BaseDebianTest, OfflineAptAsksWhatIsKeptAndTheMissingPackageIsNamed) {
  Workspace work(true);
  work.is_offline = true;
  const auto tar = work.scratch() / "set.tar";
  fakes::write_tar(tar, {{"m_dists_bookworm_InRelease", "x"}});
  image::ListCache(work.package_cache("lists")).keep("mmdebstrap bookworm '' main", "", tar, 1000);
  work.world.on({"mmdebstrap"},
                fakes::failed(25, "E: Failed to fetch http://m/pool/nano_7.2%2b1_amd64.deb  it is not\n"));
  const std::string error = error_of([&] { make_stage(stages::base_debian, "{}")->run(work); });
  EXPECT_EQ(error.find("--offline: the store does not keep nano_7.2%2b1_amd64.deb; build once"), 0U) << error;
  EXPECT_EQ(work.as_of, 1000);
  const auto& argv = work.world.commands().back().argv;
  const std::string methods = (work.scratch() / "kept/methods").string();
  EXPECT_NE(std::find(argv.begin(), argv.end(), "--aptopt=Dir::Bin::Methods \"" + methods + "/\""),
            argv.end());
  EXPECT_EQ(host::read_file(work.scratch() / "kept/lists/m_dists_bookworm_InRelease"), "x");
  EXPECT_EQ(host::read_file(methods + "/http"), image::offline_method);
}

TEST_F(BaseDebianTest, OfflineAMirrorOfLocalFilesIsUsed) {
  Workspace work(true);
  work.is_offline = true;
  EXPECT_NE(error_of([&] {
              make_stage(stages::base_debian, "{mirror: file:///srv/debian}")->run(work);
            }).find("25"),
            std::string::npos);
}

TEST_F(BaseDebianTest, HasTheTimeAStepHas) {
  Workspace work(false);
  EXPECT_EQ(asked(work).timeout, work.step_limit());
}

}  // namespace
}  // namespace kiln::tests
