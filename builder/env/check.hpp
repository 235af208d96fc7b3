// All mistakes of an environment file, found before an appliance boots with it.
#pragma once

#include <vector>

#include "base/error.hpp"
#include "env/read.hpp"
#include "host/host.hpp"

namespace kiln::env {

// Each with its place, in the order of the file; empty when there is none. No value that may be secret is in
// them. Keys that are past their time are those at `host`'s clock. Throws base::Error (Exit::missing) when
// nothing is wrong but that there are OpenPGP keys and no gpg.
std::vector<base::Error> check(const Source& source, const host::Host& host);

}  // namespace kiln::env
