// The terminal kiln was called from, when it is handed on.
#pragma once

#include <string_view>
#include <termios.h>

namespace kiln::host {

// Keeps how a terminal is set and sets it so again, whatever was done to it meanwhile. Does nothing to what
// is no terminal.
class TerminalState {
 public:
  explicit TerminalState(int fd);
  ~TerminalState();
  TerminalState(const TerminalState&) = delete;
  TerminalState& operator=(const TerminalState&) = delete;
  // Every key goes through as it is, ^C too: for a terminal on the other side to make sense of.
  void raw() const;
  // Writes all of it to a terminal; what cannot be written is lost with whoever sat there.
  static void put(int fd, std::string_view text);

 private:
  int fd_;
  termios before_{};
  bool is_tty_;  // after before_, which is read to find out
};

}  // namespace kiln::host
