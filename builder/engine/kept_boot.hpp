// A booted image that has settled is kept by the image's digest, so that many looks at it pay for one boot
// (engine rules 11 and 17): `kiln boot --settled`.
#pragma once

#include <functional>
#include <string>

#include "cache/store.hpp"
#include "engine/machines.hpp"
#include "stage/observer.hpp"

namespace kiln::engine {

// Calls `use` with `options` that resume a copy of the guest kept of `options.image`, whose digest is
// `sha256`. When there is none, or it is of another machine, it is booted and kept first, so that all looks
// go one way; of two that want one, one boots and the other waits. One that does not resume is made anew
// once. Throws base::Error when the image does not boot to a login, and what `use` throws.
void with_kept_boot(const host::Host& host, cache::Store& store, Machines& machines,
                    const proof::BootOptions& options, const std::string& sha256, stage::Observer& observer,
                    const std::function<void(const proof::BootOptions&)>& use);

}  // namespace kiln::engine
