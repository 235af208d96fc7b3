#include "host/runner.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/child.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

using std::chrono::milliseconds;

namespace {

constexpr std::size_t kept_output = std::size_t{16} << 20U;

// The last of what a stream gave; trimmed seldom, so that it costs no copy a read.
class Tail {
 public:
  void add(std::string_view bytes) {
    text_ += bytes;
    if (text_.size() > 2 * kept_output) trim();
  }
  std::string take() {
    trim();
    return std::move(text_);
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  void trim() {
    if (text_.size() > kept_output) text_.erase(0, text_.size() - kept_output);
  }
  std::string text_;
};

class SystemRunner : public Runner {
 public:
  Finished run(const Command& command, const OnOutput& on_output) override;
  std::unique_ptr<Process> start(const Command& command) override {
    return std::make_unique<Child>(command, false);
  }
  std::optional<std::filesystem::path> find_program(const std::string& name) override {
    return find_on_path(name);
  }
};

Finished SystemRunner::run(const Command& command, const OnOutput& on_output) {
  check_interrupt();
  Fd log;
  if (!command.log.empty()) {
    log = Fd(::open(command.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!log) throw io_error("write", command.log, errno);
  }
  Child child(command, true);
  std::array<Tail, 2> tails;
  std::vector<char> buffer(std::size_t{1} << 16U);

  // Reads what is there from one of the streams; false at its end.
  const auto drain = [&](int fd, Stream stream) {
    while (true) {
      const ssize_t count = ::read(fd, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return errno == EAGAIN;
      if (count == 0) return false;
      std::string_view bytes(buffer.data(), static_cast<std::size_t>(count));
      tails[stream == Stream::out ? 0 : 1].add(bytes);
      if (on_output) on_output(stream, bytes);
      while (log && !bytes.empty()) {
        const ssize_t put = ::write(log.get(), bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) throw io_error("write", command.log, errno);
        bytes.remove_prefix(static_cast<std::size_t>(put));
      }
      // A command that never stops talking must not keep signals and limits from being seen.
      if (static_cast<std::size_t>(count) < buffer.size()) return true;
      check_interrupt();
      child.check_time(tails[1].text());
    }
  };

  bool out_open = true;
  bool err_open = true;
  try {
    while (!child.gone()) {
      std::array<pollfd, 3> polled{pollfd{child.news(), POLLIN, 0},
                                   pollfd{out_open ? child.out() : -1, POLLIN, 0},
                                   pollfd{err_open ? child.err() : -1, POLLIN, 0}};
      ::poll(polled.data(), polled.size(), static_cast<int>(child.slice(milliseconds(100)).count()));
      check_interrupt();
      if (polled[1].revents != 0) out_open = drain(child.out(), Stream::out);
      if (polled[2].revents != 0) err_open = drain(child.err(), Stream::err);
      child.step();
      child.check_time(tails[1].text().empty() ? tails[0].text() : tails[1].text());
    }
  } catch (...) {
    // Tools that mounted something or keep locks get the chance to undo it.
    child.stop(std::chrono::seconds(2));
    throw;
  }
  // The tree is dead, so what is in the pipes is all there will be.
  if (out_open) drain(child.out(), Stream::out);
  if (err_open) drain(child.err(), Stream::err);
  Finished finished = child.finished();
  finished.out = tails[0].take();
  finished.err = tails[1].take();
  return finished;
}

class LimitedRunner : public Runner {
 public:
  LimitedRunner(std::shared_ptr<Runner> real, milliseconds limit) : real_(std::move(real)), limit_(limit) {}
  Finished run(const Command& command, const OnOutput& on_output) override {
    if (command.timeout.count() > 0) return real_->run(command, on_output);
    Command limited = command;
    limited.timeout = limit_;
    return real_->run(limited, on_output);
  }
  std::unique_ptr<Process> start(const Command& command) override { return real_->start(command); }
  std::optional<std::filesystem::path> find_program(const std::string& name) override {
    return real_->find_program(name);
  }

 private:
  std::shared_ptr<Runner> real_;
  milliseconds limit_;
};

}  // namespace

std::unique_ptr<Runner> system_runner() {
  return std::make_unique<SystemRunner>();
}

std::unique_ptr<Runner> limited_runner(std::shared_ptr<Runner> real, milliseconds limit) {
  return std::make_unique<LimitedRunner>(std::move(real), limit);
}

Finished require(Runner& runner, const Command& command, const OnOutput& on_output) {
  Finished finished = runner.run(command, on_output);
  if (finished.ok()) return finished;
  const std::string what = command.purpose.empty() ? command.argv.front() : command.purpose;
  base::Error error(what + " failed: " + finished.how());
  if (!command.log.empty()) error.hint("the whole output is in " + command.log.string());
  const std::string& told = base::trim(finished.err).empty() ? finished.out : finished.err;
  std::string detail = "$ " + base::printable(command.text());
  if (!base::trim(told).empty()) detail += "\n" + base::printable(base::last_lines(told, 30));
  error.detail(std::move(detail));
  throw error;
}

}  // namespace kiln::host
