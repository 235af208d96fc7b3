// Runs one step and keeps what it made; what a failed one leaves is kept as evidence (engine rule 20).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/error.hpp"
#include "cache/store.hpp"
#include "engine/workspace.hpp"
#include "plan/plan.hpp"

namespace kiln::engine {

// Ctrl-C and SIGTERM are no failures: they leave no evidence.
bool is_interrupt(const base::Error& error);

// Name of a folder below the store's failed/: when, of which profile, where in it.
std::string failure_name(const Session& session, const std::string& where);

// Of two builders of one step one builds; the other waits, says for whom, and finds it then.
host::Fd lock_step(Session& session, const plan::PlannedStep& step, const std::string& key);

// Will the step run commands in a guest, here?
bool uses_guest(const Session& session, const plan::PlannedStep& step);

// Of a step that is yet to be run or found.
StepReport report_row(const plan::PlannedStep& step, const plan::StepKey& key);

// Runs a base or image step on top of `parent` and commits its layer. With `goes_on` a guest that runs at the
// end is left to the next step in session.handover, which the next call takes. `forced`: whatever the store
// has. Throws base::Error, whose trail names the step and its evidence.
cache::Layer run_image_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                            const std::optional<cache::Layer>& parent, bool goes_on, bool forced);

// Where an artifact step left its files; the entry lives when they are not in the store.
struct Made {
  cache::Artifact artifact;
  std::shared_ptr<cache::Entry> own;
};
// What is in the layer, as a JSON object for the info.json beside the files; may use the folder, which is not
// there yet.
using ReadContents = std::function<std::string(Session& session, const std::filesystem::path& scratch)>;
// Runs a step that reads `layer` and leaves files. Throws like run_image_step.
Made run_artifact_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                       const cache::Layer& layer, const ReadContents& contents);

}  // namespace kiln::engine
