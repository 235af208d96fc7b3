#include "host/host.hpp"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.hpp"

using namespace kiln;

namespace {

// The exit status of a process of its own: a flag that was set cannot be taken back.
int in_a_child(const std::function<int()>& deed) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(deed());
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int exit_after(int signal) {
  return in_a_child([signal] {
    host::install_signal_flags();
    host::check_interrupt();
    ::raise(signal);
    try {
      host::check_interrupt();
    } catch (const base::Error& error) {
      return static_cast<int>(error.exit());
    }
    return 0;
  });
}

}  // namespace

TEST(Host, TurnsSignalsIntoErrorsWithTheirExitStatus) {
  EXPECT_EQ(exit_after(SIGINT), 130);
  EXPECT_EQ(exit_after(SIGTERM), 143);
  EXPECT_EQ(exit_after(SIGHUP), 143);
}

TEST(Host, StaysDeafToAHangupUnderNohup) {
  EXPECT_EQ(in_a_child([] {
              ::signal(SIGHUP, SIG_IGN);
              host::install_signal_flags();
              ::raise(SIGHUP);
              return host::pending_signal();
            }),
            0);
}

TEST(Host, OutlivesAReaderThatWentAway) {
  EXPECT_EQ(in_a_child([] {
              host::install_signal_flags();
              int ends[2];
              if (::pipe(ends) != 0) return 1;
              ::close(ends[0]);
              return ::write(ends[1], "x", 1) < 0 ? 0 : 2;
            }),
            0);
}

TEST(Host, LetsCleanUpRunAfterAnInterrupt) {
  EXPECT_EQ(in_a_child([] {
              host::install_signal_flags();
              ::raise(SIGINT);
              {
                const host::InterruptShield shield;
                host::check_interrupt();
              }
              try {
                host::check_interrupt();
              } catch (const base::Error&) {
                return 0;
              }
              return 1;
            }),
            0);
}

TEST(Host, KnowsTheWorldItRunsIn) {
  const host::Host world = host::Host::system();
  EXPECT_EQ(world.uid, static_cast<int>(::geteuid()));
  EXPECT_EQ(world.root, ::geteuid() == 0);
  EXPECT_GT(world.now(), 1'600'000'000);
  const double before = world.elapsed();
  EXPECT_GE(world.elapsed(), before);
  EXPECT_EQ(world.env("KILN_TEST_NOT_SET"), std::nullopt);
  EXPECT_TRUE(world.env("PATH").has_value());
}
