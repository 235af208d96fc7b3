// Where progress goes. The engine and stages never print; they tell an Observer, and the command line decides
// how to show it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace kiln::stage {

class Observer {
 public:
  virtual ~Observer() = default;
  virtual void step_begins(std::string_view id, std::string_view text) = 0;
  enum class How { done, reused, failed, skipped };
  virtual void step_ends(std::string_view id, How how, double seconds, std::string_view note) = 0;
  // What the running step is at: a salt state, a unit, a command.
  virtual void doing(std::string_view what) = 0;
  // A line of a tool's output (for --events; the step's log keeps it always).
  virtual void output(std::string_view line) = 0;
  // Something people should see: "KVM does not run a kernel here; using TCG, about ten times slower".
  virtual void note(std::string_view text) = 0;
  virtual void warn(std::string_view text) = 0;
  virtual void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) = 0;
};

}  // namespace kiln::stage
