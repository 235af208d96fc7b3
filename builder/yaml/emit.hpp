// YAML values written as text again.
#pragma once

#include <string>

#include "yaml/node.hpp"

namespace kiln::yaml {

// `base` with the values of `over`: mappings go into one another, anything else of `over` takes the place of
// what `base` has. Quoted texts stay texts, plain ones plain. Comments are gone.
std::string merged(const Node& base, const Node& over);

}  // namespace kiln::yaml
