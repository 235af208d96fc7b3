#include "env/ssh_key.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/text.hpp"
#include "env/pem.hpp"

namespace kiln::env {

namespace {

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
  const auto bytes = from_base64(*(type + 1));
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
