#include "engine/tools.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "unit/engine/machines_fake.hpp"

namespace kiln::engine {
namespace {

using testing::HasSubstr;

TEST(Tools, NothingMissingIsNoError) {
  const World world;
  EXPECT_NO_THROW(require_tools(world.host, {"qemu-img", "ssh"}));
}

TEST(Tools, AnUnknownProgramIsNamedWithoutAPackage) {
  World world;
  world.runner->missing = {"frobnicate"};
  try {
    require_tools(world.host, {"frobnicate"});
    FAIL() << "nothing missed";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    EXPECT_THAT(error.message(), HasSubstr("frobnicate"));
    EXPECT_EQ(error.hint_text(), "put them on PATH");
  }
}

TEST(Tools, PackagesAreDebians) {
  EXPECT_EQ(debian_package("qemu-img"), "qemu-utils");
  EXPECT_EQ(debian_package("qemu-storage-daemon"), "qemu-system-common");
  EXPECT_EQ(debian_package("frobnicate"), "");
}

}  // namespace
}  // namespace kiln::engine
