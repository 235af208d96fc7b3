#include "base/text.hpp"

#include <array>
#include <gtest/gtest.h>

using namespace kiln::base;
using Words = std::vector<std::string>;

TEST(Text, SplitsAtEachSeparator) {
  EXPECT_EQ(split("a,,b", ','), (Words{"a", "", "b"}));
  EXPECT_EQ(split("", ','), (Words{""}));
  EXPECT_EQ(split(",", ','), (Words{"", ""}));
}

TEST(Text, FindsWordsBetweenBlanks) {
  EXPECT_EQ(words("  90 nginx.service\t start  running "),
            (Words{"90", "nginx.service", "start", "running"}));
  EXPECT_EQ(words(" \t "), Words{});
  EXPECT_EQ(words("one"), Words{"one"});
}

TEST(Text, TakesAFinalNewlineForTheEndOfALineNotForAnEmptyOne) {
  EXPECT_EQ(lines("a\nb\n"), (Words{"a", "b"}));
  EXPECT_EQ(lines("a\n\n"), (Words{"a", ""}));
  EXPECT_EQ(lines(""), Words{});
}

TEST(Text, KeepsTheLastLinesOnly) {
  EXPECT_EQ(last_lines("a\nb\nc\n", 2), "b\nc");
  EXPECT_EQ(last_lines("a\nb", 5), "a\nb");
  EXPECT_EQ(last_lines("a\nb", 0), "");
  EXPECT_EQ(last_lines("", 3), "");
}

TEST(Text, TrimsBlanksOnBothSides) {
  EXPECT_EQ(trim(" \t a b\r\n"), "a b");
  EXPECT_EQ(trim(" \n"), "");
}

TEST(Text, QuotesAShellWordOnlyWhereTheShellNeedsIt) {
  EXPECT_EQ(shell_line(Words{"qemu-img", "info", "a b", "it's", "", "$HOME", "a=b,c"}),
            R"(qemu-img info 'a b' 'it'\''s' '' '$HOME' a=b,c)");
}

TEST(Text, QuotesAlwaysWhereItIsAskedTo) {
  EXPECT_EQ(shell_quoted("plain"), "'plain'");
  EXPECT_EQ(shell_quoted("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_quoted(""), "''");
}

TEST(Text, LetsNoForeignOutputDriveATerminal) {
  EXPECT_EQ(printable("\x1b[31mred\x1b[0m\r\n\tplain"), "red\n\tplain");
  EXPECT_EQ(printable("title\x1b]0;owned\x07"), "title\xef\xbf\xbd]0;owned\xef\xbf\xbd");
  EXPECT_EQ(printable(std::string_view("nul\0", 4)), "nul\xef\xbf\xbd");
  EXPECT_EQ(printable("c1 \xc2\x9b"
                      "1m"),
            "c1 \xef\xbf\xbd"
            "1m");
  EXPECT_EQ(printable("\xe2\x80\xae"), "\xef\xbf\xbd") << "right-to-left override";
}

TEST(Text, ReplacesWhatIsNotUtf8AndKeepsWhatIs) {
  EXPECT_EQ(printable("gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\xa5"), "gr\xc3\xbc\xc3\x9f \xf0\x9f\x94\xa5");
  EXPECT_EQ(printable("\xff"), "\xef\xbf\xbd");
  EXPECT_TRUE(is_utf8("\xc3\xbc"));
  EXPECT_FALSE(is_utf8("\xc0\xaf")) << "overlong";
  EXPECT_FALSE(is_utf8("\xed\xa0\x80")) << "surrogate";
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80")) << "beyond the last character";
  EXPECT_FALSE(is_utf8("\xe2\x82")) << "cut short";
}

TEST(Text, GuessesTheWordThatWasMeant) {
  const Words known{"size", "packages", "base_debian", "salt_highstate", "seal"};
  EXPECT_EQ(did_you_mean("sise", known), "size");
  EXPECT_EQ(did_you_mean("pakcages", known), "packages");
  EXPECT_EQ(did_you_mean("base-debian", known), "base_debian");
  EXPECT_EQ(did_you_mean("Seal", known), "seal");
  EXPECT_EQ(did_you_mean("kernel", known), "");
  EXPECT_EQ(did_you_mean("", known), "");
  EXPECT_EQ(did_you_mean(std::string(100000, 'x'), known), "");
}

TEST(Text, OneLineIsCutBetweenCharacters) {
  EXPECT_EQ(one_line("a\nb\x1b[31mc", 10), "a bc");
  EXPECT_EQ(one_line("größer", 4), "größ");
  EXPECT_EQ(one_line("größer", 3), "grö");
  EXPECT_EQ(one_line("", 3), "");
}

TEST(Text, ReplaceEachReplacesWhatItIsToldAndNothingTwice) {
  constexpr std::array<std::pair<char, std::string_view>, 2> pairs = {{{'&', "&amp;"}, {'<', "&lt;"}}};
  EXPECT_EQ(replace_each("a<b & c>", pairs), "a&lt;b &amp; c>");
  EXPECT_EQ(replace_each("&lt;", pairs), "&amp;lt;");
  EXPECT_EQ(replace_each("", pairs), "");
}
