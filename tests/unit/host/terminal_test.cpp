#include "host/terminal.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "host/fd.hpp"

namespace kiln::host {
namespace {

TEST(TerminalStateTest, IsSetBackWhateverWasDoneToIt) {
  const Fd far(::posix_openpt(O_RDWR | O_NOCTTY));
  ASSERT_TRUE(far && ::grantpt(far.get()) == 0 && ::unlockpt(far.get()) == 0);
  const Fd near(::open(::ptsname(far.get()), O_RDWR | O_NOCTTY));  // NOLINT(concurrency-mt-unsafe)
  ASSERT_TRUE(near);
  const auto local = [&] {
    termios now{};
    EXPECT_EQ(::tcgetattr(near.get(), &now), 0);
    return now.c_lflag & (ICANON | ECHO | ISIG);
  };
  const auto before = local();
  EXPECT_NE(before, 0U);
  {
    const TerminalState state(near.get());
    state.raw();
    EXPECT_EQ(local(), 0U);
  }
  EXPECT_EQ(local(), before);
}

TEST(TerminalStateTest, AFileIsLeftAlone) {
  const Fd file(::open("/dev/null", O_RDWR));
  const TerminalState state(file.get());
  state.raw();
  TerminalState::put(file.get(), "gone");
}

}  // namespace
}  // namespace kiln::host
