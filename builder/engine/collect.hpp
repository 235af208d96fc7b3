// Gathers what report.html shows out of what a build has at hand: its rows, the store's records of layers and
// exports, the proofs.
#pragma once

#include <filesystem>
#include <vector>

#include "cache/store.hpp"
#include "engine/engine.hpp"
#include "engine/proving.hpp"
#include "engine/report.hpp"
#include "engine/steps.hpp"
#include "engine/workspace.hpp"
#include "plan/plan.hpp"

namespace kiln::engine {

// `layers` and `made` belong to the first rows of the report, in this order. Never throws for what a record
// lacks: an older kiln wrote less.
Page collect(const Session& session, const BuildReport& report, const std::vector<cache::Layer>& layers,
             const std::vector<Made>& made, const std::vector<Proven>& proofs);

// The page of a build that ended with a failed step, whose evidence is in the folder.
void add_failure(Page& page, const plan::Plan& plan, const std::string& why, const Failure& failure,
                 const std::filesystem::path& evidence);

}  // namespace kiln::engine
