// An environment back from paper or from its encrypted tarball.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::env {

// The text of the environment in `files`: PDFs and pictures of its pages in any order, or one encrypted
// tarball. Throws base::Error, which names the codes that are missing.
std::string recover(const std::vector<std::filesystem::path>& files, const host::Host& host);

}  // namespace kiln::env
