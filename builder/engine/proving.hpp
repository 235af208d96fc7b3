// The proof of an exported disk within a build: reused when this very file was proven before, else a cold
// boot.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "cache/store.hpp"
#include "engine/workspace.hpp"
#include "profile/profile.hpp"
#include "proof/verdict.hpp"

namespace kiln::engine {

struct Proven {
  proof::Verdict verdict;
  std::filesystem::path console, screen;  // need not be there
  bool reused = false;
  std::int64_t when = 0;  // wall clock of the boot; 0: not recorded
  std::string accel_why;  // "": not recorded
};

// Boots `file` of the artifact and runs the profile's checks; a verdict that proves is kept by the file's
// digest. Throws base::Error when it could not be tried, or after a signal.
Proven prove(Session& session, const cache::Artifact& artifact, const cache::Artifact::File& file,
             profile::Firmware firmware);

}  // namespace kiln::engine
