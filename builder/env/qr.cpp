#include "env/qr.hpp"

#include <algorithm>
#include <cstdint>
#include <fmt/format.h>
#include <set>

#include "base/text.hpp"
#include "env/gzip.hpp"
#include "env/read.hpp"

namespace kiln::env {

using base::Error;

namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr std::size_t kGroup = 8;  // characters that hold five bytes
constexpr std::size_t kOneCodeCharacters = (kOneCode + 4) / 5 * kGroup;
constexpr std::size_t kNumber = 3;  // "NN "

std::string base32(std::string_view bytes) {
  std::string text;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char byte : bytes) {
    bits = (bits << 8U) | static_cast<unsigned char>(byte);
    for (count += 8; count >= 5; count -= 5) text += kAlphabet[(bits >> (count - 5)) & 31U];
  }
  if (count > 0) text += kAlphabet[(bits << (5 - count)) & 31U];
  text.append((kGroup - text.size() % kGroup) % kGroup, '=');
  return text;
}

// nullopt when `text` is not what base32() gives; an end in the middle of a group counts as padding left out.
std::optional<std::string> from_base32(std::string_view text) {
  const std::size_t length = std::min(text.find('='), text.size());
  const std::string_view padding = text.substr(length);
  if (padding.find_first_not_of('=') != std::string_view::npos || padding.size() > 6) return std::nullopt;
  if (!padding.empty() && text.size() % kGroup != 0) return std::nullopt;
  std::string bytes;
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const char digit : text.substr(0, length)) {
    const std::size_t value = kAlphabet.find(digit);
    if (value == std::string_view::npos) return std::nullopt;
    bits = (bits << 5U) | static_cast<std::uint32_t>(value);
    count += 5;
    if (count < 8) continue;
    count -= 8;
    bytes += static_cast<char>((bits >> count) & 255U);
  }
  if (!padding.empty() && (count >= 5 || (bits & ((1U << count) - 1U)) != 0)) return std::nullopt;
  return bytes;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool is_code(std::string_view text, std::size_t most) {
  const std::size_t length = std::min(text.find('='), text.size());
  return !text.empty() && text.size() <= most &&
         text.substr(0, length).find_first_not_of(kAlphabet) == std::string_view::npos &&
         text.find_first_not_of('=', length) == std::string_view::npos;
}

Error mixed(const std::string& what) {
  return Error(what + ": these are pages of different environments")
      .hint("all pages have the same SHA-256 at their foot; give only those of one");
}

// "03, 05 to 07"
std::string ranges(const std::vector<std::size_t>& numbers) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    parts.push_back(last == i ? fmt::format("{:02}", numbers[i])
                              : fmt::format("{:02} to {:02}", numbers[i], numbers[last]));
    i = last + 1;
  }
  return base::join(parts, ", ");
}

std::optional<std::string> expanded(std::string_view digits) {
  const std::optional<std::string> bytes = from_base32(digits);
  if (!bytes) throw mixed("the codes do not fit together");
  try {
    return gunzip(*bytes, kLongest);
  } catch (const Error& error) {
    throw mixed("the codes do not fit together, " + error.message());
  }
}

}  // namespace

std::vector<std::string> codes_of(std::string_view text) {
  const std::string bytes = gzip(text);
  if (bytes.size() > kMostGzip)
    throw Error(fmt::format("is too large for paper: compressed it has {} bytes, and {} codes hold {}",
                            bytes.size(), kMostCodes, kMostGzip))
        .hint("take large files out of appliance.extra.files");
  const std::string digits = base32(bytes);
  if (bytes.size() <= kOneCode) return {digits};
  std::vector<std::string> codes;
  for (std::size_t at = 0; at < digits.size(); at += kCodeCharacters)
    codes.push_back(fmt::format("{:02} {}", codes.size(), digits.substr(at, kCodeCharacters)));
  return codes;
}

namespace {

// Of a numbered code.
std::size_t number_of(std::string_view code) {
  return static_cast<std::size_t>(code[0] - '0') * 10 + static_cast<std::size_t>(code[1] - '0');
}

}  // namespace

bool Assembly::add(std::string_view code) {
  const bool numbered = code.size() > kNumber && is_digit(code[0]) && is_digit(code[1]) && code[2] == ' ';
  const std::string_view digits = numbered ? code.substr(kNumber) : code;
  if (!is_code(digits, numbered ? kCodeCharacters : kOneCodeCharacters)) return false;
  if (size() > 0 && numbered == numbered_.empty()) throw mixed("one code has a number and one has none");
  if (!numbered) {
    if (!single_.empty() && single_ != digits) throw mixed("two codes without a number differ");
    single_ = digits;
    return true;
  }
  const std::size_t number = number_of(code);
  const auto [at, fresh] = numbered_.emplace(number, digits);
  if (!fresh && at->second != digits) throw mixed(fmt::format("two codes {:02} differ", number));
  return true;
}

std::optional<std::string> Assembly::text() const {
  if (!single_.empty()) {
    std::optional<std::string> text = expanded(single_);
    if (!text) throw mixed("the code ends too early");
    return text;
  }
  if (numbered_.empty()) return std::nullopt;
  std::string digits;
  const std::size_t last = numbered_.rbegin()->first;
  for (const auto& [number, part] : numbered_) {
    if (number != last && part.size() != kCodeCharacters)
      throw mixed(fmt::format("code {:02} is a last one, and there is a code {:02}", number, last));
    digits += part;
  }
  if (numbered_.size() != last + 1) return std::nullopt;
  std::optional<std::string> text = expanded(digits);
  if (!text && numbered_.rbegin()->second.size() != kCodeCharacters) throw mixed("the codes end too early");
  return text;
}

bool Assembly::lacks_one_beside(std::string_view code) const {
  if (numbered_.empty()) return false;
  const std::size_t number = number_of(code);
  const auto& [last, part] = *numbered_.rbegin();
  for (std::size_t one = number - number % kCodesOnPage; one % kCodesOnPage != 0 || one <= number; ++one) {
    // Only a last code is shorter.
    if (!numbered_.contains(one) && (one < last || part.size() == kCodeCharacters)) return true;
  }
  return false;
}

bool Assembly::lacks_a_page() const {
  if (numbered_.empty()) return single_.empty();
  const auto& [last, part] = *numbered_.rbegin();
  std::set<std::size_t> pages;
  for (const auto& [number, code] : numbered_) pages.insert(number / kCodesOnPage);
  const bool ends_a_page = last % kCodesOnPage == kCodesOnPage - 1 && part.size() == kCodeCharacters;
  return pages.size() <= last / kCodesOnPage || ends_a_page;
}

Error Assembly::missing() const {
  if (size() == 0)
    return Error("no code can be read")
        .hint("scan the pages flat, sharp and at 150 dpi or more, and give the pages with the codes");
  std::vector<std::size_t> holes;
  const std::size_t last = numbered_.empty() ? 0 : numbered_.rbegin()->first;
  for (std::size_t number = 0; number < last; ++number) {
    if (!numbered_.contains(number)) holes.push_back(number);
  }
  std::string what = holes.empty() ? "" : ranges(holes);
  // Only a last code is shorter.
  if (!numbered_.empty() && numbered_.rbegin()->second.size() == kCodeCharacters)
    what += fmt::format("{}{:02} and what may follow it", what.empty() ? "" : "; ", last + 1);
  return Error("codes are missing: " + what)
      .hint("each page says above its codes which they are; add those pages, or scan them again");
}

}  // namespace kiln::env
