#include "env/armor.hpp"

#include <cstdint>
#include <fmt/format.h>
#include <optional>
#include <span>

#include "base/error.hpp"
#include "base/text.hpp"
#include "env/pem.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

constexpr std::string_view kBegin = "-----BEGIN ";
constexpr std::string_view kEnd = "-----END ";
constexpr std::string_view kDashes = "-----";
constexpr std::size_t kLine = 64;

constexpr unsigned kSecretKey = 5;
constexpr unsigned kPublicKey = 6;

// Section 6.1, its three bytes.
std::string crc24(std::string_view bytes) {
  std::uint32_t crc = 0xb704ce;
  for (const char byte : bytes) {
    crc ^= static_cast<std::uint32_t>(static_cast<unsigned char>(byte)) << 16U;
    for (int bit = 0; bit < 8; ++bit) {
      crc <<= 1U;
      if ((crc & 0x1000000U) != 0) crc ^= 0x1864cfbU;
    }
  }
  return {static_cast<char>(crc >> 16U), static_cast<char>(crc >> 8U), static_cast<char>(crc)};
}

// The kinds of the packets in `bytes` (section 4.2); nullopt when one ends too early, or has a length that no
// packet of a key has.
std::optional<std::vector<unsigned>> packets(std::string_view bytes) {
  std::vector<unsigned> tags;
  std::size_t at = 0;
  const auto number = [&](std::size_t count) -> std::optional<std::size_t> {
    if (bytes.size() - at < count) return std::nullopt;
    std::size_t value = 0;
    for (std::size_t i = 0; i < count; ++i) value = value << 8U | static_cast<unsigned char>(bytes[at++]);
    return value;
  };
  while (at < bytes.size()) {
    const auto head = static_cast<unsigned char>(bytes[at++]);
    if ((head & 0x80U) == 0) return std::nullopt;
    std::optional<std::size_t> length;
    if ((head & 0x40U) == 0) {
      if ((head & 3U) == 3) return std::nullopt;
      length = number(std::size_t{1} << (head & 3U));
    } else if (length = number(1); length && *length >= 192) {
      const std::size_t first = *length;
      if (first > 223 && first != 255) return std::nullopt;
      length = number(first == 255 ? 4 : 1);
      if (length && first != 255) length = (first - 192) * 256 + *length + 192;
    }
    if (!length || *length > bytes.size() - at) return std::nullopt;
    at += *length;
    tags.push_back((head & 0x40U) == 0 ? (head & 0x3cU) >> 2U : head & 0x3fU);
  }
  return tags;
}

// The lines of one block, without BEGIN and END.
std::size_t keys_of(std::span<const std::string> lines) {
  const Error broken = Error("an OpenPGP block is damaged", Exit::usage).hint("export the key again");
  // Headers, and an empty line behind them.
  std::size_t at = 0;
  while (at < lines.size() && lines[at].find(": ") != std::string::npos) ++at;
  if (at == lines.size() || !base::trim(lines[at]).empty()) throw broken;
  std::string digits;
  std::optional<std::string> sum;
  for (++at; at < lines.size(); ++at) {
    const std::string_view line = base::trim(lines[at]);
    if (line.empty()) continue;
    if (sum) throw broken;
    if (line.front() == '=') {
      sum = from_base64(line.substr(1));
      if (!sum) throw broken;
    } else {
      digits += line;
    }
  }
  const std::optional<std::string> bytes = from_base64(digits);
  if (!bytes || (sum && *sum != crc24(*bytes))) throw broken;
  const auto tags = packets(*bytes);
  if (!tags) throw broken;
  std::size_t keys = 0;
  for (const unsigned tag : *tags) keys += tag == kSecretKey || tag == kPublicKey ? 1 : 0;
  return keys;
}

}  // namespace

std::vector<ArmoredBlock> armored_blocks(std::string_view text) {
  std::vector<ArmoredBlock> blocks;
  const std::vector<std::string> lines = base::lines(text);
  for (std::size_t at = 0; at < lines.size(); ++at) {
    const std::string_view line = base::trim(lines[at]);
    const base::Where where = {"", static_cast<int>(at) + 1, 1};
    if (line.empty() || line.front() == '#') continue;
    if (!line.starts_with(kBegin) || !line.ends_with(kDashes))
      throw Error("stands outside of an OpenPGP block", Exit::usage)
          .at(where)
          .hint(
              "a block is all from '-----BEGIN PGP' to '-----END PGP'; a line that begins with '#' may say "
              "what it is");
    const std::string end = std::string(kEnd).append(line.substr(kBegin.size()));
    std::size_t last = at + 1;
    while (last < lines.size() && base::trim(lines[last]) != end) ++last;
    if (last == lines.size())
      throw Error("an OpenPGP block begins here and does not end", Exit::usage)
          .at(where)
          .hint("it ends with " + end);
    ArmoredBlock block = {{}, where.line, 0};
    try {
      block.keys = keys_of(std::span(lines).subspan(at + 1, last - at - 1));
    } catch (Error& error) {
      throw error.at(where);
    }
    for (std::size_t i = at; i <= last; ++i) block.text += lines[i] + '\n';
    blocks.push_back(std::move(block));
    at = last;
  }
  return blocks;
}

std::string armored(std::string_view title, std::string_view bytes) {
  std::string text = fmt::format("{}{}{}\n\n", kBegin, title, kDashes);
  const std::string encoded = base::base64(bytes);
  for (std::size_t at = 0; at < encoded.size(); at += kLine) text += encoded.substr(at, kLine) + '\n';
  return text + fmt::format("={}\n{}{}{}\n", base::base64(crc24(bytes)), kEnd, title, kDashes);
}

}  // namespace kiln::env
