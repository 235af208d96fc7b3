#include <algorithm>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"

namespace kiln::host {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

// A recorded word may hold this where a random name was.
constexpr std::string_view any = "{{any}}";

bool word_matches(std::string_view pattern, std::string_view word) {
  std::size_t at = pattern.find(any);
  if (at == std::string_view::npos) return pattern == word;
  if (!word.starts_with(pattern.substr(0, at))) return false;
  word.remove_prefix(at);
  pattern.remove_prefix(at + any.size());
  while ((at = pattern.find(any)) != std::string_view::npos) {
    const std::size_t found = word.find(pattern.substr(0, at));
    if (found == std::string_view::npos) return false;
    word.remove_prefix(found + at);
    pattern.remove_prefix(at + any.size());
  }
  return word.ends_with(pattern);
}

std::string input_digest(const Command& command) {
  return command.input.empty() ? std::string{} : base::sha256(command.input);
}

class RecordRunner : public Runner {
 public:
  RecordRunner(Runner& real, fs::path folder) : real_(real), folder_(std::move(folder)) {
    std::error_code code;
    fs::create_directories(folder_, code);
    if (code) throw base::Error("cannot create '" + folder_.string() + "': " + code.message());
  }

  Finished run(const Command& command, const OnOutput& on_output) override {
    const int number = ++count_;
    Finished finished = real_.run(command, on_output);
    write(number, command, finished, false);
    return finished;
  }

  std::unique_ptr<Process> start(const Command& command) override;

  std::optional<fs::path> find_program(const std::string& name) override {
    std::optional<fs::path> path = real_.find_program(name);
    json record{{"find", name}, {"path", nullptr}};
    if (path) record["path"] = path->string();
    // Asked often, answered alike: one file a program.
    write_file(folder_ / ("find-" + file_name(name)), record.dump(1) + "\n");
    return path;
  }

  void write(int number, const Command& command, const Finished& finished, bool started) {
    json record{{"argv", command.argv},
                {"exit", finished.exit},
                {"signal", finished.signal},
                {"out", finished.out},
                {"err", finished.err}};
    if (started) record["started"] = true;
    if (!command.input.empty()) record["input"] = input_digest(command);
    const std::string program = fs::path(command.argv.front()).filename().string();
    write_file(folder_ / fmt::format("{:04}-{}", number, file_name(program)),
               record.dump(1, ' ', false, json::error_handler_t::replace) + "\n");
  }

 private:
  static std::string file_name(std::string name) {
    std::replace(name.begin(), name.end(), '/', '_');
    return name + ".json";
  }

  Runner& real_;
  fs::path folder_;
  int count_ = 0;
};

// Written down when it ended, or, if kiln ended it, when its owner let it go.
class RecordedProcess : public Process {
 public:
  RecordedProcess(RecordRunner& recorder, int number, Command command, std::unique_ptr<Process> real)
      : recorder_(recorder), number_(number), command_(std::move(command)), real_(std::move(real)) {}
  ~RecordedProcess() override {
    try {
      if (!written_) write(real_->wait(std::chrono::milliseconds(0)).value_or(stopped()));
    } catch (const std::exception&) {
      written_ = true;  // interrupted or disk full: a recording that lacks shows in the test that needs it
    }
  }
  [[nodiscard]] int pid() const override { return real_->pid(); }
  std::optional<Finished> wait(std::chrono::milliseconds patience) override {
    std::optional<Finished> finished = real_->wait(patience);
    if (finished) write(*finished);
    return finished;
  }
  void stop(std::chrono::milliseconds patience) override { real_->stop(patience); }

 private:
  static Finished stopped() {
    Finished finished;
    finished.signal = 15;
    return finished;
  }
  void write(const Finished& finished) {
    if (written_) return;
    written_ = true;
    recorder_.write(number_, command_, finished, true);
  }

  RecordRunner& recorder_;
  int number_;
  Command command_;
  std::unique_ptr<Process> real_;
  bool written_ = false;
};

std::unique_ptr<Process> RecordRunner::start(const Command& command) {
  const int number = ++count_;
  return std::make_unique<RecordedProcess>(*this, number, command, real_.start(command));
}

class PlayedProcess : public Process {
 public:
  explicit PlayedProcess(Finished finished) : finished_(std::move(finished)) {}
  [[nodiscard]] int pid() const override { return 1; }
  std::optional<Finished> wait(std::chrono::milliseconds /*patience*/) override { return finished_; }
  void stop(std::chrono::milliseconds /*patience*/) override {}

