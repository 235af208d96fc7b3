// Hit or miss: which steps of a plan are in the store, and why the others are not (engine rules 1 and 8).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cache/store.hpp"
#include "plan/plan.hpp"

namespace kiln::engine {

struct Found {
  bool hit = false;
  std::string why;           // of a miss
  double last_seconds = -1;  // of the run that made it, or of the last one; below 0: never ran
  std::optional<cache::Layer> layer;
  std::optional<cache::Artifact> artifact;
};

// An export is of a step's key and of the very bytes it read; its files are called after the profile.
std::string artifact_key(const std::string& profile, const std::string& key, const std::string& layer);

// One for each step, from the base forward: a child is a hit only on the id of the layer just found.
std::vector<Found> look_up(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                           cache::Store& store);

}  // namespace kiln::engine
