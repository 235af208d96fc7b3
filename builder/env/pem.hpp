// Private keys and certificates in PEM, by OpenSSL.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::env {

class PrivateKey {
 public:
  // Throws base::Error; like every error here it says what is wrong and no word of the text.
  static PrivateKey parse(std::string_view pem);
  static PrivateKey make_rsa(int bits);
  [[nodiscard]] bool is_rsa() const;
  [[nodiscard]] int bits() const;
  // Unencrypted; of RSA in the old form, which every program reads.
  [[nodiscard]] std::string pem() const;
  // The public half, DER in base64 on one line.
  [[nodiscard]] std::string public_base64() const;

  struct Data;
  [[nodiscard]] const Data& data() const { return *data_; }

 private:
  explicit PrivateKey(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

class Certificate {
 public:
  // Of the first one in `pem`; those behind it are parsed as well. Throws base::Error.
  static Certificate parse(std::string_view pem);
  [[nodiscard]] bool belongs_to(const PrivateKey& key) const;
  // Seconds since 1970.
  [[nodiscard]] std::int64_t valid_from() const;
  [[nodiscard]] std::int64_t valid_until() const;

  struct Data;

 private:
  explicit Certificate(std::shared_ptr<const Data> data) : data_(std::move(data)) {}
  std::shared_ptr<const Data> data_;
};

// What `digits` stand for in base64 (RFC 4648, with padding); nullopt when they are none.
std::optional<std::string> from_base64(std::string_view digits);
// `bytes` random bytes of the system's generator in base64, on one line.
std::string random_base64(std::size_t bytes);

}  // namespace kiln::env
