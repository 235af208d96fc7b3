// The verbs on environments, for `kiln env` and for kiln-env, the small program inside the image.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::env {

// Runs one verb and returns the exit status. `called` is what stands before the verb: "kiln env" or
// "kiln-env"; with "flatyaml" the verb is `flatten` and not written. Results go to `out`, at a terminal
// progress to `err`. Throws base::Error.
int run(const std::string& called, std::vector<std::string> words, const host::Host& host, std::ostream& out,
        std::ostream& err);

// All of kiln-env: the same with its errors told on `err`. Called by the name of flatyaml or flatyaml.py it
// is that program.
int main(int argc, const char* const* argv, const host::Host& host, std::ostream& out, std::ostream& err);

}  // namespace kiln::env
