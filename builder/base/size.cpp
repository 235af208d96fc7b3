#include "base/size.hpp"

#include <cmath>
#include <fmt/format.h>

#include "base/text.hpp"

namespace kiln::base {

std::optional<std::uint64_t> parse_size(std::string_view text) {
  text = trim(text);
  const std::size_t end = text.find_first_not_of("0123456789.");
  const std::string_view number = text.substr(0, end);
  const std::string_view unit = end == std::string_view::npos ? std::string_view{} : trim(text.substr(end));

  unsigned shift = 0;
  if (!unit.empty() && unit != "B") {
    constexpr std::string_view prefixes = "KMGTP";
    const char letter = unit[0] >= 'a' && unit[0] <= 'z' ? static_cast<char>(unit[0] - 'a' + 'A') : unit[0];
    const std::size_t index = prefixes.find(letter);
    // "KB" is refused: half of its readers take it for 1000 bytes.
    const std::string_view rest = unit.substr(1);
    if (index == std::string_view::npos || (!rest.empty() && rest != "iB")) return std::nullopt;
    shift = static_cast<unsigned>(10 * (index + 1));
  }

  const std::size_t point = number.find('.');
  const std::string_view whole = number.substr(0, point);
  const std::string_view part =
      point == std::string_view::npos ? std::string_view{} : number.substr(point + 1);
  if (whole.empty() || part.find('.') != std::string_view::npos) return std::nullopt;
  if (point != std::string_view::npos && (part.empty() || part.size() > 9 || shift == 0)) return std::nullopt;

  const auto limit = ~std::uint64_t{0};
  std::uint64_t value = 0;
  for (const char c : whole) {
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (limit - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  if (value > limit >> shift) return std::nullopt;
  value <<= shift;

  double fraction = 0;
  double weight = 0.1;
  for (const char c : part) {
    fraction += weight * (c - '0');
    weight /= 10;
  }
  const auto extra =
      static_cast<std::uint64_t>(std::llround(fraction * static_cast<double>(std::uint64_t{1} << shift)));
  if (extra > limit - value) return std::nullopt;
  return value + extra;
}

std::string human_size(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr std::string_view units[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1023.5 && unit + 1 < std::size(units)) {
    value /= 1024;
    ++unit;
  }
  const double tenths = std::round(value * 10) / 10;
  if (tenths < 10 && tenths != std::floor(tenths)) return fmt::format("{:.1f} {}", tenths, units[unit]);
  return fmt::format("{:.0f} {}", value, units[unit]);
}

std::string human_seconds(double seconds) {
  if (!(seconds > 0)) seconds = 0;
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<std::int64_t>(std::llround(std::min(seconds, 1e12)));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) {
    return whole % 60 == 0 ? fmt::format("{} min", whole / 60)
                           : fmt::format("{} min {} s", whole / 60, whole % 60);
  }
  const std::int64_t minutes = (whole + 30) / 60;
  return minutes % 60 == 0 ? fmt::format("{} h", minutes / 60)
                           : fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

}  // namespace kiln::base
