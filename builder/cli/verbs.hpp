// One function a verb; each lives in the file of its name. Options are parsed in app.cpp.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "host/host.hpp"
#include "image/accel.hpp"
#include "stage/observer.hpp"
#include "stage/stage_set.hpp"

namespace kiln::cli {

// What the command line said; defaults filled in (store: --store, else $XDG_CACHE_HOME/kiln, else
// ~/.cache/kiln, for root /var/cache/kiln).
struct Invocation {
  Invocation(const host::Host& the_host, const stage::StageSet& all_stages, std::ostream& results,
             std::ostream& progress)
      : host(the_host), stages(all_stages), out(results), err(progress) {}

  const host::Host& host;
  const stage::StageSet& stages;
  std::ostream& out;  // results only
  std::ostream& err;  // progress and errors
  std::filesystem::path store;
  std::filesystem::path output;  // empty: ./out/PROFILE
  std::string until;
  image::Wish accel = image::Wish::automatic;
  bool json = false;
  std::filesystem::path events;
  std::chrono::seconds timeout{0};
  bool quiet = false;
  bool boot = true;
  bool native = true;  // false: --rootless, do nothing that only root may
  std::string version;
  std::filesystem::path share;         // <prefix>/share/kiln
  std::vector<std::string> arguments;  // profiles, an image, a stage name
  std::string profile;                 // boot: the profile whose checks are run
  std::string firmware;                // boot: bios, uefi or empty for what the profile says
  bool schema = false;                 // stages: the JSON Schema of a profile instead of the table
  bool markdown = false;               // stages: README's table
};

// Each returns an exit status of the contract and throws base::Error.
int check(const Invocation& call);
int plan(const Invocation& call);
int build(const Invocation& call);
int boot(const Invocation& call);
int stages(const Invocation& call);
int doctor(const Invocation& call);

// Progress: a live line on a terminal, else plain lines; JSON lines when --events asks for them; both at once
// through tee.
std::unique_ptr<stage::Observer> terminal_observer(const host::Host& host, std::ostream& err, bool quiet);
std::unique_ptr<stage::Observer> event_observer(const std::filesystem::path& file,
                                                std::unique_ptr<stage::Observer> next);

}  // namespace kiln::cli
