#include "base/size.hpp"

#include <gtest/gtest.h>

using namespace kiln::base;

TEST(Size, ReadsWhatPeopleWrite) {
  EXPECT_EQ(parse_size("812"), 812U);
  EXPECT_EQ(parse_size("812 B"), 812U);
  EXPECT_EQ(parse_size("512M"), 512U << 20U);
  EXPECT_EQ(parse_size("10G"), std::uint64_t{10} << 30U);
  EXPECT_EQ(parse_size(" 2 GiB "), std::uint64_t{2} << 30U);
  EXPECT_EQ(parse_size("1.5k"), 1536U);
  EXPECT_EQ(parse_size("0"), 0U);
}

TEST(Size, RefusesWhatIsNoSize) {
  for (const char* text : {"", "G", "-1", "1X", "1KB", "1.5", "1..5G", "1.G", ".5G", "0x10", "1 G B", "1e3",
                           "99999999999999999999", "20000000000G"}) {
    EXPECT_EQ(parse_size(text), std::nullopt) << text;
  }
  EXPECT_EQ(parse_size("18446744073709551615"), ~std::uint64_t{0});
  EXPECT_EQ(parse_size("18446744073709551616"), std::nullopt);
  EXPECT_EQ(parse_size("16384P"), std::nullopt);
}

TEST(Size, SpeaksToPeople) {
  EXPECT_EQ(human_size(812), "812 B");
  EXPECT_EQ(human_size(23U << 20U), "23 MiB");
  EXPECT_EQ(human_size(1503238554), "1.4 GiB");
  EXPECT_EQ(human_size(1U << 30U), "1 GiB");
  EXPECT_EQ(human_size((1U << 30U) - 1), "1 GiB");
}

TEST(Size, SaysSecondsAsPeopleDo) {
  EXPECT_EQ(human_seconds(0.4), "0.4 s");
  EXPECT_EQ(human_seconds(34.2), "34 s");
  EXPECT_EQ(human_seconds(59.7), "1 min");
  EXPECT_EQ(human_seconds(200), "3 min 20 s");
  EXPECT_EQ(human_seconds(3900), "1 h 5 min");
  EXPECT_EQ(human_seconds(-3), "0.0 s") << "a clock set back";
}
