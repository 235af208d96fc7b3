#include "fakes/host.hpp"

#include <algorithm>
#include <fstream>
#include <stdexcept>
#include <sys/stat.h>
#include <utility>

#include "base/text.hpp"
#include "host/archive.hpp"

namespace kiln::fakes {

namespace fs = std::filesystem;

host::Finished printed(std::string out) {
  host::Finished finished;
  finished.exit = 0;
  finished.out = std::move(out);
  return finished;
}

host::Finished failed(int exit, std::string err) {
  host::Finished finished;
  finished.exit = exit;
  finished.err = std::move(err);
  return finished;
}

struct World::State {
  struct Rule {
    std::vector<std::string> begin;
    Answer answer;
  };
  std::vector<Rule> rules;
  std::set<std::string> programs;
  std::vector<host::Command> commands;
  std::int64_t now = 1'700'000'000;
  double elapsed = 0;
  std::map<std::string, std::string> env;
  std::map<std::string, std::string> versions;

  host::Finished answer(const host::Command& command) {
    commands.push_back(command);
    for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
      if (rule->begin.size() > command.argv.size()) continue;
      if (!std::equal(rule->begin.begin(), rule->begin.end(), command.argv.begin())) continue;
      const Answer found = rule->answer;  // it may add rules
      return found(command);
    }
    throw std::logic_error("the test has no answer to: " + base::shell_line(command.argv));
  }
};

class World::FakeProcess : public host::Process {
 public:
  explicit FakeProcess(host::Finished finished) : finished_(std::move(finished)) {}
  [[nodiscard]] int pid() const override { return 1; }
  std::optional<host::Finished> wait(std::chrono::milliseconds /*patience*/) override { return finished_; }
  void stop(std::chrono::milliseconds /*patience*/) override {}

 private:
  host::Finished finished_;
};

class World::FakeRunner : public host::Runner {
 public:
  explicit FakeRunner(std::shared_ptr<State> state) : state_(std::move(state)) {}

  host::Finished run(const host::Command& command, const host::OnOutput& on_output) override {
    host::Finished finished = state_->answer(command);
    if (on_output && !finished.out.empty()) on_output(host::Stream::out, finished.out);
    if (on_output && !finished.err.empty()) on_output(host::Stream::err, finished.err);
    if (!command.log.empty()) std::ofstream(command.log, std::ios::app) << finished.out << finished.err;
    return finished;
  }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    return std::make_unique<FakeProcess>(state_->answer(command));
  }
  std::optional<fs::path> find_program(const std::string& name) override {
    if (!state_->programs.contains(name)) return std::nullopt;
    return fs::path("/usr/bin") / name;
  }

 private:
  std::shared_ptr<State> state_;
};

World::World() : World(std::make_shared<State>()) {}

World::World(const std::shared_ptr<State>& state)
    : now(state->now), elapsed(state->elapsed), env(state->env), versions(state->versions), state_(state) {}

World& World::on(std::vector<std::string> begin, Answer answer) {
  if (!begin.empty()) state_->programs.insert(begin.front());
  state_->rules.push_back({std::move(begin), std::move(answer)});
  return *this;
}

World& World::on(std::vector<std::string> begin, host::Finished finished) {
  return on(std::move(begin), [finished = std::move(finished)](const host::Command&) { return finished; });
}

World& World::program(const std::string& name) {
  state_->programs.insert(name);
  return *this;
}

const std::vector<host::Command>& World::commands() const {
  return state_->commands;
}

std::vector<std::string> World::lines() const {
  std::vector<std::string> all;
  for (const host::Command& command : state_->commands) all.push_back(base::shell_line(command.argv));
  return all;
}

host::Host World::host() {
  host::Host host;
  host.runner = std::make_shared<FakeRunner>(state_);
  host.now = [state = state_] { return state->now; };
  host.elapsed = [state = state_] { return state->elapsed; };
  host.env = [state = state_](const std::string& name) -> std::optional<std::string> {
    const auto found = state->env.find(name);
    if (found == state->env.end()) return std::nullopt;
    return found->second;
  };
  host.tool_version = [state = state_](const std::string& program) -> std::string {
    const auto found = state->versions.find(program);
    return found == state->versions.end() ? "absent" : found->second;
  };
  host.root = root;
  host.uid = root ? 0 : uid;
  host.terminal = terminal;
  return host;
}

TempTree::TempTree() = default;

TempTree::TempTree(std::initializer_list<File> files) {
  for (const File& one : files) {
    if (one.path.ends_with('/')) {
      folder(one.path);
    } else {
      file(one.path, one.content, one.mode);
    }
  }
}

fs::path TempTree::file(const std::string& path, const std::string& content, unsigned mode) {
  const fs::path full = dir_.path() / path;
  fs::create_directories(full.parent_path());
  std::ofstream(full, std::ios::binary | std::ios::trunc) << content;
  if (::chmod(full.c_str(), mode) != 0) throw std::runtime_error("cannot write " + full.string());
  return full;
}

fs::path TempTree::folder(const std::string& path) {
  fs::create_directories(dir_.path() / path);
  return dir_.path() / path;
}

fs::path TempTree::link(const std::string& path, const std::string& target) {
  const fs::path full = dir_.path() / path;
  fs::create_directories(full.parent_path());
  fs::create_symlink(target, full);
  return full;
}

void write_tar(const std::filesystem::path& to, const std::map<std::string, std::string>& files) {
  std::vector<host::Member> members;
  for (const auto& [name, content] : files) {
    host::Member& member = members.emplace_back();
    member.path = name;
    member.content = content;
  }
  host::write_archive(to, host::Format::tar, members);
}

}  // namespace kiln::fakes
