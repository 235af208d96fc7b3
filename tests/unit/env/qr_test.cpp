#include "env/qr.hpp"

#include <algorithm>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "env/gzip.hpp"
#include "env/read.hpp"
#include "noise.hpp"

namespace kiln::env {
namespace {

using testing::HasSubstr;

std::optional<std::string> assembled(const std::vector<std::string>& codes) {
  Assembly assembly;
  for (const std::string& code : codes) assembly.add(code);
  return assembly.text();
}

std::string failure(const std::vector<std::string>& codes) {
  try {
    assembled(codes);
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

std::string missing(const std::vector<std::string>& codes) {
  Assembly assembly;
  for (const std::string& code : codes) assembly.add(code);
  EXPECT_EQ(assembly.text(), std::nullopt);
  return assembly.missing().what();
}

// A text whose gzip has that many bytes.
std::string text_of_gzip(std::size_t bytes) {
  std::string text = noise(bytes * 2);
  std::size_t low = 0;
  std::size_t high = text.size();
  while (low < high) {
    const std::size_t middle = (low + high) / 2;
    if (gzip(std::string_view(text).substr(0, middle)).size() < bytes) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  text.resize(low);
  EXPECT_EQ(gzip(text).size(), bytes);
  return text;
}

TEST(GzipTest, GivesBackWhatItTookAndTheSameBytesEachTime) {
  for (const std::string& text :
       {std::string(), std::string("a"), noise(100'000), std::string(1 << 20, 'x')}) {
    EXPECT_EQ(gunzip(gzip(text), 1 << 20), text);
    EXPECT_EQ(gzip(text), gzip(text));
  }
  // No name and no time: flags and four bytes of time are 0.
  EXPECT_EQ(gzip("a").substr(3, 5), std::string(5, '\0'));
}

TEST(GzipTest, BoundsWhatIsForeign) {
  const std::string bytes = gzip(std::string(1'000'000, 'x'));
  EXPECT_THROW(gunzip(bytes, 999'999), base::Error);
  EXPECT_EQ(gunzip(bytes.substr(0, bytes.size() - 1), 1 << 20), std::nullopt);
  EXPECT_EQ(gunzip("", 1), std::nullopt);
  EXPECT_THROW(gunzip(bytes + "x", 1 << 20), base::Error);
  std::string damaged = bytes;
  damaged[damaged.size() - 6] ^= 1;  // of the checksum
  EXPECT_THROW(gunzip(damaged, 1 << 20), base::Error);
}

TEST(QrTest, ASmallTextIsOneCodeAndALargerOneHasNumbers) {
  const auto one = codes_of(text_of_gzip(kOneCode));
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567="), std::string::npos);
  const auto two = codes_of(text_of_gzip(kOneCode + 1));
  ASSERT_EQ(two.size(), 2U);
  EXPECT_EQ(two[0].size(), 2103U);
  EXPECT_THAT(two[0], testing::StartsWith("00 "));
  EXPECT_THAT(two[1], testing::StartsWith("01 "));
}

TEST(QrTest, Base32IsThatOfTheStandard) {
  // gzip begins with 1f 8b 08 00.
  EXPECT_THAT(codes_of("")[0], testing::StartsWith("D6FQQAA"));
}

TEST(QrTest, TheMostThatFitsIsAHundredCodesAndOverItBothSizesAreTold) {
  const std::string most = text_of_gzip(kMostGzip);
  const auto codes = codes_of(most);
  EXPECT_EQ(codes.size(), 100U);
  EXPECT_EQ(assembled(codes), most);
  try {
    codes_of(text_of_gzip(kMostGzip + 1));
    ADD_FAILURE();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("compressed it has 131251 bytes, and 100 codes hold 131250"));
  }
}

TEST(QrTest, CodesComeInAnyOrderAndAgain) {
  for (const std::size_t size : {1U, 50U, 3000U, 20'000U, 60'000U}) {
    const std::string text = noise(size);
    auto codes = codes_of(text);
    EXPECT_EQ(assembled(codes), text);
    const auto again = codes;
    codes.insert(codes.end(), again.rbegin(), again.rend());
    std::rotate(codes.begin(), codes.begin() + static_cast<std::ptrdiff_t>(codes.size() / 3), codes.end());
    EXPECT_EQ(assembled(codes), text);
  }
}

TEST(QrTest, WhatIsMissingIsNamed) {
  auto codes = codes_of(noise(20'000));
  ASSERT_EQ(codes.size(), 13U);
  codes.erase(codes.begin() + 9);
  codes.erase(codes.begin() + 3, codes.begin() + 6);
  EXPECT_THAT(missing(codes), HasSubstr("codes are missing: 03 to 05, 09;"));
  codes.pop_back();
  EXPECT_THAT(missing(codes), HasSubstr("codes are missing: 03 to 05, 09; 12 and what may follow it"));
  EXPECT_THAT(missing({}), HasSubstr("no code can be read"));
  EXPECT_THAT(missing({codes[0]}), HasSubstr("missing: 01 and what may follow it"));
}

TEST(QrTest, TheLastCodeMayBeFull) {
  // 10 codes of 2100 characters hold 13,125 bytes.
  const std::string text = text_of_gzip(13'125);
  auto codes = codes_of(text);
  ASSERT_EQ(codes.size(), 10U);
  EXPECT_EQ(assembled(codes), text);
  codes.pop_back();
  EXPECT_THAT(missing(codes), HasSubstr("missing: 09 and what may follow it"));
}

TEST(QrTest, AWrongCodeIsRefused) {
  const auto one = codes_of("one");
  const auto other = codes_of("other");
  const auto many = codes_of(noise(20'000));
  const auto others = codes_of(noise(20'000, 2));
  for (const char* foreign :
       {"", "https://example.org", "abc", "ABC1", "AB=C", "00 ", "0 A", "00 a", "1 AAAA"})
    EXPECT_FALSE(Assembly().add(foreign)) << foreign;
  EXPECT_FALSE(Assembly().add("00 " + std::string(2101, 'A')));
  Assembly assembly;
  EXPECT_TRUE(assembly.add(one[0]));
  EXPECT_FALSE(assembly.add("https://example.org"));
  EXPECT_EQ(assembly.text(), "one");
  EXPECT_THAT(failure({one[0], other[0]}), HasSubstr("two codes without a number differ"));
  EXPECT_THAT(failure({one[0], many[0]}), HasSubstr("one code has a number and one has none"));
  EXPECT_THAT(failure({many[0], one[0]}), HasSubstr("one code has a number and one has none"));
  EXPECT_THAT(failure({many[1], others[1]}), HasSubstr("two codes 01 differ"));
  EXPECT_THAT(failure({many.back(), "13 AAAA"}), HasSubstr("code 12 is a last one, and there is a code 13"));
  auto mixed = many;
  mixed[4] = others[4];
  EXPECT_THAT(failure(mixed), HasSubstr("the codes do not fit together"));
  EXPECT_THAT(failure({one[0].substr(0, one[0].size() - 8)}), HasSubstr("ends too early"));
  EXPECT_THAT(failure({"AAAAAAAA"}), HasSubstr("the codes do not fit together"));
}

TEST(QrTest, ABombIsRefused) {
  EXPECT_THAT(failure(codes_of(std::string(kLongest + 1, 'x'))), HasSubstr("over 1048576 bytes"));
}

}  // namespace
}  // namespace kiln::env
