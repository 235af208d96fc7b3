// The gate through which every command of the host passes; a test passes a Runner of its own.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string_view>

#include "host/command.hpp"

namespace kiln::host {

enum class Stream { out, err };
using OnOutput = std::function<void(Stream, std::string_view)>;

// A started process and all its descendants. The destructor kills the whole tree; so does the end of kiln
// itself, also by SIGKILL.
class Process {
 public:
  virtual ~Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  // The process id of the command itself (for people and /proc).
  [[nodiscard]] virtual int pid() const = 0;
  // How it ended, or nullopt while it runs. Waits up to `patience`; throws base::Error when the user
  // interrupts meanwhile.
  virtual std::optional<Finished> wait(std::chrono::milliseconds patience) = 0;
  // SIGTERM, then after `patience` SIGKILL, to the whole tree; returns when nothing of it is left.
  virtual void stop(std::chrono::milliseconds patience = std::chrono::seconds(2)) = 0;

 protected:
  Process() = default;
};

class Runner {
 public:
  virtual ~Runner() = default;
  // Runs to the end. A status other than 0 is a result, not an error. Throws base::Error when the program is
  // missing (Exit::missing), when the time is up, and when the user interrupts (Exit::interrupted or
  // terminated): then the process tree is dead before it throws.
  virtual Finished run(const Command& command, const OnOutput& on_output = {}) = 0;
  // Starts and returns; output goes to `command.log` or to /dev/null.
  virtual std::unique_ptr<Process> start(const Command& command) = 0;
  // Absolute path of a program on PATH (also /usr/sbin and /sbin, which an ordinary user lacks), nullopt when
  // it is missing.
  virtual std::optional<std::filesystem::path> find_program(const std::string& name) = 0;
};

// Runs `command` and throws base::Error unless it ended with status 0: what was run, how it ended, its last
// 30 lines, the log's path.
Finished require(Runner& runner, const Command& command, const OnOutput& on_output = {});

std::unique_ptr<Runner> system_runner();
// Gives each command that `real` is to run, and that has no limit of its own, this one. What is started has
// none: its owner ends it.
std::unique_ptr<Runner> limited_runner(std::shared_ptr<Runner> real, std::chrono::milliseconds limit);

}  // namespace kiln::host
