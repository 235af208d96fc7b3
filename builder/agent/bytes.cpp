#include "agent/bytes.hpp"

#include <cstddef>

// KILN_AGENT is the path of the built program, as a string literal.
__asm__(
    ".section .rodata\n"
    ".balign 16\n"
    "kiln_agent_first:\n"
    ".incbin \"" KILN_AGENT
    "\"\n"
    "kiln_agent_last:\n"
    ".byte 0\n"
    ".previous\n");

extern "C" {
extern const char kiln_agent_first[];
extern const char kiln_agent_last[];
}

namespace kiln::agent {

std::string_view bytes() {
  return {kiln_agent_first, static_cast<std::size_t>(kiln_agent_last - kiln_agent_first)};
}

}  // namespace kiln::agent
