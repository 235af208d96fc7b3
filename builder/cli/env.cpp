// Environments: what can be done with them is in room env, which kiln-env has as well.
#include "cli/verbs.hpp"
#include "env/command_line.hpp"

namespace kiln::cli {

int env(const Invocation& call) {
  return env::run("kiln env", call.arguments, call.host, call.out, call.err);
}

}  // namespace kiln::cli
