// Hit or miss: which steps of a plan are in the store, and why the others are not (engine rules 1 and 8).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cache/store.hpp"
#include "plan/plan.hpp"

namespace kiln::engine {

// What makes a miss of a layer that is there.
struct Rules {
  std::size_t from = static_cast<std::size_t>(-1);  // place of the first step that is run whatever is there
  std::int64_t now = 0;                             // wall clock, seconds
  bool ages = true;                                 // false: no mirror can be asked again anyway
};

struct Found {
  bool hit = false;
  std::string why;           // of a miss
  double last_seconds = -1;  // of the run that made it, or of the last one; below 0: never ran
  std::optional<cache::Layer> layer;
  std::optional<cache::Artifact> artifact;
};

// An export is of a step's key and of the very bytes it read; its files are called after the profile.
std::string artifact_key(const std::string& profile, const std::string& key, const std::string& layer);

// The newest layer of step `index` on `parent` that is intact and of use by `rules`. `why`, of a miss: see
// Store::find_layer, or "forced", or "resolved 9 days ago" by the profile's `fresh` (engine rule 4).
std::optional<cache::Layer> find_layer(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                                       std::size_t index, const std::string& parent, cache::Store& store,
                                       const Rules& rules, std::string* why = nullptr);

// One for each step, from the base forward: a child is a hit only on the id of the layer just found.
std::vector<Found> look_up(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                           cache::Store& store, const Rules& rules);

}  // namespace kiln::engine
