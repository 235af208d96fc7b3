// What a profile wants proven, as JSON: image.json carries it, so that `kiln boot` asks an image for the same
// again, and its digest says whether a kept verdict answered the same questions.
#pragma once

#include <string>

#include "profile/profile.hpp"

namespace kiln::engine {

std::string proof_json(const profile::Proof& proof);
// Throws base::Error (Exit::usage) when `text` is not what proof_json makes.
profile::Proof proof_from_json(const std::string& text);
// Of all but the list of firmwares, for a verdict is of one firmware; and of proof::checks_revision.
std::string proof_digest(const profile::Proof& proof);
const char* firmware_name(profile::Firmware firmware);

}  // namespace kiln::engine
