// One function a verb; each lives in the file of its name. Options are parsed in app.cpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "cache/store.hpp"
#include "engine/engine.hpp"
#include "host/host.hpp"
#include "image/accel.hpp"
#include "image/system.hpp"
#include "plan/plan.hpp"
#include "profile/profile.hpp"
#include "stage/observer.hpp"
#include "stage/stage_set.hpp"

namespace kiln::cli {

// What the command line said; defaults filled in (store: --store, else $XDG_CACHE_HOME/kiln, else
// ~/.cache/kiln, for root /var/cache/kiln).
struct Invocation {
  Invocation(const host::Host& the_host, const stage::StageSet& all_stages, std::ostream& results,
             std::ostream& progress, std::string& done)
      : host(the_host), stages(all_stages), out(results), err(progress), finished(done) {}

  const host::Host& host;
  const stage::StageSet& stages;
  std::ostream& out;  // results only
  std::ostream& err;  // progress and errors
  // build: the builds that are done, as a JSON array, for an error of a later one to stand beside.
  std::string& finished;
  std::string program = "kiln";  // as the user calls it: a path, or the name on PATH
  std::filesystem::path store;
  std::filesystem::path output;  // empty: ./out/PROFILE
  std::filesystem::path events;
  std::filesystem::path share;  // <prefix>/share/kiln
  std::string version;
  std::string until, from;             // ids of steps
  std::vector<std::string> arguments;  // profiles, an image, a stage name
  std::string profile;                 // boot: the profile whose checks are run
  std::string firmware;                // boot: bios, uefi or empty for what the profile says
  std::vector<std::string> command;    // boot: what to run in the image instead of the checks
  std::string action;                  // cache: ls, gc, verify, path
  std::filesystem::path env;           // boot: an environment, or a seed disk of one
  // build, cache gc: what the store is trimmed to, in bytes; nullopt: cache::default_limit().
  std::optional<std::uint64_t> max_size;
  std::size_t jobs = 0;  // build: profiles, or exports of one, at once; 0: what this machine takes
  std::chrono::seconds timeout{0};
  image::Wish accel = image::Wish::automatic;
  // Flags last, so that they lie close.
  bool store_given = false;  // by --store
  bool no_cache = false;     // from the first step
  bool json = false;
  bool quiet = false;
  bool boot = true;
  bool offline = false;         // build: fetch nothing
  bool online = false;          // plan: ask the mirrors what has moved
  bool settled = true;          // false: --cold-boot
  bool native = true;           // false: --rootless, do nothing that only root may
  bool resume = false;          // boot --settled: from saved memory, which is kept first if need be
  bool shell = false;           // boot: a shell in the image instead of the checks
  bool on_error_shell = false;  // build: a shell where a step failed
  bool schema = false;          // stages: the JSON Schema of a profile instead of the table
  bool markdown = false;        // stages: README's table
};

// Each returns an exit status of the contract and throws base::Error.
int check(const Invocation& call);
int plan(const Invocation& call);
int explain(const Invocation& call);
int build(const Invocation& call);
int boot(const Invocation& call);
struct ShellImage {
  std::filesystem::path file;
  std::string sha256;  // not of a layer
  std::string user_data;
  bool layer = false;  // one of the store's
};
// `boot --shell` and `boot -- COMMAND`: boots or resumes a throw-away copy of `image` as `proof` says and
// gives the user a shell of root in it, or runs the command.
int shell(const Invocation& call, const ShellImage& image, const profile::Proof& proof,
          stage::Observer& observer);
int cache(const Invocation& call);
int shell(const Invocation& call);
int stages(const Invocation& call);
int doctor(const Invocation& call);
int env(const Invocation& call);  // `arguments`: all words behind it

// Runs `argv` as the user himself would have: on kiln's terminal, standard input and output, which no command
// of the Runner gets. Returns its exit status, 128 and more for a signal. Throws base::Error when there is no
// such program or kiln is interrupted; then it has ended.
int hand_over(const std::vector<std::string>& argv);
// The same for a command with an environment of its own, whose output goes to standard error: results alone
// are for standard output. Leaves the terminal as it was.
int hand_over_terminal(const host::Command& command);
// `build --on-error shell`: tells the failure and gives the user a shell in `open`, the guest or sandbox of
// the step, if there is one. Throws base::Error when kiln is interrupted.
void offer_shell(const Invocation& call, stage::Observer& observer, const base::Error& failure,
                 image::System* open);

// Where several builds at once are told of.
class Progress : public stage::Observer {
 public:
  // What is told next is of `step` ("": none) of `build`, which is "" while there is but one.
  virtual void turn_to(std::string_view build, std::string_view step) = 0;
  // Why a body returns another status than 0: the error of the events' last line.
  virtual void failed(std::string_view why) = 0;
};
// A live line for each running step on a terminal, else plain lines.
std::unique_ptr<Progress> terminal_observer(const host::Host& host, std::ostream& err, bool quiet);
// Runs `body` with an observer that shows progress to people and, when --events asks for it, writes JSON
// lines from before it began to how it ended. Returns and throws what `body` does.
int with_progress(const Invocation& call, const std::function<int(Progress&)>& body);

struct Loaded {
  plan::Plan plan;
  std::vector<plan::StepKey> keys;
};
// The profiles of the command line, each with all its local inputs, as far as they are sound; all mistakes of
// the others go to `errors`.
std::vector<Loaded> load_all(const Invocation& call, std::vector<base::Error>& errors);
// nullptr when there is none yet: looking must not make one.
std::unique_ptr<cache::Store> open_store(const Invocation& call);
// Hit or miss of each step and proof in `store`, which may be nullptr.
engine::States look_up(const Invocation& call, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                       cache::Store* store);
struct StepImage {
  std::filesystem::path image;
  profile::Proof proof;  // of the profile
};
// The disk that PROFILE@STEP has in the store: the step's layer, or what an export left. `who` asks. Throws
// base::Error, with what builds it when there is none.
StepImage image_of_step(const Invocation& call, const std::string& what, std::string_view who);
// The step from which on all are run, whatever the store has; "" = those that miss.
std::string forced_from(const Invocation& call, const plan::Plan& plan);

}  // namespace kiln::cli
