// What a guest that was resumed from a file has to be told: the time, and randomness of its own, for all
// guests resumed from one file would draw the same numbers (engine rule 11).
#pragma once

#include <cstdint>
#include <string>

namespace kiln::image {

// For kiln's agent: `now`, seconds since 1970, and fresh randomness.
std::string wake_payload(std::int64_t now);

// For a guest the agent does not live in: a POSIX shell script of root's, and the standard input it reads,
// which brings the agent along for that moment. It prints `awake` when all went well, and else why not.
struct WakeScript {
  std::string script, input;
};
inline constexpr const char* awake = "kiln-answer awake";
WakeScript wake_script(std::int64_t now);

}  // namespace kiln::image
