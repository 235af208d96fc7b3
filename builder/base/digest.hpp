// SHA-256, by OpenSSL. Digests are 64 lower-case hexadecimal digits everywhere in kiln.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace kiln::base {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  void add(std::string_view bytes);
  // The digest of all that was added; the object is spent afterwards.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string sha256(std::string_view bytes);
// Throws Error when the file cannot be read.
std::string sha256_file(const std::filesystem::path& file);
bool is_sha256(std::string_view text);
// `bytes` random bytes of the system's generator as hexadecimal digits; for ids and one-time names.
std::string random_hex(std::size_t bytes);

}  // namespace kiln::base
