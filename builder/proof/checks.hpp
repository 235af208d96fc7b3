// Does a service of the guest answer in its own protocol? A connection proves nothing: QEMU's user network
// accepts it before the guest does. So only bytes count.
#pragma once

#include <chrono>
#include <string>

#include "profile/profile.hpp"

namespace kiln::proof {

struct PortAnswer {
  bool passed = false;
  std::string detail;  // what was seen
};

// One try of `check` at 127.0.0.1:`port`. ssh: a banner. http, https: a status line (any status below 500
// unless the check names one) and the body; https and tls: a certificate, which is not verified. smtp: a 220
// greeting. tcp: any byte, after a newline was sent if the service waits for one.
PortAnswer ask_port(const profile::PortCheck& check, int port, std::chrono::seconds patience);

// The first line of what a service says on its own within `patience`; "" when it says nothing.
std::string greeting(int port, std::chrono::milliseconds patience, const std::string& nudge = {});

// True when `pattern` is found in `text`; ^ and $ are ends of lines. Long texts are looked at line by line,
// lines of more than 8 KiB in pieces: the matcher's stack grows with what it reads.
bool found(const std::string& pattern, const std::string& text);

}  // namespace kiln::proof
