// Programs of the host: which Debian package has them, which a build needs, and the one error that names all
// that are missing.
#pragma once

#include <set>
#include <string>
#include <string_view>

#include "host/host.hpp"

namespace kiln::engine {

// The Debian package a program comes from; "" when it is not known.
std::string_view debian_package(std::string_view program);

// Throws base::Error (Exit::missing) that lists every program of `programs` that is not on PATH, with the one
// command that installs them.
void require_tools(const host::Host& host, const std::set<std::string>& programs);

}  // namespace kiln::engine
