// What salt-call says: results of a highstate out of its JSON, progress out of its log.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "target/exec.hpp"

namespace kiln::target {

struct State {
  std::string id;
  std::string function;  // "pkg.installed"
  std::string name;
  std::string sls;  // "common.users"
  std::string comment;
  bool failed = false;
  bool changed = false;
  double seconds = 0;
  std::string output;                  // of a failed command: the end of its stderr and stdout
  std::vector<std::string> installed;  // packages that were not there before
};

struct Highstate {
  std::vector<State> states;  // in the order they ran
  std::vector<std::string>
      problems;  // Salt could not render or compile the states: its own texts; no states then
  std::string
      json;  // for salt.json: {"states": [{id, function, name, sls, result, comment, seconds, changes}]}
  [[nodiscard]] std::size_t changed() const;
  [[nodiscard]] std::size_t failed() const;
  // Packages that some state had to install, in order, each once.
  [[nodiscard]] std::vector<std::string> installed() const;
  // "41 states, 12 changed, 0 failed, 38 s"
  [[nodiscard]] std::string summary(double seconds) const;
};

// Reads the output of `salt-call --local --out=json state.highstate`. `is_private` says of a path of the
// image that its content is not for logs (mode 0600 or tighter): its diff is left out of `json`. Throws
// base::Error for what is not such an output.
Highstate read_highstate(const std::string& output,
                         const std::function<bool(const std::string&)>& is_private);

// Paths whose diffs the output holds, to be asked for their modes before read_highstate.
std::vector<std::string> diffed_paths(const std::string& output);

// The error of a highstate that failed: what failed first by itself with its file and comment, then all
// failed states. `file_of` gives the file of an sls name, for people.
base::Error failure(const Highstate& highstate,
                    const std::function<std::string(const std::string&)>& file_of);

// Text of a minion's configuration for salt-call without a master, made to start fast.
std::string minion_config(const std::string& id, const std::string& states, const std::string& pillar);

// A Python program that runs the command in its arguments and lets its stderr through but for the changes of
// states: salt-call logs them in full, diffs of files among them, and no one knows yet which of those files
// are private. Run inside the image, so that no log on this side ever holds them. Exit status is the
// command's.
std::string_view log_filter();

// A Python program that imports Salt and ends once it has left a process behind that the next log_filter()
// hands its command to, if that is a salt-call of the same Salt: imports are half of what salt-call takes to
// begin. It serves one command, so that nothing that was replaced on disk meanwhile is run for long.
std::string_view import_ahead();

// Goes through salt-call's log as it comes (-l info), line by line. Changes of states are logged there in
// full, diffs of files among them: those lines are dropped, since no one knows a file's mode yet.
class SaltLog {
 public:
  // `doing` hears what runs: "pkg.installed nginx"; `line` every line that may be kept.
  SaltLog(std::function<void(std::string_view)> doing, std::function<void(std::string_view)> line)
      : doing_(std::move(doing)),
        line_(std::move(line)),
        lines_([this](std::string_view whole) { one(whole); }) {}
  SaltLog(const SaltLog&) = delete;
  SaltLog& operator=(const SaltLog&) = delete;
  // Takes pieces of any length.
  void add(std::string_view piece) { lines_.add(piece); }
  // The first lines that were logged as critical: Salt's result often says no more than to look there.
  [[nodiscard]] const std::vector<std::string>& errors() const { return errors_; }
  // Whatever stands there without a final newline.
  void finish() { lines_.finish(); }

 private:
  void one(std::string_view line);
  void tell(std::string_view message);
  void keep(std::string_view line);
  std::function<void(std::string_view)> doing_;
  std::function<void(std::string_view)> line_;
  Lines lines_;
  bool keep_ = true;
  bool bad_ = false;
  std::vector<std::string> errors_;
};

}  // namespace kiln::target
