// An environment as texts of QR codes, and back: gzip, base32, and numbers when one code cannot hold it.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace kiln::env {

inline constexpr std::size_t kCodesOnPage = 4;
inline constexpr std::size_t kMostCodes = 100;
inline constexpr std::size_t kCodeCharacters = 2100;  // of a numbered code, without its number
inline constexpr std::size_t kOneCode = 2111;         // bytes of gzip
inline constexpr std::size_t kMostGzip = kMostCodes * kCodeCharacters * 5 / 8;  // 131,250

// What the codes of `text` hold: one code without a number, or "00 ..." and up. Throws base::Error, with both
// sizes, when its gzip is over kMostGzip.
std::vector<std::string> codes_of(std::string_view text);

// The way back, from codes in any order and as often as they come.
class Assembly {
 public:
  // Takes the text of one code; false when it is no part of an environment, as what is on a parcel. Throws
  // base::Error when it is of another one than those before. No error says what a code holds.
  bool add(std::string_view code);
  // The environment, nullopt while codes are missing. Throws base::Error when the codes do not fit together.
  [[nodiscard]] std::optional<std::string> text() const;
  // How many different codes there are.
  [[nodiscard]] std::size_t size() const { return numbered_.size() + (single_.empty() ? 0 : 1); }
  // Whether a code is missing that is printed on the same page as `code`, one of those that are there.
  [[nodiscard]] bool lacks_one_beside(std::string_view code) const;
  // Whether all codes of one page are missing, as far as those that are there tell.
  [[nodiscard]] bool lacks_a_page() const;
  // Which are missing, as far as those that are there tell.
  [[nodiscard]] base::Error missing() const;

 private:
  std::string single_;
  std::map<std::size_t, std::string> numbered_;
};

}  // namespace kiln::env
