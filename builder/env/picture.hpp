// Grey pictures of pages: from scanners and cameras (PNG, JPEG, PNM).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace kiln::env {

struct Picture {
  std::size_t width = 0;
  std::size_t height = 0;
  std::vector<std::uint8_t> grey;  // by rows, 0 is black
};

// Whether `bytes` begin as one of these kinds does.
bool is_picture(std::string_view bytes);
// Throws base::Error when they are none, are damaged, or show over 100 million points.
Picture read_picture(std::string_view bytes);
// The grey PNM that `bytes` begin with, which is taken off them.
Picture take_pnm(std::string_view& bytes);
// Each point the mean of those around it, near ones counting more: grain goes, edges stay.
Picture softened(const Picture& picture);
// Twice as wide and high, with steps smoothed.
Picture doubled(const Picture& picture);
// Turned about its middle, as large as before; what comes in from outside is white.
Picture straightened(const Picture& picture, double degrees);

}  // namespace kiln::env
