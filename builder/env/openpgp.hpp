// OpenPGP keys, by GPGME. Its GnuPG has a home of its own that is gone with the object, and sees nothing of
// the user's keys. It starts no agent, so that no secret key comes into a file or into a process that stays.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"

namespace kiln::env {

struct OpenPgpKey {
  std::string fingerprint;
  bool secret = false;
  bool revoked = false;
  bool can_encrypt = false;  // itself or by a key below it that is in force
  bool can_sign = false;
  std::int64_t expires = 0;  // seconds since 1970, 0 when never
};

class OpenPgp {
 public:
  // Throws base::Error, Exit::missing when there is no gpg.
  explicit OpenPgp(const host::Host& host);
  ~OpenPgp();
  OpenPgp(const OpenPgp&) = delete;
  OpenPgp& operator=(const OpenPgp&) = delete;
  // The keys in an armored text, which is not stored anywhere; none when it is broken.
  std::vector<OpenPgpKey> keys_in(std::string_view armored);
  // Whether a secret key in an armored text asks for a passphrase. Throws base::Error when GnuPG fails.
  [[nodiscard]] bool is_locked(std::string_view armored) const;
  // `plain` encrypted to every key in `armored`. Throws base::Error, at its line, when a block is
  // damaged, when there is no key, or one that is no longer in force, cannot encrypt or is a secret half.
  std::string encrypt(std::string_view plain, std::string_view armored);

 private:
  struct Data;
  std::unique_ptr<Data> data_;
};

// What `secret` holds, by a secret key in the keyring of the caller (GNUPGHOME, else ~/.gnupg); nullopt when
// none of it fits. GnuPG may `ask` for a passphrase. Throws base::Error when `secret` is damaged,
// Exit::missing when there is no gpg.
std::optional<std::string> decrypt(std::string_view secret, bool ask, const host::Host& host);

}  // namespace kiln::env
