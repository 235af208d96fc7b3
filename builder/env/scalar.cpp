#include "env/scalar.hpp"

#include <algorithm>
#include <array>
#include <regex>

#include "base/text.hpp"

namespace kiln::env {

using yaml::Node;

namespace {

constexpr std::size_t kLongestNumber = 64;
constexpr std::size_t kLongestShown = 60;

constexpr std::array<std::string_view, 9> kTrue = {"true", "True", "TRUE", "yes", "Yes",
                                                   "YES",  "on",   "On",   "ON"};
constexpr std::array<std::string_view, 9> kFalse = {"false", "False", "FALSE", "no", "No",
                                                    "NO",    "off",   "Off",   "OFF"};

// What Unicode calls white space, and the four separators of ASCII.
constexpr std::array<std::string_view, 29> kBlanks = {" ",
                                                      "\t",
                                                      "\n",
                                                      "\v",
                                                      "\f",
                                                      "\r",
                                                      "\x1c",
                                                      "\x1d",
                                                      "\x1e",
                                                      "\x1f",
                                                      "\xc2\x85",
                                                      "\xc2\xa0",
                                                      "\xe1\x9a\x80",
                                                      "\xe2\x80\x80",
                                                      "\xe2\x80\x81",
                                                      "\xe2\x80\x82",
                                                      "\xe2\x80\x83",
                                                      "\xe2\x80\x84",
                                                      "\xe2\x80\x85",
                                                      "\xe2\x80\x86",
                                                      "\xe2\x80\x87",
                                                      "\xe2\x80\x88",
                                                      "\xe2\x80\x89",
                                                      "\xe2\x80\x8a",
                                                      "\xe2\x80\xa8",
                                                      "\xe2\x80\xa9",
                                                      "\xe2\x80\xaf",
                                                      "\xe2\x81\x9f",
                                                      "\xe3\x80\x80"};

// Bases 2, 8, 10, 16 and 60, fractions, infinities: the resolver of YAML 1.1.
bool is_number(const std::string& text) {
  static const std::regex number(
      "[-+]?(?:0b[01_]+|0[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*(?::[0-5]?[0-9])*)"
      "|[-+]?(?:[0-9][0-9_]*\\.[0-9_]*(?:[eE][-+][0-9]+)?|[0-9][0-9_]*(?::[0-5]?[0-9])+\\.[0-9_]*|\\.(?:inf|"
      "Inf|INF))"
      "|\\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?|\\.(?:nan|NaN|NAN)");
  return std::regex_match(text, number);
}

bool is_date(const std::string& text) {
  static const std::regex date(
      "[0-9]{4}-[0-9]{2}-[0-9]{2}"
      "|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt]|[ \\t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(?:\\.[0-9]*)?"
      "(?:[ \\t]*(?:Z|[-+][0-9]{1,2}(?::?[0-9]{2})?))?");
  return std::regex_match(text, date);
}

template <typename List>
bool has(const List& list, std::string_view text) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

}  // namespace

Meaning meaning(const Node& scalar) {
  if (scalar.kind() != Node::Kind::scalar || scalar.quoted()) return Meaning::text;
  if (flag_of(scalar)) return Meaning::flag;
  const std::string& text = scalar.scalar();
  if (text.size() > kLongestNumber) return Meaning::text;
  if (is_number(text)) return Meaning::number;
  return is_date(text) ? Meaning::date : Meaning::text;
}

std::optional<bool> flag_of(const Node& value) {
  if (value.kind() != Node::Kind::scalar || value.quoted()) return std::nullopt;
  if (has(kTrue, value.scalar())) return true;
  if (has(kFalse, value.scalar())) return false;
  return std::nullopt;
}

std::string_view stripped(std::string_view text) {
  const auto begins = [&](std::string_view blank) { return text.starts_with(blank); };
  const auto ends = [&](std::string_view blank) { return text.ends_with(blank); };
  while (true) {
    const auto* const found = std::find_if(kBlanks.begin(), kBlanks.end(), begins);
    if (found == kBlanks.end()) break;
    text.remove_prefix(found->size());
  }
  while (true) {
    const auto* const found = std::find_if(kBlanks.begin(), kBlanks.end(), ends);
    if (found == kBlanks.end()) return text;
    text.remove_suffix(found->size());
  }
}

std::string shown(std::string_view text) {
  std::string line = base::printable(text.substr(0, kLongestShown));
  std::replace(line.begin(), line.end(), '\n', ' ');
  std::replace(line.begin(), line.end(), '\t', ' ');
  return text.size() > kLongestShown ? line + "..." : line;
}

}  // namespace kiln::env
