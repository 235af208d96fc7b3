// What a failed system call on a path means to people.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.hpp"

namespace kiln::host {

// "cannot <deed> '<path>': <cause>" with the way out for the causes that have one: a full disk names the file
// system and what is free on it, a read-only one and a denied one say so. `code` is an errno.
base::Error io_error(const std::string& deed, const std::filesystem::path& path, int code);
// The message of an errno, without a global buffer.
std::string errno_text(int code);

}  // namespace kiln::host
