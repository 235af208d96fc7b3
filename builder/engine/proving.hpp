// The proof of an exported disk within a build: reused when this very file was proven before, else a cold
// boot.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "cache/store.hpp"
#include "engine/workspace.hpp"
#include "profile/profile.hpp"
#include "proof/verdict.hpp"
#include "stage/stage.hpp"

namespace kiln::engine {

struct Proven {
  proof::Verdict verdict;
  std::filesystem::path console, screen;  // need not be there
  bool reused = false;
  std::int64_t when = 0;  // wall clock of the boot; 0: not recorded
  std::string accel_why;  // "": not recorded
};

// Only what has this ending is booted.
constexpr std::string_view proven_ending = ".qcow2";

// The kept verdict that makes a boot needless; nothing, and in `why` for what reason: "never proven", "checks
// changed", "proven by an older kiln".
std::optional<Proven> find_proof(const cache::Store& store, const profile::Proof& proof,
                                 const std::string& sha256, profile::Firmware firmware,
                                 std::string* why = nullptr);

// "proof-bios"
std::string proof_id(profile::Firmware firmware);
// "Boot NAME (BIOS) and check it", or "Booting ..."
std::string proof_text(stage::Tense tense, const std::string& name, profile::Firmware firmware);

// Boots `file` of the artifact and runs the profile's checks; a verdict that proves is kept by the file's
// digest. Throws base::Error when it could not be tried, or after a signal.
Proven prove(Session& session, const cache::Artifact& artifact, const cache::Artifact::File& file,
             profile::Firmware firmware);

}  // namespace kiln::engine
