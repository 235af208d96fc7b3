// The artifact steps of a build: each reads the final layer and leaves files. None stands on another, so that
// they run side by side.
#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "engine/engine.hpp"
#include "engine/lookup.hpp"
#include "engine/steps.hpp"
#include "engine/workspace.hpp"
#include "plan/plan.hpp"

namespace kiln::engine {

struct Exported {
  StepReport row;
  Made made;
};

// Which of them: those whose results are kept, or the others, which have secrets.
enum class Of { kept, secret };

// Puts the results of those steps of `plan` from `first` up to `end` into `all`, where that of `first` comes
// first: taken from the store as `found` says, else run on `layer`. Of those that are kept the session's
// options.jobs run at once when there is an observer for each; the others run one after another. Throws like
// run_image_step, when what ran beside the failed one has ended and is kept.
void run_artifacts(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                   std::vector<Found>& found, std::size_t first, std::size_t end, const Rules& rules,
                   const cache::Layer& layer, Of which, std::vector<std::optional<Exported>>& all);

}  // namespace kiln::engine
