// Hit or miss for each key from the base forward; then run and commit each step, prove and publish.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "cache/store.hpp"
#include "engine/machines.hpp"
#include "image/accel.hpp"
#include "image/system.hpp"
#include "plan/plan.hpp"
#include "proof/verdict.hpp"
#include "stage/observer.hpp"

namespace kiln::engine {

struct BuildOptions {
  std::filesystem::path output;  // directory of the results
  std::string until;             // stop behind this step id; "" = all
  std::string from;              // run this step and all behind it, whatever the store has; "" = what misses
  image::Wish accel = image::Wish::automatic;
  std::chrono::seconds timeout{0};  // of a step; 0: the default of rule 13
  bool boot = true;                 // false: "unproven"
  // false: mount nothing and enter no sandbox although root may; what a host without root does.
  bool native = true;
  // true: nothing is fetched, and nothing that a mirror served is too old; what the store lacks is an error.
  bool offline = false;
  // Guests that have booted are kept and resumed; false: each is booted from cold.
  bool settled = true;
  // Called when a step has failed and its evidence is kept, before what it ran in is dropped: `open` is the
  // guest or sandbox it had, nullptr when it had none. What it throws takes the failure's place.
  std::function<void(const base::Error& failure, image::System* open)> on_failure;
  // Steps that export at once, when `beside` gives what each tells of itself to, from a thread of its own.
  std::size_t jobs = 1;
  std::function<std::unique_ptr<stage::Observer>()> beside;
  std::string kiln_version;
  std::uint64_t need_free = 2ULL << 30;  // bytes a step asks of the store's file system
  // Bytes; the store is trimmed to it when a step ran. nullopt: cache::default_limit().
  std::optional<std::uint64_t> store_limit;
};

struct StepReport {
  std::string id, stage, text;
  bool reused = false;
  std::string why;     // of a miss
  double seconds = 0;  // of the run, or of the run that made the reused layer
  std::string layer, key;
};

struct BuildReport {
  std::string profile;
  std::vector<StepReport> steps;
  std::vector<std::filesystem::path> artifacts;  // published files
  std::vector<proof::Verdict> verdicts;
  bool proven = false;
  bool proof_reused = false;  // no boot in this run: the verdict was kept
  std::string accel, accel_why;
  double seconds = 0;
  std::filesystem::path output;   // where the artifacts and reports are
  std::filesystem::path failure;  // evidence folder, when the proof failed
  [[nodiscard]] std::string json() const;
  // A proof was made (or kept) and failed.
  [[nodiscard]] bool refuted() const { return !verdicts.empty() && !proven; }
};

// Whether the exported disk would be booted with this firmware; `id` as progress and reports have it.
struct ProofState {
  std::string id;
  std::string text;  // what is done, as of a step
  plan::StepState state;
};
struct States {
  std::vector<plan::StepState> steps;  // one a step of the plan
  std::vector<ProofState> proofs;      // one a firmware, when the plan exports what is proven
};

// For `kiln plan`: which steps and proofs are hits in this store at `now` (wall clock, seconds), from step
// `from` on no step. No store, nullptr, is an empty one. Touches no network and no disk image.
States states(const plan::Plan& plan, const std::vector<plan::StepKey>& keys, cache::Store* store,
              const std::string& from, std::int64_t now);

// `host` with an end to each tool it runs, which may hang, on a disk that does not answer say: `timeout`, or
// when that is 0 the limit of a step under TCG.
host::Host limited(const host::Host& host, std::chrono::seconds timeout);

// Builds, proves and publishes. Throws base::Error when a step fails (its trail names the evidence); a failed
// proof is a report with proven == false, and publishes nothing but its report.
BuildReport build(const host::Host& host, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                  cache::Store& store, const BuildOptions& options, stage::Observer& observer,
                  Machines& machines);

}  // namespace kiln::engine
