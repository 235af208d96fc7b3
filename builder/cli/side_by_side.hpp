// Several builds at once, each on a thread of its own: what they share is the store, whose locks see to it
// that of two builders of one step one builds.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cli/verbs.hpp"

namespace kiln::cli {

// How many of `builds` run at once: `wanted` (0: one for every two of `cores`), as far as `memory`, bytes
// that are free, holds a guest of `guest` bytes for each; at least one.
std::size_t jobs_for(std::size_t builds, std::size_t wanted, unsigned cores, std::uint64_t memory,
                     std::uint64_t guest);

// The bytes that /proc/meminfo's `text` calls available; 0 when it does not say.
std::uint64_t available_memory(const std::string& text);

// What one of several builds tells: the same, of steps of `build`, and never in the middle of another's word.
std::unique_ptr<stage::Observer> observer_of(Progress& all, std::mutex& mutex, std::string build);

// Does all `deeds`, at most `jobs` at once. Behind one that returned false or threw none is begun; those that
// run go on to their end. Returns whether all returned true. Throws what was thrown: an interrupt, else the
// one error, else base::Errors of all.
bool side_by_side(const std::vector<std::function<bool()>>& deeds, std::size_t jobs);

}  // namespace kiln::cli
