#include "cli/side_by_side.hpp"

#include <atomic>
#include <condition_variable>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>
#include <stdexcept>

#include "base/error.hpp"
#include "host/host.hpp"

namespace kiln::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(SideBySide, AsManyJobsAsCoresAndMemoryAndBuildsAllow) {
  constexpr std::uint64_t gib = 1ULL << 30;
  EXPECT_EQ(jobs_for(4, 0, 8, 64 * gib, 2 * gib), 4U);
  EXPECT_EQ(jobs_for(4, 0, 2, 64 * gib, 2 * gib), 1U);
  EXPECT_EQ(jobs_for(4, 3, 2, 64 * gib, 2 * gib), 3U) << "what was asked for";
  EXPECT_EQ(jobs_for(4, 3, 2, 5 * gib, 2 * gib), 2U) << "but not more than there is memory for";
  EXPECT_EQ(jobs_for(4, 3, 2, gib, 2 * gib), 1U);
  EXPECT_EQ(jobs_for(2, 9, 2, 64 * gib, 2 * gib), 2U);
  EXPECT_EQ(jobs_for(4, 3, 2, 0, 2 * gib), 3U) << "nothing is known of memory";
}

TEST(SideBySide, ReadsWhatMemoryIsAvailable) {
  EXPECT_EQ(available_memory("MemTotal:       24683520 kB\nMemFree:  100 kB\nMemAvailable:   23523328 kB\n"),
            23523328ULL << 10U);
  EXPECT_EQ(available_memory("MemTotal: 1 kB\n"), 0U);
}

TEST(SideBySide, DeedsRunAtOnceAndNotMoreThanJobs) {
  std::mutex mutex;
  std::condition_variable met;
  int running = 0;
  int most = 0;
  int begun = 0;
  const auto deed = [&] {
    std::unique_lock guard(mutex);
    ++begun;
    most = std::max(most, ++running);
    met.notify_all();
    // The first two wait for each other: were they not at once, this would never end.
    met.wait(guard, [&] { return begun >= 2; });
    --running;
    return true;
  };
  EXPECT_TRUE(side_by_side({deed, deed, deed, deed}, 2));
  EXPECT_EQ(begun, 4);
  EXPECT_EQ(most, 2);
}

TEST(SideBySide, BehindOneThatFailedNoneIsBegun) {
  std::atomic<int> begun = 0;
  const auto fails = [&] {
    ++begun;
    return false;
  };
  EXPECT_FALSE(side_by_side({fails, fails, fails}, 1));
  EXPECT_EQ(begun, 1);
}

TEST(SideBySide, AllErrorsAreToldAndAnInterruptAlone) {
  std::mutex mutex;
  std::condition_variable met;
  int begun = 0;
  const auto both = [&](base::Error error) {
    return [&, error]() -> bool {
      std::unique_lock guard(mutex);
      ++begun;
      met.notify_all();
      met.wait(guard, [&] { return begun >= 2; });
      throw error;
    };
  };
  try {
    side_by_side({both(base::Error("one")), both(base::Error("two"))}, 2);
    FAIL();
  } catch (const base::Errors& several) {
    EXPECT_EQ(several.all().size(), 2U);
  }
  begun = 0;
  try {
    side_by_side({both(base::Error("one")), both(base::Error("interrupted", base::Exit::interrupted))}, 2);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::interrupted);
  }
  EXPECT_THROW(side_by_side({[]() -> bool { throw base::Error("alone", base::Exit::missing); }}, 2),
               base::Error);
}

TEST(SideBySide, StepsAreNamedByTheirBuild) {
  host::Host host;
  double now = 0;
  host.elapsed = [&] { return now; };
  std::ostringstream err;
  {
    const auto all = terminal_observer(host, err, false);
    std::mutex mutex;
    const auto one = observer_of(*all, mutex, "one");
    const auto two = observer_of(*all, mutex, "two");
    one->step_begins("base", "Composing");
    now = 3;
    two->step_begins("base", "Waiting");
    now = 10;
    one->doing("unpacking");
    now = 20;
    two->note("step 'base' is being built by process 7; waiting for it");
    two->step_ends("base", stage::Observer::How::reused, 17, "");
    one->step_ends("base", stage::Observer::How::done, 17, "1 GiB");
  }
  EXPECT_EQ(err.str(),
            "one/base: Composing\n"
            "two/base: Waiting\n"
            "     10 s  one: unpacking\n"
            "note: two: step 'base' is being built by process 7; waiting for it\n"
            "two/base: reused (took 17 s when it was made)\n"
            "one/base: done in 17 s, 1 GiB\n");
}

TEST(SideBySide, ATerminalHasALiveLineForEachRunningStep) {
  host::Host host;
  host.elapsed = [] { return 0.0; };
  host.terminal.is_tty = true;
  host.terminal.columns = 80;
  std::ostringstream err;
  const auto all = terminal_observer(host, err, false);
  std::mutex mutex;
  const auto one = observer_of(*all, mutex, "one");
  const auto two = observer_of(*all, mutex, "two");
  one->step_begins("base", "Composing");
  two->step_begins("more", "Waiting");
  EXPECT_THAT(err.str(), testing::EndsWith("\r\x1b[Kone/base: 0.0 s  Composing\ntwo/more: 0.0 s  Waiting"));
  one->step_ends("base", stage::Observer::How::done, 1, "");
  EXPECT_THAT(err.str(), HasSubstr("Waiting\r\x1b[K\x1b[A\x1b[Kone/base: done in 1.0 s\n"));
  EXPECT_THAT(err.str(), testing::EndsWith("\r\x1b[Ktwo/more: 0.0 s  Waiting"));
}

}  // namespace
}  // namespace kiln::cli