 private:
  Finished finished_;
};

void append_log(const Command& command, const Finished& finished) {
  if (command.log.empty()) return;
  std::ofstream log(command.log, std::ios::app | std::ios::binary);
  log << finished.out << finished.err;
}

}  // namespace

std::unique_ptr<Runner> record_runner(Runner& real, fs::path folder) {
  return std::make_unique<RecordRunner>(real, std::move(folder));
}

struct PlaybackRunner::Recording {
  std::string file;
  std::vector<std::string> argv;
  std::string input;  // digest
  Finished finished;
  bool started = false;
  bool used = false;
  std::string find;  // a recorded find_program instead of a command
  std::optional<fs::path> path;

  [[nodiscard]] bool answers(const Command& command, bool start) const {
    return find.empty() && started == start && argv.size() == command.argv.size() &&
           input == input_digest(command) &&
           std::equal(argv.begin(), argv.end(), command.argv.begin(), word_matches);
  }

  // The oldest recording of `command` that was not asked for yet.
  static Finished take(const std::vector<std::shared_ptr<Recording>>& all, const Command& command,
                       bool start) {
    bool known = false;
    for (const auto& recording : all) {
      if (!recording->answers(command, start)) continue;
      known = true;
      if (recording->used) continue;
      recording->used = true;
      return recording->finished;
    }
    throw base::Error(fmt::format("{}: {}",
                                  known ? "this command was run more often than it was recorded"
                                        : "no recording of this command",
                                  base::shell_line(command.argv)))
        .hint("record it with record_runner(), or find out why it is run");
  }
};

PlaybackRunner::PlaybackRunner(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code code;
  for (fs::directory_iterator entry(folder, code), end; !code && entry != end; entry.increment(code)) {
    if (entry->path().extension() == ".json") files.push_back(entry->path());
  }
  if (code) throw base::Error("cannot read recordings in '" + folder.string() + "': " + code.message());
  std::sort(files.begin(), files.end());
  for (const fs::path& file : files) {
    try {
      const json record = json::parse(read_file(file));
      auto recording = std::make_shared<Recording>();
      recording->file = file.filename().string();
      if (record.contains("find")) {
        recording->find = record.at("find").get<std::string>();
        if (record.at("path").is_string()) recording->path = record.at("path").get<std::string>();
      } else {
        recording->argv = record.at("argv").get<std::vector<std::string>>();
        recording->input = record.value("input", "");
        recording->started = record.value("started", false);
        recording->finished.exit = record.at("exit").get<int>();
        recording->finished.signal = record.value("signal", 0);
        recording->finished.out = record.value("out", "");
        recording->finished.err = record.value("err", "");
      }
      recordings_.push_back(std::move(recording));
    } catch (const json::exception& problem) {
      throw base::Error("not a recording: " + std::string(problem.what())).at({file.string()});
    }
  }
}

Finished PlaybackRunner::run(const Command& command, const OnOutput& on_output) {
  Finished finished = Recording::take(recordings_, command, false);
  if (on_output && !finished.out.empty()) on_output(Stream::out, finished.out);
  if (on_output && !finished.err.empty()) on_output(Stream::err, finished.err);
  append_log(command, finished);
  return finished;
}

std::unique_ptr<Process> PlaybackRunner::start(const Command& command) {
  Finished finished = Recording::take(recordings_, command, true);
  append_log(command, finished);
  return std::make_unique<PlayedProcess>(std::move(finished));
}

std::optional<fs::path> PlaybackRunner::find_program(const std::string& name) {
  for (const auto& recording : recordings_) {
    if (recording->find == name) return recording->path;
  }
  for (const auto& recording : recordings_) {
    if (!recording->argv.empty() && recording->argv.front() == name) return fs::path("/usr/bin") / name;
  }
  return std::nullopt;
}

std::vector<std::string> PlaybackRunner::unused() const {
  std::vector<std::string> left;
  for (const auto& recording : recordings_) {
    if (recording->find.empty() && !recording->used) {
      left.push_back(recording->file + ": " + base::shell_line(recording->argv));
    }
  }
  return left;
}

}  // namespace kiln::host
