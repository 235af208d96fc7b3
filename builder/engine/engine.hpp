// Hit or miss for each key from the base forward; then run and commit each step, prove and publish.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "cache/store.hpp"
#include "image/accel.hpp"
#include "plan/plan.hpp"
#include "proof/verdict.hpp"
#include "stage/observer.hpp"

namespace kiln::engine {

struct BuildOptions {
  std::filesystem::path output;  // directory of the results
  std::string until;             // stop behind this step id; "" = all
  image::Wish accel = image::Wish::automatic;
  std::chrono::seconds timeout{0};  // of a step; 0: the default of rule 13
  bool boot = true;                 // false: "unproven"
  std::string kiln_version;
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
  std::string accel, accel_why;
  double seconds = 0;
  std::filesystem::path failure;  // evidence folder, when a step or the proof failed
  [[nodiscard]] std::string json() const;
};

// States for `kiln plan`: which steps are hits in this store. Touches no network and no disk image.
std::vector<plan::StepState> states(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                                    cache::Store& store);

// Builds, proves and publishes. Throws base::Error when a step fails (its hint names the evidence); a failed
// proof is a report with proven == false.
BuildReport build(const host::Host& host, const plan::Plan& plan, cache::Store& store,
                  const BuildOptions& options, stage::Observer& observer);

}  // namespace kiln::engine
