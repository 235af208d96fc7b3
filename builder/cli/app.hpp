// The command line. CLI11 lives in app.cpp, and in env/command_line for the verbs on environments;
// base::Error is caught only there.
#pragma once

#include <ostream>

#include "host/host.hpp"
#include "stage/stage_set.hpp"

namespace kiln::cli {

// Runs one verb and returns the exit status of the contract (base::Exit). Results go to `out`, progress and
// errors to `err`.
int run(int argc, const char* const* argv, const host::Host& host, const stage::StageSet& stages,
        std::ostream& out, std::ostream& err);

}  // namespace kiln::cli
