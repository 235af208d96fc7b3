#include "cli/jobs.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "host/host.hpp"

namespace kiln::cli {
namespace {

using testing::HasSubstr;

TEST(Jobs, AsManyJobsAsCoresAndMemoryAndBuildsAllow) {
  constexpr std::uint64_t gib = 1ULL << 30;
  EXPECT_EQ(jobs_for(4, 0, 8, 64 * gib, 2 * gib), 4U);
  EXPECT_EQ(jobs_for(4, 0, 2, 64 * gib, 2 * gib), 1U);
  EXPECT_EQ(jobs_for(4, 3, 2, 64 * gib, 2 * gib), 3U) << "what was asked for";
  EXPECT_EQ(jobs_for(4, 3, 2, 5 * gib, 2 * gib), 2U) << "but not more than there is memory for";
  EXPECT_EQ(jobs_for(4, 3, 2, gib, 2 * gib), 1U);
  EXPECT_EQ(jobs_for(2, 9, 2, 64 * gib, 2 * gib), 2U);
  EXPECT_EQ(jobs_for(4, 3, 2, 0, 2 * gib), 3U) << "nothing is known of memory";
}

TEST(Jobs, ReadsWhatMemoryIsAvailable) {
  EXPECT_EQ(available_memory("MemTotal:       24683520 kB\nMemFree:  100 kB\nMemAvailable:   23523328 kB\n"),
            23523328ULL << 10U);
  EXPECT_EQ(available_memory("MemTotal: 1 kB\n"), 0U);
}

// Two builds that tell of themselves at once.
struct Two {
  explicit Two(bool live) {
    host.elapsed = [this] { return now; };
    host.terminal.is_tty = live;
    all = terminal_observer(host, err, false);
    one = observer_of(*all, mutex, "one");
    two = observer_of(*all, mutex, "two");
  }
  host::Host host;
  double now = 0;
  std::ostringstream err;
  std::mutex mutex;
  std::unique_ptr<Progress> all;
  std::unique_ptr<stage::Observer> one, two;
};

TEST(Jobs, StepsAreNamedByTheirBuild) {
  Two told(false);
  told.one->step_begins("base", "Composing");
  told.now = 3;
  told.two->step_begins("base", "Waiting");
  told.now = 10;
  told.one->doing("unpacking");
  told.now = 20;
  told.two->note("step 'base' is being built by process 7; waiting for it");
  told.two->step_ends("base", stage::Observer::How::reused, 17, "");
  told.one->step_ends("base", stage::Observer::How::done, 17, "1 GiB");
  EXPECT_EQ(told.err.str(),
            "one/base: Composing\n"
            "two/base: Waiting\n"
            "     10 s  one: unpacking\n"
            "note: two: step 'base' is being built by process 7; waiting for it\n"
            "two/base: reused (took 17 s when it was made)\n"
            "one/base: done in 17 s, 1 GiB\n");
}

TEST(Jobs, StepsOfOneBuildAreNamedWhileThereAreSeveral) {
  Two told(false);
  told.one = observer_of(*told.all, told.mutex, "");
  told.two = observer_of(*told.all, told.mutex, "");
  told.one->step_begins("disk", "Exporting a vdi");
  told.two->step_begins("cloud", "Exporting a qcow2");
  told.now = 10;
  told.one->doing("comparing");
  told.now = 20;
  told.two->doing("compressing");
  told.one->step_ends("disk", stage::Observer::How::done, 30, "");
  told.now = 30;
  told.two->doing("checking");
  told.two->step_ends("cloud", stage::Observer::How::done, 40, "");
  EXPECT_EQ(told.err.str(),
            "disk: Exporting a vdi\n"
            "cloud: Exporting a qcow2\n"
            "     10 s  disk: comparing\n"
            "     20 s  cloud: compressing\n"
            "disk: done in 30 s\n"
            "     30 s  checking\n"
            "cloud: done in 40 s\n");
}

TEST(Jobs, ATerminalHasALiveLineForEachRunningStep) {
  Two told(true);
  told.one->step_begins("base", "Composing");
  told.two->step_begins("more", "Waiting");
  EXPECT_THAT(told.err.str(),
              testing::EndsWith("\r\x1b[Kone/base: 0.0 s  Composing\ntwo/more: 0.0 s  Waiting"));
  told.one->step_ends("base", stage::Observer::How::done, 1, "");
  EXPECT_THAT(told.err.str(), HasSubstr("Waiting\r\x1b[K\x1b[A\x1b[Kone/base: done in 1.0 s\n"));
  EXPECT_THAT(told.err.str(), testing::EndsWith("\r\x1b[Ktwo/more: 0.0 s  Waiting"));
}

}  // namespace
}  // namespace kiln::cli
