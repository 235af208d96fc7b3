// What printing and scanning does to a page.
#pragma once

#include <cmath>
#include <cstdlib>
#include <memory>
#include <numbers>
#include <png.h>
#include <random>
#include <stdexcept>
#include <string>
#include <turbojpeg.h>

#include "env/picture.hpp"
#include "env/symbol.hpp"

namespace kiln::env {

// A code on white paper, `scale` points to a square.
inline Picture drawn(const Symbol& symbol, std::size_t scale) {
  const std::size_t quiet = 4 * scale;
  const std::size_t side = symbol.size * scale + 2 * quiet;
  Picture picture = {side, side, std::vector<std::uint8_t>(side * side, 255)};
  for (std::size_t y = 0; y < symbol.size * scale; ++y) {
    for (std::size_t x = 0; x < symbol.size * scale; ++x) {
      if (symbol.at(x / scale, y / scale)) picture.grey[(y + quiet) * side + x + quiet] = 0;
    }
  }
  return picture;
}

// Turned about its middle on white paper large enough, between points the nearest four weighed.
inline Picture turned(const Picture& from, double degrees) {
  const double angle = degrees * std::numbers::pi / 180;
  const double c = std::cos(angle);
  const double s = std::sin(angle);
  const auto width = static_cast<double>(from.width);
  const auto height = static_cast<double>(from.height);
  Picture to;
  to.width = static_cast<std::size_t>(std::ceil(std::abs(width * c) + std::abs(height * s)));
  to.height = static_cast<std::size_t>(std::ceil(std::abs(width * s) + std::abs(height * c)));
  to.grey.reserve(to.width * to.height);
  const auto point = [&](double x, double y) -> double {
    if (x < 0 || y < 0 || x >= width || y >= height) return 255;
    return from.grey[static_cast<std::size_t>(y) * from.width + static_cast<std::size_t>(x)];
  };
  for (std::size_t row = 0; row < to.height; ++row) {
    for (std::size_t column = 0; column < to.width; ++column) {
      const double dx = static_cast<double>(column) - static_cast<double>(to.width) / 2;
      const double dy = static_cast<double>(row) - static_cast<double>(to.height) / 2;
      const double x = dx * c + dy * s + width / 2;
      const double y = dy * c - dx * s + height / 2;
      const double fx = x - std::floor(x);
      const double fy = y - std::floor(y);
      const double value = (point(x, y) * (1 - fx) + point(x + 1, y) * fx) * (1 - fy) +
                           (point(x, y + 1) * (1 - fx) + point(x + 1, y + 1) * fx) * fy;
      to.grey.push_back(static_cast<std::uint8_t>(std::lround(value)));
    }
  }
  return to;
}

// Grey paper, ink that is not black, and noise.
inline Picture copied(Picture picture, unsigned seed = 1) {
  std::mt19937 random(seed);
  for (std::uint8_t& point : picture.grey) {
    const double value = 50 + point * 0.65 + static_cast<double>(random() % 41) - 20;
    point = static_cast<std::uint8_t>(std::lround(value));
  }
  return picture;
}

inline std::string as_png(const Picture& picture) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(picture.width);
  image.height = static_cast<png_uint_32>(picture.height);
  image.format = PNG_FORMAT_GRAY;
  png_alloc_size_t size = 0;
  if (::png_image_write_to_memory(&image, nullptr, &size, 0, picture.grey.data(), 0, nullptr) == 0)
    throw std::runtime_error(image.message);
  std::string bytes(size, '\0');
  if (::png_image_write_to_memory(&image, bytes.data(), &size, 0, picture.grey.data(), 0, nullptr) == 0)
    throw std::runtime_error(image.message);
  bytes.resize(size);
  return bytes;
}

inline std::string as_jpeg(const Picture& picture) {
  const std::unique_ptr<void, int (*)(void*)> writer(::tjInitCompress(), &::tjDestroy);
  unsigned char* bytes = nullptr;
  unsigned long size = 0;
  if (::tjCompress2(writer.get(), picture.grey.data(), static_cast<int>(picture.width), 0,
                    static_cast<int>(picture.height), TJPF_GRAY, &bytes, &size, TJSAMP_GRAY, 85, 0) != 0)
    throw std::runtime_error(::tjGetErrorStr2(writer.get()));
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owned(bytes, &::tjFree);
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace kiln::env
