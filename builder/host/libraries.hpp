// What a dynamically linked program is loaded with: its loader and its shared libraries, as this machine has
// them.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "host/host.hpp"

namespace kiln::host {

struct Loaded {
  std::filesystem::path loader;                            // the file itself, links followed
  std::map<std::string, std::filesystem::path> libraries;  // by the name that programs ask for: the same
};

// What the loader's `--list` says: "libz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x...)". Paths are as it
// says them. Throws base::Error for a library that it did not find.
Loaded parse_list(std::string_view list, const std::filesystem::path& loader);

// Asks the loader; runs nothing of `program`. Libraries for processors that not every amd64 machine has are
// left aside, and so is the caller's LD_LIBRARY_PATH. Throws base::Error when `program` is none that a loader
// starts.
Loaded loaded_with(const std::filesystem::path& program, const Host& host);

}  // namespace kiln::host
