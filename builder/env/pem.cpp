#include "env/pem.hpp"

#include <ctime>
#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

struct Free {
  void operator()(BIO* bio) const { ::BIO_free_all(bio); }
  void operator()(EVP_PKEY* key) const { ::EVP_PKEY_free(key); }
  void operator()(X509* certificate) const { ::X509_free(certificate); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

// What OpenSSL says of its last failure, which names no content.
Error failure(std::string what) {
  const unsigned long code = ::ERR_peek_last_error();
  const char* const reason = ::ERR_reason_error_string(code);
  ::ERR_clear_error();
  return Error(reason == nullptr ? std::move(what) : fmt::format("{}: {}", what, reason), Exit::usage);
}

Owned<BIO> reader(std::string_view text) {
  Owned<BIO> bio(::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  if (!bio) throw failure("no memory for OpenSSL");
  return bio;
}

// A secret BIO is wiped when it is freed.
Owned<BIO> writer() {
  Owned<BIO> bio(::BIO_new(::BIO_s_secmem()));
  if (!bio) throw failure("no memory for OpenSSL");
  return bio;
}

std::string content(BIO* bio) {
  char* data = nullptr;
  const long size = ::BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

// Nobody is there to type one.
int no_passphrase(char* /*buffer*/, int /*size*/, int /*writing*/, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

std::int64_t seconds(const ASN1_TIME* time) {
  std::tm parts{};
  if (::ASN1_TIME_to_tm(time, &parts) != 1) throw failure("a certificate with a time that is none");
  return ::timegm(&parts);
}

}  // namespace

struct PrivateKey::Data {
  Owned<EVP_PKEY> key;
};
struct Certificate::Data {
  Owned<X509> certificate;
};

PrivateKey PrivateKey::parse(std::string_view pem) {
  bool asked = false;
  Owned<EVP_PKEY> key(::PEM_read_bio_PrivateKey(reader(pem).get(), nullptr, &no_passphrase, &asked));
  if (asked) {
    ::ERR_clear_error();
    throw Error("is encrypted, and no one is there to type its passphrase", Exit::usage)
        .hint("write it without one: openssl pkey -in KEY");
  }
  if (!key) {
    ::ERR_clear_error();  // it says "unsupported" of whatever it cannot read
    throw Error("is no private key in PEM, or a broken one", Exit::usage)
        .hint("put in all of it, from '-----BEGIN' to '-----END', by '|'");
  }
  return PrivateKey(std::make_shared<Data>(Data{std::move(key)}));
}

PrivateKey PrivateKey::make_rsa(int bits) {
  Owned<EVP_PKEY> key(::EVP_RSA_gen(static_cast<unsigned>(bits)));
  if (!key) throw failure("OpenSSL made no key");
  return PrivateKey(std::make_shared<Data>(Data{std::move(key)}));
}

bool PrivateKey::is_rsa() const {
  return ::EVP_PKEY_is_a(data_->key.get(), "RSA") == 1;
}

int PrivateKey::bits() const {
  return ::EVP_PKEY_get_bits(data_->key.get());
}

std::string PrivateKey::pem() const {
  const Owned<BIO> bio = writer();
  if (::PEM_write_bio_PrivateKey_traditional(bio.get(), data_->key.get(), nullptr, nullptr, 0, nullptr,
                                             nullptr) != 1)
    throw failure("OpenSSL wrote no key");
  return content(bio.get());
}

std::string PrivateKey::public_base64() const {
  unsigned char* der = nullptr;
  const int size = ::i2d_PUBKEY(data_->key.get(), &der);
  if (size <= 0) throw failure("OpenSSL wrote no public key");
  std::string text = base::base64({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  ::OPENSSL_free(der);
  return text;
}

Certificate Certificate::parse(std::string_view pem) {
  const Owned<BIO> bio = reader(pem);
  Owned<X509> first(::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (!first)
    throw failure("is no certificate in PEM")
        .hint("put in all of it, from '-----BEGIN' to '-----END', by '|'");
  while (const Owned<X509> next{::PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)}) {
  }
  if (ERR_GET_REASON(::ERR_peek_last_error()) != PEM_R_NO_START_LINE)
    throw failure("a certificate behind the first one is broken");
  ::ERR_clear_error();
  return Certificate(std::make_shared<Data>(Data{std::move(first)}));
}

bool Certificate::belongs_to(const PrivateKey& key) const {
  const bool same = ::X509_check_private_key(data_->certificate.get(), key.data().key.get()) == 1;
  ::ERR_clear_error();
  return same;
}

std::int64_t Certificate::valid_from() const {
  return seconds(::X509_get0_notBefore(data_->certificate.get()));
}
std::int64_t Certificate::valid_until() const {
  return seconds(::X509_get0_notAfter(data_->certificate.get()));
}

std::optional<std::string> from_base64(std::string_view digits) {
  const std::size_t length = std::min(digits.find('='), digits.size());
  const std::size_t padding = digits.size() - length;
  if (digits.empty() || digits.size() % 4 != 0 || padding > 2) return std::nullopt;
  if (digits.find_first_not_of('=', length) != std::string_view::npos) return std::nullopt;
  std::string bytes(digits.size() / 4 * 3, '\0');
  const int size = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(digits.data()),
                                     static_cast<int>(digits.size()));
  if (size < 0) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(size) - padding);
  return bytes;
}

std::string random_base64(std::size_t bytes) {
  std::vector<unsigned char> buffer(bytes);
  if (::RAND_priv_bytes(buffer.data(), static_cast<int>(bytes)) != 1)
    throw failure("OpenSSL has no random bytes");
  return base::base64({reinterpret_cast<const char*>(buffer.data()), bytes});
}

}  // namespace kiln::env
