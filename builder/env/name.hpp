// Names that a shell gets from a file it does not write: which of them it may be given.
#pragma once

#include <string_view>

namespace kiln::env {

// A shell's name: letters, digits and '_', no digit first.
bool is_name(std::string_view text);
// Of a variable that the shell or the loader obeys (PATH, IFS, LD_PRELOAD), that has a meaning of the shell's
// own (RANDOM), or that cannot be assigned to (UID): a file must not set it.
bool is_reserved(std::string_view name);

}  // namespace kiln::env
