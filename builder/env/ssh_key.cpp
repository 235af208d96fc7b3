#include "env/ssh_key.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <openssl/evp.h>
#include <optional>
#include <string>
#include <vector>

#include "base/text.hpp"

namespace kiln::env {

namespace {

// What `text` stands for in base64 (RFC 4648, with padding).
std::optional<std::string> decoded(const std::string& text) {
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int size =
      ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                        reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  const std::size_t end = text.find_last_not_of('=');
  bytes.resize(static_cast<std::size_t>(size) - (text.size() - 1 - end));
  return bytes;
}

// Takes a field off the front of `bytes`.
std::optional<std::string_view> field(std::string_view& bytes) {
  if (bytes.size() < 4) return std::nullopt;
  std::uint32_t size = 0;
  for (const char byte : bytes.substr(0, 4)) size = size << 8U | static_cast<unsigned char>(byte);
  bytes.remove_prefix(4);
  if (size > bytes.size()) return std::nullopt;
  const std::string_view result = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return result;
}

}  // namespace

bool is_ssh_key(std::string_view line) {
  if (line.find('\n') != std::string_view::npos) return false;
  const std::vector<std::string> words = base::words(line);
  const auto type = std::find_if(words.begin(), words.end(), [](const std::string& word) {
    return word.starts_with("ssh-") || word.starts_with("ecdsa-") || word.starts_with("sk-");
  });
  if (type == words.end() || type + 1 == words.end() || (type + 1)->size() > (1U << 16U)) return false;
  const auto bytes = decoded(*(type + 1));
  if (!bytes) return false;
  std::string_view rest = *bytes;
  if (field(rest) != *type || rest.empty()) return false;
  // A certificate has numbers among its fields.
  if (type->find("-cert-") != std::string::npos) return true;
  while (!rest.empty())
    if (!field(rest)) return false;
  return true;
}

}  // namespace kiln::env
