// Progress for people. On a terminal one live line with the elapsed time below what is done; elsewhere plain
// lines that read well in a log.
#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <fmt/core.h>
#include <mutex>
#include <ostream>
#include <thread>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {
namespace {

class TerminalObserver final : public stage::Observer {
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

  void step_begins(std::string_view id, std::string_view text) override {
    const std::lock_guard guard(mutex_);
    step_ = id;
    doing_.clear();
    begun_ = host_.elapsed();
    if (quiet_) return;
    if (live_) {
      text_ = text;
      draw();
    } else {
      line(fmt::format("{}: {}", id, text));
    }
  }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override {
    const std::lock_guard guard(mutex_);
    step_.clear();
    const auto time = base::human_seconds(std::max(0.0, seconds));
    const auto rest = note.empty() ? std::string() : fmt::format(", {}", note);
    if (how == How::failed) {
      line(fmt::format("{}: FAILED after {}{}", id, time, rest));
    } else if (!quiet_) {
      switch (how) {
        case How::done:
          line(fmt::format("{}: done in {}{}", id, time, rest));
          break;
        case How::reused:
          line(fmt::format("{}: reused (took {} when it was made){}", id, time, rest));
          break;
        default:
          line(fmt::format("{}: skipped{}", id, rest));
      }
    }
  }
  void doing(std::string_view what) override {
    const std::lock_guard guard(mutex_);
    if (quiet_) return;
    doing_ = what;
    if (live_) {
      draw();
    } else if (host_.elapsed() - last_line_ >= kPlainPause) {
      // A state a line would drown a log; one now and then shows that it lives.
      line(fmt::format("  {:>5.0f} s  {}", std::max(0.0, host_.elapsed() - begun_), what));
    }
  }
  void output(std::string_view) override {}  // in the step's log
  void note(std::string_view text) override {
    const std::lock_guard guard(mutex_);
    if (!quiet_) line(fmt::format("note: {}", text));
  }
  void warn(std::string_view text) override {
    const std::lock_guard guard(mutex_);
    line(fmt::format("warning: {}", text));
  }
  void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) override {
    const std::lock_guard guard(mutex_);
    if (quiet_) return;
    doing_ = total > 0 ? fmt::format("{} of {}  {}", base::human_size(done), base::human_size(total), what)
                       : fmt::format("{}  {}", base::human_size(done), what);
    if (live_)
      draw();
    else if (total > 0 && done == total)
      line(fmt::format("  fetched {}, {}", what, base::human_size(total)));
  }

 private:
  static constexpr double kPlainPause = 5;

  void tick(const std::stop_token& stop) {
    std::unique_lock guard(mutex_);
    while (!stop.stop_requested()) {
      wake_.wait_for(guard, std::chrono::seconds(1));
      if (!stop.stop_requested() && !step_.empty()) draw();
    }
  }
  void wipe() {
    if (drawn_) err_ << "\r\x1b[K";
    drawn_ = false;
  }
  void line(const std::string& text) {
    wipe();
    err_ << base::printable(text) << '\n';
    err_.flush();
    last_line_ = host_.elapsed();
    if (live_ && !step_.empty()) draw();
  }
  void draw() {
    if (!live_ || step_.empty()) return;
    std::string text =
        fmt::format("{}: {}  {}", step_, base::human_seconds(std::max(0.0, host_.elapsed() - begun_)),
                    doing_.empty() ? text_ : doing_);
    std::replace(text.begin(), text.end(), '\n', ' ');
    text = base::printable(text);
    // Cut between characters: UTF-8 continuation bytes do not begin one.
    const auto width = static_cast<std::size_t>(std::max(20, host_.terminal.columns - 1));
    std::size_t seen = 0;
    std::size_t at = 0;
    while (at < text.size() && (seen < width || (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U)) {
      if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U) ++seen;
      ++at;
    }
    text.resize(at);
    err_ << "\r\x1b[K" << text;
    err_.flush();
    drawn_ = true;
  }

  const host::Host& host_;
  std::ostream& err_;
  bool quiet_;
  bool live_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::string step_, text_, doing_;
  double begun_ = 0;
  double last_line_ = -kPlainPause;
  bool drawn_ = false;
  std::jthread ticker_;
};

}  // namespace

std::unique_ptr<stage::Observer> terminal_observer(const host::Host& host, std::ostream& err, bool quiet) {
  return std::make_unique<TerminalObserver>(host, err, quiet);
}

}  // namespace kiln::cli
