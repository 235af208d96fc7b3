// Runs kiln in this process, as a user would.
#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "cli/app.hpp"
#include "host/host.hpp"
#include "stages/all.hpp"

namespace kiln::cli {

// No command may be run and none is on PATH.
class NoRunner : public host::Runner {
 public:
  host::Finished run(const host::Command& command, const host::OnOutput& /*on_output*/) override {
    throw std::logic_error("a command was run: " + command.argv.at(0));
  }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    throw std::logic_error("a command was started: " + command.argv.at(0));
  }
  std::optional<std::filesystem::path> find_program(const std::string& /*name*/) override {
    return std::nullopt;
  }
};

struct Said {
  int status = -1;
  std::string out;
  std::string err;
};

class CommandLine {
 public:
  std::map<std::string, std::string> env;
  std::string program = "kiln";
  std::shared_ptr<host::Runner> runner = std::make_shared<NoRunner>();
  bool root = false;

  int uid = 1000;

  // The world it runs in.
  host::Host host() {
    host::Host host;
    host.runner = runner;
    host.now = [] { return std::int64_t{1'700'000'000}; };
    host.elapsed = [] { return 0.0; };
    host.env = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = env.find(name);
      if (found == env.end()) return std::nullopt;
      return found->second;
    };
    host.tool_version = [](const std::string& program) { return program + " 1.0"; };
    host.root = root;
    host.uid = root ? 0 : uid;
    return host;
  }

  Said run(std::initializer_list<std::string> words) { return run(std::vector<std::string>(words)); }
  Said run(const std::vector<std::string>& words) {
    std::vector<std::string> all = {program};
    all.insert(all.end(), words.begin(), words.end());
    std::vector<const char*> argv;
    argv.reserve(all.size());
    for (const std::string& word : all) argv.push_back(word.c_str());
    std::ostringstream out;
    std::ostringstream err;
    const int status = cli::run(static_cast<int>(argv.size()), argv.data(), host(),
                                stage::StageSet(stages::all()), out, err);
    return {status, out.str(), err.str()};
  }
};

}  // namespace kiln::cli
