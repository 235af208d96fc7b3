#include "image/picture.hpp"

#include <gtest/gtest.h>

#include "base/text.hpp"

namespace kiln::image {
namespace {

std::uint32_t big_endian(const std::string& text, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = (value << 8) | static_cast<unsigned char>(text.at(at + i));
  return value;
}

TEST(PictureTest, ReadsWhatQemuDumps) {
  const auto picture = parse_ppm(std::string("P6\n2 1\n255\n", 11) + "abcdef");
  ASSERT_TRUE(picture);
  EXPECT_EQ(picture->width, 2U);
  EXPECT_EQ(picture->rgb, "abcdef");
  EXPECT_FALSE(picture->blank());
  EXPECT_TRUE((Picture{2, 1, "abcabc"}).blank());
  EXPECT_FALSE(parse_ppm("P6\n2 1\n255\nabc"));
  EXPECT_FALSE(parse_ppm("P5\n2 1\n255\nabcdef"));
  EXPECT_FALSE(parse_ppm(""));
}

TEST(PictureTest, WritesAPngAnybodyReads) {
  // Two colours: a bit a pixel; more: three bytes.
  for (const std::string rgb : {"\1\2\3\4\5\6", "\1\2\3\4\5\6\7\10\11"}) {
    const Picture picture{static_cast<std::uint32_t>(rgb.size() / 3), 1, rgb};
    const std::string file = png(picture);
    EXPECT_EQ(file.substr(0, 8), "\x89PNG\r\n\x1a\n");
    EXPECT_EQ(file.substr(12, 4), "IHDR");
    EXPECT_EQ(big_endian(file, 16), picture.width);
    EXPECT_EQ(big_endian(file, 20), 1U);
    EXPECT_EQ(static_cast<int>(file[24]), rgb.size() == 6 ? 1 : 8);
    // The end chunk is always the same, its checksum too.
    EXPECT_EQ(file.substr(file.size() - 12), std::string("\0\0\0\0IEND\xae\x42\x60\x82", 12));
  }
}

TEST(PictureTest, RendersTextAsLetters) {
  const auto picture = render("I\n-\xff", 3);
  EXPECT_EQ(picture.width, 24U);
  EXPECT_EQ(picture.height, 32U);
  std::string shape;
  for (std::uint32_t y = 0; y < 32; y += 2) {
    for (std::uint32_t x = 0; x < 16; ++x) {
      shape += picture.rgb[3UL * ((y + 1) * picture.width + x)] == 0 ? '.' : '#';
    }
    shape += '\n';
  }
  EXPECT_EQ(base::lines(shape)[0], "..###...........");
  EXPECT_EQ(base::lines(shape)[1], "...#............");
  EXPECT_EQ(base::lines(shape)[11],
            ".#####......#...");  // the row of '-'; beside it '?' for what is not ASCII
  EXPECT_TRUE(render(std::string(500, ' '), 10).blank());
}

}  // namespace
}  // namespace kiln::image
