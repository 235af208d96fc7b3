// A running guest brought to rest, so that its disk can be cut between two steps and is then as a clean
// shutdown would have left it (engine rule 12): what a boot started beyond the basic system is stopped, and
// no process holds a file that is gone from the disk, which would be an orphan in the cut.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "image/system.hpp"

namespace kiln::image {

// The unit that a build boot finds in /run for this; see initrd.cpp.
inline constexpr std::string_view rest_target = "kiln-rest.target";

// Returns what keeps the guest from rest, one line for people each; empty: it is at rest. The guest is of
// further use either way. Throws base::Error as System::run does. `on_doing` hears what is being done.
std::vector<std::string> bring_to_rest(System& guest, const std::function<void(std::string_view)>& on_doing);

// Starts what a boot of the disk as it is now would start. Throws base::Error as System::run does.
void leave_rest(System& guest);

// Names of the units that systemd has yet to start or stop. Throws base::Error as System::run does.
std::vector<std::string> queued_units(System& guest);

}  // namespace kiln::image
