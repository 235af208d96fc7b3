#include "base/text.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace kiln::base {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

std::vector<std::string> lines(std::string_view text) {
  if (text.empty()) return {};
  if (text.back() == '\n') text.remove_suffix(1);
  return split(text, '\n');
}

std::string join(std::span<const std::string> parts, std::string_view separator) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) text += separator;
    text += parts[i];
  }
  return text;
}

std::string upper(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return result;
}

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

std::string_view trim(std::string_view text) {
  constexpr std::string_view blank = " \t\r\n\v\f";
  const std::size_t begin = text.find_first_not_of(blank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(blank) - begin + 1);
}

std::vector<std::string> words(std::string_view text) {
  constexpr std::string_view blanks = " \t";
  std::vector<std::string> result;
  for (std::size_t begin = text.find_first_not_of(blanks); begin != std::string_view::npos;) {
    const std::size_t end = std::min(text.find_first_of(blanks, begin), text.size());
    result.emplace_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(blanks, end);
  }
  return result;
}

std::string last_lines(std::string_view text, std::size_t count) {
  if (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  if (count == 0) return {};
  std::size_t begin = text.size();
  while (begin > 0) {
    if (text[begin - 1] == '\n' && --count == 0) break;
    --begin;
  }
  return std::string(text.substr(begin));
}

bool is_plain_word(std::string_view text) {
  constexpr std::string_view plain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  return !text.empty() && text.find_first_not_of(plain) == std::string_view::npos;
}

std::string shell_quoted(std::string_view text) {
  constexpr std::pair<char, std::string_view> quote[] = {{'\'', "'\\''"}};
  return "'" + replace_each(text, quote) + "'";
}

std::string shell_word(std::string_view text) {
  return is_plain_word(text) ? std::string(text) : shell_quoted(text);
}

std::string shell_line(std::span<const std::string> argv) {
  std::string line;
  for (const std::string& word : argv) {
    if (!line.empty()) line += ' ';
    line += shell_word(word);
  }
  return line;
}

namespace {

struct Rune {
  std::uint32_t code = 0;
  std::size_t length = 0;  // 0: not UTF-8 here
};

// The first character of `text`, by the rules of RFC 3629: no overlong forms, no surrogates.
Rune first_rune(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return {};
  std::uint32_t code = lead & (0x7fU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return {};
    code = code << 6U | (byte(i) & 0x3fU);
  }
  constexpr std::uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return {};
  return {code, length};
}

// C0 and C1 controls, and the marks that reorder what a reader sees.
bool drives_a_terminal(std::uint32_t code) {
  return (code < 0x20 && code != '\n' && code != '\t') || (code >= 0x7f && code < 0xa0) ||
         (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

// Length of the colour or cursor sequence (ESC [ ... letter) that `text` begins with, 0 if none.
std::size_t escape_sequence(std::string_view text) {
  if (text.size() < 3 || text[0] != '\x1b' || text[1] != '[') return 0;
  for (std::size_t i = 2; i < text.size() && i < 40; ++i) {
    if (text[i] >= 0x40 && text[i] <= 0x7e) return i + 1;
    if (text[i] < 0x20 || text[i] > 0x3f) return 0;
  }
  return 0;
}

}  // namespace

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Rune rune = first_rune(text);
    if (rune.length == 0) return false;
    text.remove_prefix(rune.length);
  }
  return true;
}

std::string printable(std::string_view text) {
  constexpr std::string_view replacement = "\xef\xbf\xbd";
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    if (const std::size_t length = escape_sequence(text); length > 0) {
      text.remove_prefix(length);
      continue;
    }
    if (text.size() >= 2 && text[0] == '\r' && text[1] == '\n') {
      text.remove_prefix(1);
      continue;
    }
    const Rune rune = first_rune(text);
    if (rune.length == 0 || drives_a_terminal(rune.code)) {
      clean += replacement;
    } else {
      clean += text.substr(0, rune.length);
    }
    text.remove_prefix(std::max<std::size_t>(rune.length, 1));
  }
  return clean;
}

std::string one_line(std::string_view text, std::size_t width) {
  std::string line = printable(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::size_t seen = 0;
  std::size_t at = 0;
  // Between characters: UTF-8 continuation bytes do not begin one.
  while (at < line.size() && (seen < width || (static_cast<unsigned char>(line[at]) & 0xC0U) == 0x80U)) {
    if ((static_cast<unsigned char>(line[at]) & 0xC0U) != 0x80U) ++seen;
    ++at;
  }
  line.resize(at);
  return line;
}

std::string replace_each(std::string_view text, std::span<const std::pair<char, std::string_view>> pairs) {
  std::string out;
  out.reserve(text.size());
  for (const char c : text) {
    const auto found =
        std::find_if(pairs.begin(), pairs.end(), [c](const auto& pair) { return pair.first == c; });
    if (found == pairs.end())
      out += c;
    else
      out += found->second;
  }
  return out;
}

namespace {

// Case and the choice between '-' and '_' are the commonest slips of all: they count as nothing.
std::string folded(std::string_view word) {
  std::string text(word);
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if (c == '_') c = '-';
  }
  return text;
}

// Optimal string alignment: insert, delete, replace, swap of neighbours cost 1 each.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replace = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, replace});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

}  // namespace

std::string did_you_mean(std::string_view word, std::span<const std::string> known) {
  constexpr std::size_t longest = 200;  // a word from a hostile file must not cost quadratic time
  if (word.empty() || word.size() > longest) return {};
  const std::string asked = folded(word);
  std::size_t best = std::numeric_limits<std::size_t>::max();
  std::string guess;
  for (const std::string& candidate : known) {
    const std::size_t length = std::max(asked.size(), candidate.size());
    const std::size_t allowed = std::max<std::size_t>(1, length / 3);
    const std::size_t found = distance(asked, folded(candidate));
    // A two-letter word is one slip from too many others to guess.
    if (found > allowed || (found > 0 && length <= 2) || found >= best) continue;
    best = found;
    guess = candidate;
  }
  return guess;
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const auto byte = [&](std::size_t at) -> unsigned {
      return at < bytes.size() ? static_cast<unsigned char>(bytes[at]) : 0U;
    };
    const unsigned three = byte(i) << 16U | byte(i + 1) << 8U | byte(i + 2);
    out += kDigits[three >> 18U];
    out += kDigits[three >> 12U & 63U];
    out += i + 1 < bytes.size() ? kDigits[three >> 6U & 63U] : '=';
    out += i + 2 < bytes.size() ? kDigits[three & 63U] : '=';
  }
  return out;
}

}  // namespace kiln::base
