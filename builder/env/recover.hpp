// An environment back from paper or from its encrypted tarball.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::env {

// The text of the environment in `files`: PDFs and pictures of its pages in any order, or one encrypted
// tarball. Throws base::Error, which names the codes that are missing. `doing` is told what is looked at; a
// page that is hard to read takes seconds.
std::string recover(const std::vector<std::filesystem::path>& files, const host::Host& host,
                    const std::function<void(const std::string&)>& doing = {});

}  // namespace kiln::env
