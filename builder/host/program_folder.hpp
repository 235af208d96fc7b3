// Where the program that runs lies.
#pragma once

#include <filesystem>

namespace kiln::host {

// The folder of the program that runs, links followed: what is installed with kiln is found from it. Empty
// where /proc does not say.
std::filesystem::path program_folder();

}  // namespace kiln::host
