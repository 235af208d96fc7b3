#include "env/armor.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "unit/env/sample.hpp"

namespace kiln::env {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr std::string_view kTitle = "PGP PUBLIC KEY BLOCK";

std::string refused(const std::string& text) {
  try {
    return fmt::format("no error, but {} blocks", armored_blocks(text).size());
  } catch (const base::Error& error) {
    return error.what();
  }
}

// Of kind 6, by the old format with two bytes of length and by the new one.
std::string old_packet(std::size_t size) {
  return std::string("\x99") + static_cast<char>(size >> 8U) + static_cast<char>(size) +
         std::string(size, 'x');
}
std::string new_packet(const std::string& length, std::size_t size) {
  return "\xc6" + length + std::string(size, 'x');
}

TEST(ArmorTest, FindsBlocksLinesAndKeys) {
  EXPECT_THAT(armored_blocks(""), IsEmpty());
  const std::string one = key_file("public.asc");
  const auto blocks = armored_blocks("# mine\n\n" + one + "\n# theirs\n" + key_file("secret.asc"));
  ASSERT_THAT(blocks, SizeIs(2));
  EXPECT_EQ(blocks[0].text, one);
  EXPECT_EQ(blocks[0].line, 3);
  EXPECT_EQ(blocks[0].keys, 1U);
  EXPECT_EQ(blocks[1].text, key_file("secret.asc"));
  EXPECT_EQ(blocks[1].keys, 1U);
}

TEST(ArmorTest, CountsKeysByEveryKindOfLength) {
  const std::string bytes = old_packet(300) + new_packet("\x05", 5) + new_packet("\xc1\x02", 450) +
                            new_packet(std::string("\xff\0\0\x01\0", 5), 256) + std::string("\xb4\x01z");
  const auto blocks = armored_blocks(armored(kTitle, bytes));
  ASSERT_THAT(blocks, SizeIs(1));
  EXPECT_EQ(blocks[0].keys, 4U);
}

TEST(ArmorTest, WhatIsNotWholeIsRefusedAtItsLine) {
  const std::string whole = armored(kTitle, old_packet(300));
  EXPECT_THAT(refused("\nhello\n" + whole), HasSubstr("2:1: stands outside of an OpenPGP block"));
  EXPECT_THAT(refused(whole + whole.substr(0, whole.rfind("-----END"))),
              HasSubstr("12:1: an OpenPGP block begins here and does not end"));
  for (std::string text : {whole, whole}) {
    text[text.find("eHh4")] = 'f';
    EXPECT_THAT(refused(text), HasSubstr("1:1: an OpenPGP block is damaged")) << "another letter";
  }
  std::string shorter = whole;
  shorter.erase(shorter.find("eHh4"), 4);
  EXPECT_THAT(refused(shorter), HasSubstr("is damaged")) << "four letters less";
  EXPECT_THAT(refused(armored(kTitle, old_packet(300).substr(0, 200))), HasSubstr("is damaged"))
      << "a right checksum over a packet that ends too early";
  for (const std::string& bytes : {std::string("\x99"), std::string("\x9b"), std::string("\x19\0", 2),
                                   std::string("\xc6\xe0z"), std::string("\xc6")})
    EXPECT_THAT(refused(armored(kTitle, bytes)), HasSubstr("is damaged"));
  EXPECT_THAT(refused("-----BEGIN PGP X-----\n-----END PGP X-----\n"), HasSubstr("is damaged"));
}

}  // namespace
}  // namespace kiln::env
