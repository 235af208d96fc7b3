#include "host/terminal.hpp"

#include <cerrno>
#include <unistd.h>

namespace kiln::host {

TerminalState::TerminalState(int fd) : fd_(fd), is_tty_(::tcgetattr(fd, &before_) == 0) {}

TerminalState::~TerminalState() {
  if (is_tty_) ::tcsetattr(fd_, TCSADRAIN, &before_);
}

void TerminalState::raw() const {
  if (!is_tty_) return;
  termios raw = before_;
  ::cfmakeraw(&raw);
  ::tcsetattr(fd_, TCSADRAIN, &raw);
}

void TerminalState::put(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace kiln::host
