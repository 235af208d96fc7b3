#include "image/machine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

namespace kiln::image {
namespace {

using ::testing::Contains;

TEST(Machine, a_comma_in_a_path_begins_no_option) {
  EXPECT_EQ(option_path("/a,b/c,,d"), "/a,,b/c,,,,d");
  fakes::World world;
  fakes::TempTree tree;
  world.on({"qemu-system-x86_64"}, fakes::failed(1));
  MachineOptions options;
  options.scratch = tree.path();
  options.console = tree / "a,id=b/console";
  EXPECT_THROW(Machine::start(world.host(), std::move(options)), base::Error);
  ASSERT_EQ(world.commands().size(), 1U);
  EXPECT_THAT(world.commands()[0].argv,
              Contains("file,id=console,append=on,path=" + (tree / "a,,id=b/console").string()));
}

}  // namespace
}  // namespace kiln::image
