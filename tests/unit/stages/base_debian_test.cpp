#include <gtest/gtest.h>

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

TEST_F(BaseDebianTest, AUsersMmdebstrapStaysOutOfTheStoreWhichItsIdsCannotEnter) {
  Workspace work(false);
  EXPECT_FALSE(asked(work).env.contains("TMPDIR"));
}

TEST_F(BaseDebianTest, HasTheTimeAStepHas) {
  Workspace work(false);
  EXPECT_EQ(asked(work).timeout, work.step_limit());
}

}  // namespace
}  // namespace kiln::tests
