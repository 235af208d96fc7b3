#include "image/accel.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A QEMU that ends at once; a file plays the device.
class AccelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    world_.on({"qemu-system-x86_64"}, [this](const host::Command& command) {
      logs_.push_back(command.log);
      if (works_) host::write_file(command.log.parent_path() / "console", "VFS: Cannot open root device\n");
      return fakes::failed(1);
    });
  }
  AccelVerdict choose() {
    return choose_accel(world_.host(), Wish::automatic, tree_.file("vmlinuz", "kernel"), state(),
                        tree_.file("kvm", ""));
  }
  [[nodiscard]] fs::path state() const { return tree_ / "state"; }
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(state()))
      names.push_back(entry.path().lexically_relative(state()).string());
    std::sort(names.begin(), names.end());
    return names;
  }

  fakes::World world_;
  fakes::TempTree tree_;
  bool works_ = false;
  std::vector<fs::path> logs_;
};

TEST_F(AccelTest, tries_below_the_state_and_leaves_the_verdict_alone) {
  works_ = true;
  // What a killed kiln left.
  tree_.file("state/trial/console", "VFS: Cannot open root device\n");
  tree_.file("state/trial/old/file", "x");
  EXPECT_EQ(choose().accel, Accel::kvm);
  EXPECT_THAT(logs_, ElementsAre(state() / "trial/log"));
  EXPECT_THAT(left(), ElementsAre("kvm.json", "trial"));
  EXPECT_EQ(choose().accel, Accel::kvm);
  EXPECT_EQ(logs_.size(), 1U) << "a verdict is kept";
}

TEST_F(AccelTest, a_killed_kilns_console_is_no_proof) {
  tree_.file("state/trial/console", "VFS: Cannot open root device\n");
  const auto verdict = choose();
  EXPECT_EQ(verdict.accel, Accel::tcg);
  EXPECT_THAT(verdict.why, HasSubstr("KVM does not run a kernel"));
}

TEST_F(AccelTest, a_damaged_verdict_is_asked_for_again) {
  works_ = true;
  choose();
  std::string kept = host::read_file(state() / "kvm.json");
  kept.replace(kept.find("true"), 4, "\"no\"");
  host::write_file(state() / "kvm.json", kept);
  EXPECT_EQ(choose().accel, Accel::kvm);
  EXPECT_EQ(logs_.size(), 2U);
}

}  // namespace
}  // namespace kiln::image
