// The agent's program, carried inside kiln.
#pragma once

#include <string_view>

namespace kiln::agent {

// A static x86-64 executable; lives as long as kiln runs.
std::string_view bytes();

}  // namespace kiln::agent
