// A guest that has booted and settled is kept with the layer it booted from, so that the next step on that
// layer resumes it in seconds instead of booting for a minute (engine rule 11).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "engine/workspace.hpp"
#include "image/guest.hpp"

namespace kiln::engine {

// The guest of `layer`, on `options.disk`, which is an overlay of that layer and is replaced: resumed from
// what the store keeps, else booted, kept and resumed, so that all steps go one way. nullptr when it could
// not be kept or resumed; the overlay is then as it was, and the observer has been told why. Throws
// base::Error when it does not boot. `warm` is called with a guest that is to be kept. The guest tells
// `doing` what it is at as long as it lives.
std::unique_ptr<image::Guest> settled_guest(Session& session, const std::string& layer,
                                            const image::GuestOptions& options,
                                            const stage::Workspace::Warm& warm,
                                            const std::function<void(std::string_view)>& doing,
                                            stage::Observer& observer);

}  // namespace kiln::engine
