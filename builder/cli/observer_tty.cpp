// Progress for people. On a terminal one live line for each running step, with the elapsed time, below what
// is done; elsewhere plain lines that read well in a log.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fmt/core.h>
#include <map>
#include <mutex>
#include <ostream>
#include <thread>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {
namespace {

class TerminalObserver final : public Progress {
 public:
  TerminalObserver(const host::Host& host, std::ostream& err, bool quiet)
      : host_(host), err_(err), quiet_(quiet), live_(host.terminal.is_tty && !quiet) {
    if (live_) ticker_ = std::jthread([this](const std::stop_token& stop) { tick(stop); });
  }
  ~TerminalObserver() override {
    if (ticker_.joinable()) {
      ticker_.request_stop();
      wake_.notify_all();
      ticker_.join();
    }
    const std::lock_guard guard(mutex_);
    wipe();
    err_.flush();
  }
  TerminalObserver(const TerminalObserver&) = delete;
  TerminalObserver& operator=(const TerminalObserver&) = delete;

  void failed(std::string_view) override {}  // it is among the results
  void turn_to(std::string_view build, std::string_view step) override {
    const std::lock_guard guard(mutex_);
    build_ = build;
    step_ = step;
  }
  void step_begins(std::string_view id, std::string_view text) override {
    const std::lock_guard guard(mutex_);
    step_ = id;
    running_[{build_, step_}] = {named(id), std::string(text), host_.elapsed()};
    if (quiet_) return;
    if (live_)
      draw();
    else
      line(fmt::format("{}: {}", named(id), text));
  }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override {
    const std::lock_guard guard(mutex_);
    running_.erase({build_, std::string(id)});
    step_.clear();
    const auto time = base::human_seconds(std::max(0.0, seconds));
    const auto rest = note.empty() ? std::string() : fmt::format(", {}", note);
    if (how == How::failed) {
      line(fmt::format("{}: FAILED after {}{}", named(id), time, rest));
    } else if (!quiet_) {
      switch (how) {
        case How::done:
          line(fmt::format("{}: done in {}{}", named(id), time, rest));
          break;
        case How::reused:
          line(fmt::format("{}: reused (took {} when it was made){}", named(id), time, rest));
          break;
        default:
          line(fmt::format("{}: skipped{}", named(id), rest));
      }
    }
  }
  void doing(std::string_view what) override {
    const std::lock_guard guard(mutex_);
    if (quiet_) return;
    if (live_) {
      show(what);
    } else if (host_.elapsed() - last_line_ >= kPlainPause) {
      // A state a line would drown a log; one now and then shows that it lives.
      const auto found = running_.find({build_, step_});
      const double begun = found == running_.end() ? host_.elapsed() : found->second.begun;
      line(fmt::format("  {:>5.0f} s  {}{}", std::max(0.0, host_.elapsed() - begun), of_step(), what));
    }
  }
  void output(std::string_view) override {}  // in the step's log
  void note(std::string_view text) override {
    const std::lock_guard guard(mutex_);
    if (!quiet_) line(fmt::format("note: {}{}", of_build(), text));
  }
  void warn(std::string_view text) override {
    const std::lock_guard guard(mutex_);
    line(fmt::format("warning: {}{}", of_build(), text));
  }
  void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) override {
    const std::lock_guard guard(mutex_);
    if (quiet_) return;
    const auto text = total > 0
                          ? fmt::format("{} of {}  {}", base::human_size(done), base::human_size(total), what)
                          : fmt::format("{}  {}", base::human_size(done), what);
    if (live_)
      show(text);
    else if (total > 0 && done == total)
      line(fmt::format("  fetched {}{}, {}", of_step(), what, base::human_size(total)));
  }

 private:
  static constexpr double kPlainPause = 5;

  struct Running {
    std::string name, doing;
    double begun = 0;
  };

  [[nodiscard]] std::string named(std::string_view id) const {
    return build_.empty() ? std::string(id) : fmt::format("{}/{}", build_, id);
  }
  [[nodiscard]] std::string of_build() const { return build_.empty() ? "" : build_ + ": "; }

  // Where one build runs several steps at once: which one.
  [[nodiscard]] std::string of_step() const {
    const auto of_mine = [&](const auto& one) { return one.first.first == build_; };
    const bool alone = std::count_if(running_.begin(), running_.end(), of_mine) < 2;
    return alone ? of_build() : named(step_) + ": ";
  }

  void show(std::string_view what) {
    if (const auto found = running_.find({build_, step_}); found != running_.end())
      found->second.doing = what;
    draw();
  }
  void tick(const std::stop_token& stop) {
    std::unique_lock guard(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(guard, std::chrono::seconds(1));
      if (!stop.stop_requested()) draw();
    }
  }
  void wipe() {
    if (drawn_ > 0) err_ << "\r\x1b[K";
    for (; drawn_ > 1; --drawn_) err_ << "\x1b[A\x1b[K";
    drawn_ = 0;
  }
  void line(const std::string& text) {
    wipe();
    err_ << base::printable(text) << '\n';
    err_.flush();
    last_line_ = host_.elapsed();
    draw();
  }
  void draw() {
    if (!live_ || running_.empty()) return;
    wipe();
    for (const auto& [where, step] : running_) {
      err_ << (drawn_++ > 0 ? "\n" : "\r\x1b[K");
      err_ << cut(fmt::format("{}: {}  {}", step.name,
                              base::human_seconds(std::max(0.0, host_.elapsed() - step.begun)), step.doing));
    }
    err_.flush();
  }
  [[nodiscard]] std::string cut(std::string_view text) const {
    return base::one_line(text, static_cast<std::size_t>(std::max(20, host_.terminal.columns - 1)));
  }

  const host::Host& host_;
  std::ostream& err_;
  bool quiet_;
  bool live_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string build_, step_;                                        // whose turn it is
  std::map<std::pair<std::string, std::string>, Running> running_;  // by build and step
  double last_line_ = -kPlainPause;
  int drawn_ = 0;  // live lines on the terminal
  std::jthread ticker_;
};

}  // namespace

std::unique_ptr<Progress> terminal_observer(const host::Host& host, std::ostream& err, bool quiet) {
  return std::make_unique<TerminalObserver>(host, err, quiet);
}

}  // namespace kiln::cli
