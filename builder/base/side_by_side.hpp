// Several deeds at once, each on a thread of its own.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

namespace kiln::base {

// Does all `deeds`, at most `jobs` at once. Behind one that returned false or threw none is begun; those that
// run go on to their end. Returns whether all returned true. Throws what was thrown: an interrupt, else the
// one error, else Errors of all.
bool side_by_side(const std::vector<std::function<bool()>>& deeds, std::size_t jobs);

}  // namespace kiln::base
