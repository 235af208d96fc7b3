#include "engine/kept_boot.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "unit/engine/machines_fake.hpp"

namespace kiln::engine {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class KeptBootTest : public testing::Test {
 protected:
  KeptBootTest() { options_.image = world_.dir.path() / "minimal.qcow2"; }
  // What is done with machines for one look, in a kiln of its own.
  std::vector<std::string> look(const std::string& sha256 = std::string(64, 'a')) {
    world_.machines.log.clear();
    cache::Store store(world_.host, world_.root);
    with_kept_boot(world_.host, store, world_.machines, options_, sha256, world_.observer,
                   [&](const proof::BootOptions& with) {
                     world_.machines.shell(with, [&](const auto&) { return deed_(); }, {"id"});
                   });
    return world_.machines.log;
  }
  [[nodiscard]] std::vector<std::string> kept() const { return world_.names(world_.root / "settled"); }

  World world_;
  proof::BootOptions options_;
  std::function<int()> deed_ = [] { return 0; };
};

TEST_F(KeptBootTest, BootsOnceAndResumesFromThenOn) {
  EXPECT_THAT(look(), ElementsAre("keep", "shell resumed"));
  EXPECT_THAT(look(), ElementsAre("shell resumed"));
  EXPECT_THAT(kept(), ElementsAre(std::string(64, 'a') + "-bios"));
  EXPECT_THAT(world_.names(world_.root / "tmp"), IsEmpty());
}

TEST_F(KeptBootTest, AnotherImageFirmwareOrMachineIsAnotherGuest) {
  look();
  EXPECT_THAT(look(std::string(64, 'b')), Contains("keep"));
  options_.firmware = profile::Firmware::uefi;
  EXPECT_THAT(look(), Contains("keep"));
  EXPECT_EQ(kept().size(), 3U);
  world_.machines.qemu = "qemu 8.0";
  EXPECT_THAT(look(), ElementsAre("keep", "shell resumed"));
  EXPECT_THAT(look(), ElementsAre("shell resumed"));
  EXPECT_EQ(kept().size(), 3U) << "it took the place of the old one";
}

TEST_F(KeptBootTest, WhatDoesNotResumeIsMadeAnewOnceAndDropped) {
  look();
  world_.machines.resumes = false;
  try {
    look();
    FAIL() << "nothing could be resumed";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("QEMU could not load the guest's memory"));
  }
  EXPECT_THAT(world_.machines.log, ElementsAre("shell resumed", "keep", "shell resumed"));
  EXPECT_THAT(kept(), IsEmpty());
}

TEST_F(KeptBootTest, WhatFailsInTheGuestIsNoFaultOfWhatIsKept) {
  deed_ = []() -> int { throw base::Error("the guest powered itself off"); };
  EXPECT_THROW(look(), base::Error);
  EXPECT_THAT(world_.machines.log, ElementsAre("keep", "shell resumed"));
  EXPECT_EQ(kept().size(), 1U);
}

TEST_F(KeptBootTest, AnImageThatNobodyCanLogInToIsNotKept) {
  world_.machines.saves = false;
  EXPECT_THROW(look(), base::Error);
  EXPECT_THAT(world_.machines.log, ElementsAre("keep"));
  EXPECT_THAT(kept(), IsEmpty());
  EXPECT_THAT(world_.names(world_.root / "tmp"), IsEmpty());
}

}  // namespace
}  // namespace kiln::engine
