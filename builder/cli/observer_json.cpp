// Progress for programs: JSON lines, one event each, written as they happen.
//
//   {"event":"begins","t":0.0,"kiln_events":1}                                       first line
//   {"event":"step_begins","t":1.2,"step":"packages","text":"Installing 3 packages"}
//   {"event":"doing","t":2.0,"step":"packages","what":"installing nginx"}
//   {"event":"output","t":2.1,"step":"packages","line":"Setting up nginx ..."}
//   {"event":"bytes","t":2.2,"step":"base","what":"https://...","done":1024,"total":4096}   total 0: unknown
//   {"event":"note","t":3.0,"text":"..."}   {"event":"warning","t":3.0,"text":"..."}
//   {"event":"step_ends","t":9.9,"step":"packages","how":"done","seconds":8.7,"note":"120 MiB"}
//   {"event":"ends","t":9.9,"exit":0}                      last line; with "error" when there was one
//
// `t`: seconds since the first line. Where several profiles are built at once, events of a step, notes and
// warnings have "profile" too. `how`: done, reused, failed, skipped. `step` is "" outside of a step.
// Readers skip events and members they do not know. A file without a last line is of a kiln that runs still,
// or was killed.
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fmt/core.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/error.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {
namespace {

class EventObserver final : public Progress {
 public:
  EventObserver(const std::filesystem::path& file, std::unique_ptr<Progress> next)
      : next_(std::move(next)), out_(file, std::ios::trunc), begun_(std::chrono::steady_clock::now()) {
    if (!out_)
      throw base::Error(fmt::format("cannot write events to {}: {}", file.string(), std::strerror(errno)),
                        base::Exit::usage)
          .hint("give --events a file in a directory that is there");
    event("begins", {{"kiln_events", 1}});
  }

  void ends(int exit) {
    build_.clear();
    nlohmann::ordered_json members = {{"exit", exit}};
    if (!error_.empty()) members["error"] = error_;
    event("ends", members);
  }

  void failed(std::string_view why) override {
    error_ = why;
    next_->failed(why);
  }
  void turn_to(std::string_view build, std::string_view step) override {
    build_ = build;
    step_ = step;
    next_->turn_to(build, step);
  }
  void step_begins(std::string_view id, std::string_view text) override {
    step_ = id;
    event("step_begins", {{"step", id}, {"text", text}});
    next_->step_begins(id, text);
  }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override {
    step_.clear();
    const char* word = how == How::done     ? "done"
                       : how == How::reused ? "reused"
                       : how == How::failed ? "failed"
                                            : "skipped";
    event("step_ends", {{"step", id}, {"how", word}, {"seconds", seconds}, {"note", note}});
    next_->step_ends(id, how, seconds, note);
  }
  void doing(std::string_view what) override {
    event("doing", {{"step", step_}, {"what", what}});
    next_->doing(what);
  }
  void output(std::string_view line) override {
    event("output", {{"step", step_}, {"line", line}});
    next_->output(line);
  }
  void note(std::string_view text) override {
    event("note", {{"text", text}});
    next_->note(text);
  }
  void warn(std::string_view text) override {
    event("warning", {{"text", text}});
    next_->warn(text);
  }
  void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) override {
    event("bytes", {{"step", step_}, {"what", what}, {"done", done}, {"total", total}});
    next_->bytes(what, done, total);
  }

 private:
  void event(const char* name, const nlohmann::ordered_json& members) {
    const std::chrono::duration<double> t = std::chrono::steady_clock::now() - begun_;
    nlohmann::ordered_json line = {{"event", name}, {"t", t.count()}};
    if (!build_.empty()) line["profile"] = build_;
    line.update(members);
    out_ << line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    out_.flush();
  }

  std::unique_ptr<Progress> next_;
  std::ofstream out_;
  std::chrono::steady_clock::time_point begun_;
  std::string build_, step_, error_;
};

}  // namespace

int with_progress(const Invocation& call, const std::function<int(Progress&)>& body) {
  auto terminal = terminal_observer(call.host, call.err, call.quiet);
  if (call.events.empty()) return body(*terminal);
  EventObserver events(call.events, std::move(terminal));
  try {
    const int status = body(events);
    events.ends(status);
    return status;
  } catch (const base::Error& error) {
    events.failed(error.what());
    events.ends(static_cast<int>(error.exit()));
    throw;
  } catch (const std::exception& error) {
    events.failed(error.what());
    events.ends(static_cast<int>(base::Exit::failed));
    throw;
  }
}

}  // namespace kiln::cli
