#include "env/picture.hpp"

#include <charconv>
#include <cmath>
#include <fmt/format.h>
#include <memory>
#include <png.h>
#include <turbojpeg.h>

#include "base/error.hpp"

namespace kiln::env {

using base::Error;

namespace {

constexpr std::size_t kMostPoints = 100'000'000;
constexpr std::string_view kPng = "\x89PNG\r\n\x1a\n";
constexpr std::string_view kJpeg = "\xff\xd8\xff";

Error damaged(std::string_view kind) {
  return Error(fmt::format("is a damaged {}", kind)).hint("save or scan it again");
}

Picture blank(std::size_t width, std::size_t height) {
  if (width == 0 || height == 0 || width > kMostPoints / height)
    throw Error(fmt::format("has {} by {} points", width, height)).hint("scan at 150 to 600 dpi");
  return {width, height, std::vector<std::uint8_t>(width * height)};
}

Picture read_png(std::string_view bytes) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> end(&image, &::png_image_free);
  if (::png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) throw damaged("PNG");
  image.format = PNG_FORMAT_GRAY;
  Picture picture = blank(image.width, image.height);
  const png_color white{255, 255, 255};  // behind what is transparent
  if (::png_image_finish_read(&image, &white, picture.grey.data(), 0, nullptr) == 0) throw damaged("PNG");
  return picture;
}

Picture read_jpeg(std::string_view bytes) {
  const std::unique_ptr<void, int (*)(void*)> reader(::tjInitDecompress(), &::tjDestroy);
  const auto* const data = reinterpret_cast<const unsigned char*>(bytes.data());
  int width = 0;
  int height = 0;
  int sampling = 0;
  int colours = 0;
  if (::tjDecompressHeader3(reader.get(), data, bytes.size(), &width, &height, &sampling, &colours) != 0)
    throw damaged("JPEG");
  Picture picture = blank(static_cast<std::size_t>(width), static_cast<std::size_t>(height));
  // Its warnings are of pictures that end too early or bear a slip: what is there may do.
  if (::tjDecompress2(reader.get(), data, bytes.size(), picture.grey.data(), width, 0, height, TJPF_GRAY,
                      0) != 0 &&
      ::tjGetErrorCode(reader.get()) == TJERR_FATAL)
    throw damaged("JPEG");
  return picture;
}

// The next number of a PNM's head, behind white space and comments; takes both off.
std::size_t take_number(std::string_view& bytes) {
  while (!bytes.empty() && (bytes.front() == '#' || bytes.front() == ' ' || bytes.front() == '\n' ||
                            bytes.front() == '\t' || bytes.front() == '\r')) {
    const std::size_t comment = bytes.front() == '#' ? bytes.find('\n') : 0;
    bytes.remove_prefix(comment == std::string_view::npos ? bytes.size() : comment + 1);
  }
  std::size_t number = 0;
  const auto [end, code] = std::from_chars(bytes.data(), bytes.data() + bytes.size(), number);
  if (code != std::errc()) throw damaged("PNM");
  bytes.remove_prefix(static_cast<std::size_t>(end - bytes.data()));
  return number;
}

}  // namespace

bool is_picture(std::string_view bytes) {
  return bytes.starts_with(kPng) || bytes.starts_with(kJpeg) || bytes.starts_with("P5") ||
         bytes.starts_with("P6");
}

Picture take_pnm(std::string_view& bytes) {
  const std::size_t colours = bytes.starts_with("P5") ? 1 : bytes.starts_with("P6") ? 3 : 0;
  if (colours == 0) throw Error("is no picture").hint("PNG, JPEG and PNM are read");
  bytes.remove_prefix(2);
  const std::size_t width = take_number(bytes);
  const std::size_t height = take_number(bytes);
  if (take_number(bytes) != 255 || bytes.empty()) throw damaged("PNM");
  bytes.remove_prefix(1);
  Picture picture = blank(width, height);
  const std::size_t size = picture.grey.size() * colours;
  if (bytes.size() < size) throw damaged("PNM");
  for (std::size_t i = 0; i < picture.grey.size(); ++i) {
    unsigned sum = 0;
    for (std::size_t colour = 0; colour < colours; ++colour)
      sum += static_cast<unsigned char>(bytes[i * colours + colour]);
    picture.grey[i] = static_cast<std::uint8_t>(sum / colours);
  }
  bytes.remove_prefix(size);
  return picture;
}

