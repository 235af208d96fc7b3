// What a build leaves in the output folder: disks, image.json, the reports of the proof.
#pragma once

#include <vector>

#include "cache/store.hpp"
#include "engine/engine.hpp"
#include "engine/proving.hpp"
#include "engine/steps.hpp"
#include "engine/workspace.hpp"

namespace kiln::engine {

// Publishes `made` of the final layer with its reports; of a refuted build the reports alone. Sets the
// report's output and artifacts.
void publish(Session& session, BuildReport& report, const std::vector<Made>& made,
             const std::vector<cache::Layer>& layers, const std::vector<Proven>& proofs);

}  // namespace kiln::engine
