// One command of the host and everything it starts, below a small supervisor. For host/ itself.
//
// kiln forks a supervisor, which becomes the reaper of all that descends from the command and watches a
// socket whose other end only kiln holds. When the command ends, when kiln asks for it, and when the socket
// closes because kiln is gone, however it went, the supervisor kills until it has no descendant left. No name
// or process id is ever searched for.
#pragma once

#include <chrono>
#include <string>
#include <sys/types.h>
#include <vector>

#include "host/fd.hpp"
#include "host/runner.hpp"

namespace kiln::host {

class Child final : public Process {
 public:
  // Starts `command`; returns when the program runs. Its stdout and stderr are read by the caller from out()
  // and err() when `piped`, else they go to `command.log` or /dev/null. Throws base::Error when it cannot be
  // started, Exit::missing when there is no such program.
  Child(const Command& command, bool piped);
  ~Child() override;

  [[nodiscard]] int pid() const override { return pid_; }
  std::optional<Finished> wait(std::chrono::milliseconds patience) override;
  void stop(std::chrono::milliseconds patience) override;

  // Non-blocking; -1 without `piped`.
  [[nodiscard]] int out() const { return out_.get(); }
  [[nodiscard]] int err() const { return err_.get(); }
  // Becomes readable when step() has something to learn.
  [[nodiscard]] int news() const { return status_.get(); }
  // Reads what the supervisor reports; does not wait.
  void step();
  // The command has ended and nothing of its tree is left.
  [[nodiscard]] bool gone() const { return gone_; }
  [[nodiscard]] const Finished& finished() const { return finished_; }
  // Throws base::Error after killing the tree when the command's time is up.
  void check_time(const std::string& tail);
  // `longest`, or less when the command's time is up before.
  [[nodiscard]] std::chrono::milliseconds slice(std::chrono::milliseconds longest) const;

 private:
  void order(char what);
  void wait_for_news(std::chrono::milliseconds patience);
  void bury();

  Command command_;
  std::chrono::steady_clock::time_point begin_;
  pid_t supervisor_ = -1;
  int pid_ = -1;
  Fd life_;    // orders to the supervisor; closing it is the order to kill all
  Fd status_;  // what the supervisor reports
  Fd out_;
  Fd err_;
  bool ended_ = false;  // the command itself
  bool gone_ = false;   // and all below it
  Finished finished_;
};

// Absolute path of `name` on kiln's PATH and in the system's sbin directories; a name with a slash is taken
// as it is.
std::optional<std::filesystem::path> find_on_path(const std::string& name);

}  // namespace kiln::host
