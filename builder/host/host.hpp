// The world as one value: everything kiln reads from or does to its surroundings goes through here, so that a
// test passes another world.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/runner.hpp"

namespace kiln::host {

struct Terminal {
  bool is_tty = false;        // stderr is one
  bool input_is_tty = false;  // and standard input
  int columns = 80;
};

struct Host {
  std::shared_ptr<Runner> runner;
  // Wall clock in seconds since 1970; for records, never for keys.
  std::function<std::int64_t()> now;
  // Monotonic seconds, for durations and limits.
  std::function<double()> elapsed;
  // A variable of the environment kiln was started with.
  std::function<std::optional<std::string>(const std::string&)> env;
  // Version of a host tool without running it (package database of the distribution, or size and mtime of the
  // file): "mmdebstrap 1.3.5-7", or "absent". Enters keys of stages whose content the tool writes.
  // Fast: plan and check ask it; each program is looked up once in a Host's life.
  std::function<std::string(const std::string& program)> tool_version;
  bool root = false;  // effective uid 0: loop devices, mounts and chroots can be had
  int uid = 0;        // effective
  Terminal terminal;

  static Host system();
};

// Lets neither this process nor what it starts leave its memory in a core file: for who has secrets in it.
void forbid_core_files();
// Signals. `install_signal_flags` makes SIGINT, SIGTERM and SIGHUP set a flag; every wait of the Runner looks
// at it.
void install_signal_flags();
// Throws base::Error (Exit::interrupted or terminated) when such a signal has come.
void check_interrupt();
// The signal that came, 0 when none.
int pending_signal();

// While one lives, check_interrupt() does not throw in this thread: for clean-up that runs commands after the
// signal came (unmounting, say). Keep it short: the user is waiting.
class InterruptShield {
 public:
  InterruptShield();
  ~InterruptShield();
  InterruptShield(const InterruptShield&) = delete;
  InterruptShield& operator=(const InterruptShield&) = delete;
};

// Moves this process into a mount namespace of its own (once), so that whatever it mounts is invisible
// outside and gone when kiln and its children are. Root only; throws base::Error. Call it before there is a
// second thread: the kernel moves the calling one only.
void private_mounts();

}  // namespace kiln::host
