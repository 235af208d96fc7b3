// Pictures of a guest's display as PNG.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::image {

struct Picture {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::string rgb;  // 3 bytes a pixel, rows from the top
  // True when all pixels are the same: a display that shows nothing.
  [[nodiscard]] bool blank() const;
};

// Reads a binary PPM of 8 bits a channel, as QEMU's screendump writes it; nullopt when `text` is none.
std::optional<Picture> parse_ppm(std::string_view text);
// A PNG file's bytes; rows are stored as they are, not packed.
std::string png(const Picture& picture);
// `text` in light letters on black, 8 by 16 pixels a character; at most `columns` wide, lines that are longer
// are cut. What is not ASCII becomes '?'.
Picture render(std::string_view text, std::uint32_t columns);

}  // namespace kiln::image
