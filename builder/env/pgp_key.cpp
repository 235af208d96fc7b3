#include "env/pgp_key.hpp"

#include <algorithm>
#include <array>
#include <memory>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "env/armor.hpp"

namespace kiln::env {

namespace {

// The numbers are those of RFC 4880, and of RFC 9580 for the fingerprint in a signature.
constexpr unsigned kBits = 2048;
constexpr unsigned kVersion = 4;
constexpr unsigned kRsa = 1;
constexpr unsigned kSha512 = 10;
constexpr unsigned kPositive = 0x13;  // the owner says that the name is the key's
constexpr unsigned kAllUses = 0x2f;   // certify, sign, encrypt in transit and at rest, authenticate
enum Tag : unsigned { signature = 2, secret_key = 5, user_id = 13 };

struct Free {
  void operator()(BIGNUM* number) const { ::BN_clear_free(number); }
  void operator()(BN_CTX* scratch) const { ::BN_CTX_free(scratch); }
  void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
  void operator()(EVP_MD_CTX* digest) const { ::EVP_MD_CTX_free(digest); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

template <typename T>
Owned<T> required(T* pointer) {
  if (pointer == nullptr) throw base::Error("OpenSSL made no key");
  return Owned<T>(pointer);
}

void require(bool good) {
  if (!good) throw base::Error("OpenSSL made no key");
}

// `value` in so many bytes, the highest first.
std::string number(std::uint64_t value, unsigned bytes) {
  std::string text;
  for (unsigned at = bytes; at > 0; --at) text += static_cast<char>(value >> (8 * (at - 1)));
  return text;
}

// A whole number as OpenPGP writes it: its bits, then its bytes.
std::string mpi(const BIGNUM* value) {
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(value)), '\0');
  ::BN_bn2bin(value, reinterpret_cast<unsigned char*>(bytes.data()));
  return number(static_cast<std::uint64_t>(::BN_num_bits(value)), 2) + bytes;
}

std::string mpi(const std::string& bytes) {
  const Owned<BIGNUM> value = required(::BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()),
                                                   static_cast<int>(bytes.size()), nullptr));
  return mpi(value.get());
}

std::string packet(Tag tag, const std::string& body) {
  return number(0xc0U | tag, 1) + number(0xff, 1) + number(body.size(), 4) + body;
}

// A part of a signature; all of them are shorter than 192 bytes.
std::string part(unsigned type, const std::string& body) {
  return number(body.size() + 1, 1) + number(type, 1) + body;
}

std::string digest(const EVP_MD* kind, const std::string& bytes) {
  std::string result(EVP_MAX_MD_SIZE, '\0');
  unsigned size = 0;
  require(::EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(result.data()), &size,
                       kind, nullptr) == 1);
  result.resize(size);
  return result;
}

std::string sign(EVP_PKEY* key, const std::string& bytes) {
  const Owned<EVP_MD_CTX> context = required(::EVP_MD_CTX_new());
  std::size_t size = 0;
  const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
  require(::EVP_DigestSignInit(context.get(), nullptr, ::EVP_sha512(), nullptr, key) == 1 &&
          ::EVP_DigestSign(context.get(), nullptr, &size, data, bytes.size()) == 1);
  std::string result(size, '\0');
  require(::EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(result.data()), &size, data,
                           bytes.size()) == 1);
  result.resize(size);
  return result;
}

class RsaKey {
 public:
  RsaKey() : key_(required(::EVP_RSA_gen(kBits))) {}
  [[nodiscard]] EVP_PKEY* get() const { return key_.get(); }
  [[nodiscard]] std::string public_numbers() const {
    return mpi(value(OSSL_PKEY_PARAM_RSA_N).get()) + mpi(value(OSSL_PKEY_PARAM_RSA_E).get());
  }
  // With the lesser prime first, and of it the inverse: OpenSSL keeps the other one.
  [[nodiscard]] std::string secret_numbers() const {
    Owned<BIGNUM> p = value(OSSL_PKEY_PARAM_RSA_FACTOR1);
    Owned<BIGNUM> q = value(OSSL_PKEY_PARAM_RSA_FACTOR2);
    if (::BN_cmp(p.get(), q.get()) > 0) std::swap(p, q);
    const Owned<BN_CTX> scratch = required(::BN_CTX_secure_new());
    ::BN_set_flags(p.get(), BN_FLG_CONSTTIME);
    const Owned<BIGNUM> inverse = required(::BN_mod_inverse(nullptr, p.get(), q.get(), scratch.get()));
    return mpi(value(OSSL_PKEY_PARAM_RSA_D).get()) + mpi(p.get()) + mpi(q.get()) + mpi(inverse.get());
  }

 private:
  [[nodiscard]] Owned<BIGNUM> value(const char* name) const {
    BIGNUM* raw = nullptr;
    require(::EVP_PKEY_get_bn_param(key_.get(), name, &raw) == 1);
    return Owned<BIGNUM>(raw);
  }
  Owned<EVP_PKEY> key_;
};

// What a reader may use when it writes to the key, as GnuPG says it of its own.
std::string signed_parts(const std::string& fingerprint, std::int64_t now) {
  return part(33, number(kVersion, 1) + fingerprint) + part(2, number(static_cast<std::uint64_t>(now), 4)) +
         part(27, number(kAllUses, 1)) + part(11, "\x09\x08\x07\x02") +  // ciphers: AES-256, 192, 128, 3DES
         part(21, "\x0a\x09\x08\x0b\x02") +                              // digests: SHA-512, 384, 256, 224, 1
         part(22, "\x02\x03\x01") +                                      // compression: zlib, bzip2, zip
         part(30, "\x01") +  // encrypted data is protected from changes
         part(23, "\x80");   // key servers are to take changes from its owner alone
}

}  // namespace

std::string make_pgp_key(const std::string& user, std::int64_t now) {
  const RsaKey key;
  const std::string shown = number(kVersion, 1) + number(static_cast<std::uint64_t>(now), 4) +
                            number(kRsa, 1) + key.public_numbers();
  const std::string secret = key.secret_numbers();
  std::uint64_t sum = 0;
  for (const char byte : secret) sum += static_cast<unsigned char>(byte);
  const std::string body = shown + number(0, 1) + secret + number(sum, 2);  // 0: not encrypted

  const std::string hashed_key = number(0x99, 1) + number(shown.size(), 2) + shown;
  const std::string fingerprint = digest(::EVP_sha1(), hashed_key);
  const std::string parts = signed_parts(fingerprint, now);
  const std::string head = number(kVersion, 1) + number(kPositive, 1) + number(kRsa, 1) + number(kSha512, 1) +
                           number(parts.size(), 2) + parts;
  const std::string to_sign = hashed_key + number(0xb4, 1) + number(user.size(), 4) + user + head +
                              number(kVersion, 1) + number(0xff, 1) + number(head.size(), 4);
  const std::string unsigned_parts = part(16, fingerprint.substr(12));
  const std::string signature_body = head + number(unsigned_parts.size(), 2) + unsigned_parts +
                                     digest(::EVP_sha512(), to_sign).substr(0, 2) +
                                     mpi(sign(key.get(), to_sign));
  return armored("PGP PRIVATE KEY BLOCK",
                 packet(secret_key, body) + packet(user_id, user) + packet(signature, signature_body));
}

}  // namespace kiln::env
