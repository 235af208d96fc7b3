// How an error is told: lines for people, and one JSON object for scripts.
#pragma once

#include <ostream>
#include <string>

#include "base/error.hpp"

namespace kiln::base {

// One "error: ..." for each of `error` to `err`. With `json` also one object on `out`, so that a script has
// something to read when nothing came of a verb; `also` is the text of an object whose members go into it.
// Returns the exit status.
int report(const Error& error, bool json, const std::string& also, std::ostream& out, std::ostream& err);

}  // namespace kiln::base
