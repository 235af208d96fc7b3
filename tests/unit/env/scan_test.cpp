// Codes drawn, photographed and read.
#include "env/scan.hpp"

#include <algorithm>
#include <cmath>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "env/qr.hpp"
#include "env/symbol.hpp"
#include "noise.hpp"
#include "paper.hpp"

namespace kiln::env {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(SymbolTest, EveryCodeFitsAndIsReadBack) {
  for (const std::size_t size : {1U, 700U, 3000U, 9000U}) {
    for (const std::string& code : codes_of(noise(size)))
      EXPECT_THAT(scan(drawn(symbol(code), 4)), ElementsAre(code));
  }
}

TEST(SymbolTest, TheLargestOfEachKindFit) {
  // With the most of padding, which takes a segment of its own.
  const std::string one(3378, 'Q');
  EXPECT_EQ(symbol(one + "======").size, 177U);
  EXPECT_THROW(symbol(std::string(3392, 'Q')), base::Error);
  EXPECT_LE(symbol("99 " + std::string(2094, 'Q') + "======").size, 145U);
}

TEST(ScanTest, ReadsWhateverWayUp) {
  const std::string code = codes_of(noise(900)).at(0);
  for (const double degrees : {0.0, 2.5, 90.0, 180.0, 271.0, 45.0})
    for (const auto& reader : {scan, scan_otherwise})
      EXPECT_THAT(reader(turned(drawn(symbol(code), 5), degrees)), ElementsAre(code)) << degrees;
}

TEST(ScanTest, WhatOneReaderMissesTheOtherReads) {
  // Squares of 3 points turned a little, as grainy as copies of copies: of these twelve zbar 0.23 reads five.
  std::size_t by_either = 0;
  for (unsigned seed = 1; seed <= 12; ++seed) {
    const std::string code = codes_of(noise(5000, seed)).at(0);
    const Picture page = copied(copied(turned(drawn(symbol(code), 3), 1.5), seed), seed + 100);
    const bool read =
        !scan(page).empty() || !scan_otherwise(page).empty() || !scan_otherwise(softened(page)).empty();
    by_either += read ? 1 : 0;
  }
  EXPECT_EQ(by_either, 12U);
}

TEST(ScanTest, FindsNothingWhereNothingIs) {
  for (const auto& reader : {scan, scan_otherwise}) {
    EXPECT_THAT(reader({100, 100, std::vector<std::uint8_t>(10'000, 255)}), IsEmpty());
    EXPECT_THAT(reader({1, 1, {0}}), IsEmpty());
    EXPECT_THAT(reader({1, 3, {0, 0, 0}}), IsEmpty());
  }
}

TEST(PictureTest, SoftensGrainAndKeepsTheMargin) {
  const Picture soft = softened({3, 4, {1, 2, 3, 4, 160, 6, 7, 8, 9, 10, 11, 12}});
  EXPECT_THAT(soft.grey, ElementsAre(1, 2, 3, 4, 43, 6, 7, 27, 9, 10, 11, 12));
  EXPECT_THAT(softened({2, 1, {5, 9}}).grey, ElementsAre(5, 9));
}

TEST(PictureTest, ReadsPnmOfBothKinds) {
  const Picture grey = read_picture("P5\n# a comment\n2 1\n255\nab");
  EXPECT_EQ(grey.width, 2U);
  EXPECT_THAT(grey.grey, ElementsAre('a', 'b'));
  EXPECT_THAT(read_picture(std::string("P6 1 1 255\n\x03\x06\x09", 14)).grey, ElementsAre(6));
}

TEST(PictureTest, ReadsPngAndJpeg) {
  const Picture picture = drawn(symbol(codes_of("x")[0]), 3);
  EXPECT_EQ(read_picture(as_png(picture)).grey, picture.grey);
  const Picture lossy = read_picture(as_jpeg(picture));
  ASSERT_EQ(lossy.width, picture.width);
  EXPECT_THAT(scan(lossy), ElementsAre(codes_of("x")[0]));
}

TEST(PictureTest, RefusesWhatIsDamagedOrTooLarge) {
  const std::string png = as_png(drawn(symbol("A"), 3));
  const std::string jpeg = as_jpeg(drawn(symbol("A"), 3));
  for (const std::string& bad :
       {std::string(), std::string("GIF89a"), std::string("P5"), std::string("P5 2 2 255\nabc"),
        std::string("P5 99999999999 99999999999 255\n"), std::string("P5 100000 100000 255\n"),
        std::string("P5 0 1 255\n"), std::string("P5 1 1 65535\naa"), std::string("P5 #"), png.substr(0, 60),
        png.substr(0, 8), jpeg.substr(0, 20)})
    EXPECT_THROW(read_picture(bad), base::Error) << bad.size();
}

TEST(PictureTest, DoublesWithSmoothSteps) {
  const Picture large = doubled({2, 1, {0, 100}});
  EXPECT_EQ(large.width, 4U);
  EXPECT_EQ(large.height, 2U);
  EXPECT_THAT(large.grey, ElementsAre(0, 50, 100, 100, 0, 50, 100, 100));
}

}  // namespace
}  // namespace kiln::env
