// Several builds, or exports of one, at once: how many, and how what they tell stays apart. What they share
// is the store, whose locks see to it that of two builders of one step one builds.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

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

}  // namespace kiln::cli
