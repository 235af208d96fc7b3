#include "base/side_by_side.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <gtest/gtest.h>
#include <mutex>

#include "base/error.hpp"

namespace kiln::base {
namespace {

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
  const auto both = [&](const Error& error) {
    return [&, error]() -> bool {
      std::unique_lock guard(mutex);
      ++begun;
      met.notify_all();
      met.wait(guard, [&] { return begun >= 2; });
      throw error;
    };
  };
  try {
    side_by_side({both(Error("one")), both(Error("two"))}, 2);
    FAIL();
  } catch (const Errors& several) {
    EXPECT_EQ(several.all().size(), 2U);
  }
  begun = 0;
  try {
    side_by_side({both(Error("one")), both(Error("interrupted", Exit::interrupted))}, 2);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::interrupted);
  }
  EXPECT_THROW(side_by_side({[]() -> bool { throw Error("alone", Exit::missing); }}, 2), Error);
}

}  // namespace
}  // namespace kiln::base
