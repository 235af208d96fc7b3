// A fresh OpenPGP key, made in memory alone. GnuPG would hand it to its agent, which keeps it in a file and
// lives on when kiln is killed.
#pragma once

#include <cstdint>
#include <string>

namespace kiln::env {

// An RSA key of 2048 bits for all uses, without passphrase and end, made at `now`, which is in seconds since
// 1970; its secret half, armored. Throws base::Error.
std::string make_pgp_key(const std::string& user, std::int64_t now);

}  // namespace kiln::env
