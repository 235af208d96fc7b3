// Public keys of ssh, as a line of authorized_keys.
#pragma once

#include <string_view>

namespace kiln::env {

// Whether `line` holds a public key: options may stand before its type, a comment behind its base64. The
// bytes have to be whole (RFC 4253, 6.6: each field behind its length, the first is the type's name), for
// sshd passes over a key that is cut short without a word.
bool is_ssh_key(std::string_view line);

}  // namespace kiln::env
