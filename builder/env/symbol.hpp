// The dark and light squares of a QR code, by libqrencode, which lives only here.
#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

namespace kiln::env {

struct Symbol {
  std::size_t size = 0;    // squares on a side
  std::vector<bool> dark;  // by rows
  [[nodiscard]] bool at(std::size_t x, std::size_t y) const { return dark[y * size + x]; }
};

// The smallest code of error level M that holds `code`, a text of codes_of(). Throws base::Error when none
// does.
Symbol symbol(std::string_view code);

}  // namespace kiln::env