Picture read_picture(std::string_view bytes) {
  if (bytes.starts_with(kPng)) return read_png(bytes);
  if (bytes.starts_with(kJpeg)) return read_jpeg(bytes);
  return take_pnm(bytes);
}

Picture softened(const Picture& picture) {
  Picture soft = picture;
  if (picture.width < 3 || picture.height < 3) return soft;
  for (std::size_t y = 1; y + 1 < picture.height; ++y) {
    const std::uint8_t* const row = &picture.grey[y * picture.width];
    // Points of a column, the middle one twice.
    const auto column = [row, above = row - picture.width, below = row + picture.width](std::size_t x) {
      return 1U * above[x] + 2U * row[x] + 1U * below[x];
    };
    for (std::size_t x = 1; x + 1 < picture.width; ++x)
      soft.grey[y * picture.width + x] =
          static_cast<std::uint8_t>((column(x - 1) + 2 * column(x) + column(x + 1)) / 16);
  }
  return soft;
}

Picture doubled(const Picture& picture) {
  Picture large = blank(picture.width * 2, picture.height * 2);
  const auto point = [&](std::size_t x, std::size_t y) -> unsigned {
    return picture.grey[std::min(y, picture.height - 1) * picture.width + std::min(x, picture.width - 1)];
  };
  for (std::size_t y = 0; y < large.height; ++y) {
    for (std::size_t x = 0; x < large.width; ++x) {
      // Between two points the mean of both, between four that of all.
      const unsigned sum = point(x / 2, y / 2) + point((x + 1) / 2, y / 2) + point(x / 2, (y + 1) / 2) +
                           point((x + 1) / 2, (y + 1) / 2);
      large.grey[y * large.width + x] = static_cast<std::uint8_t>(sum / 4);
    }
  }
  return large;
}

Picture straightened(const Picture& picture, double degrees) {
  constexpr double kPi = 3.14159265358979323846;
  Picture made = blank(picture.width, picture.height);
  const double sine = std::sin(degrees * kPi / 180);
  const double cosine = std::cos(degrees * kPi / 180);
  const double middle_x = static_cast<double>(picture.width) / 2;
  const double middle_y = static_cast<double>(picture.height) / 2;
  for (std::size_t y = 0; y < made.height; ++y) {
    for (std::size_t x = 0; x < made.width; ++x) {
      const double from_x = static_cast<double>(x) - middle_x;
      const double from_y = static_cast<double>(y) - middle_y;
      const double at_x = cosine * from_x - sine * from_y + middle_x;
      const double at_y = sine * from_x + cosine * from_y + middle_y;
      std::uint8_t& to = made.grey[y * made.width + x];
      to = 255;
      if (at_x < 0 || at_y < 0) continue;
      const auto left = static_cast<std::size_t>(at_x);
      const auto top = static_cast<std::size_t>(at_y);
      if (left + 1 >= picture.width || top + 1 >= picture.height) continue;
      const double right = at_x - static_cast<double>(left);
      const double below = at_y - static_cast<double>(top);
      const std::uint8_t* upper = &picture.grey[top * picture.width + left];
      const std::uint8_t* lower = upper + picture.width;
      to = static_cast<std::uint8_t>((1 - below) * ((1 - right) * upper[0] + right * upper[1]) +
                                     below * ((1 - right) * lower[0] + right * lower[1]));
    }
  }
  return made;
}

}  // namespace kiln::env
