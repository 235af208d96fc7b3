// A command of the host as a value: an argv, never a shell string.
#pragma once

#include <chrono>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace kiln::host {

struct Command {
  std::vector<std::string> argv;
  // Added to (or, when nullopt, removed from) the environment kiln itself has.
  std::map<std::string, std::optional<std::string>> env;
  bool clear_env = false;     // `env` is all of the environment
  std::filesystem::path cwd;  // empty: where kiln runs
  std::string input;          // written to stdin, which is then closed
  std::chrono::milliseconds timeout{
      0};                     // 0: none; when it passes the process tree is killed and Error thrown
  std::filesystem::path log;  // when set, stdout and stderr are appended here as well
  std::string purpose;        // "composing the base system": for error texts
  std::vector<int> keep_fds;  // inherited descriptors beside 0, 1, 2

  Command() = default;
  Command(std::initializer_list<std::string> words) : argv(words) {}
  explicit Command(std::vector<std::string> words) : argv(std::move(words)) {}
  Command& add(std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
    return *this;
  }
  // One copy-pasteable line, for logs and errors. An environment of its own is shown by its names alone, as
  // values of whoever pastes it: a proxy's may hold a password.
  [[nodiscard]] std::string text() const;
};

// How a command ended. Death by a signal is not an exit status.
struct Finished {
  int exit = -1;  // exit status, -1 when a signal ended it
  int signal = 0;
  std::string out;  // at most the last 16 MiB of each
  std::string err;
  [[nodiscard]] bool ok() const { return exit == 0 && signal == 0; }
  // "exit status 2" or "killed by signal 9 (Killed)"
  [[nodiscard]] std::string how() const;
};

}  // namespace kiln::host
