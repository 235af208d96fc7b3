#include "base/error.hpp"

#include <gtest/gtest.h>

using kiln::base::Error;
using kiln::base::Errors;
using kiln::base::Exit;
using kiln::base::Where;

TEST(Error, PutsPlaceMessageAndHintOnOneLine) {
  const Error error = Error("no state tree at 'salt/'", Exit::usage)
                          .at({"profiles/dev.yml", 14, 5})
                          .hint("set 'tree:' to its path");
  EXPECT_STREQ(error.what(), "profiles/dev.yml:14:5: no state tree at 'salt/'; set 'tree:' to its path");
  EXPECT_EQ(error.exit(), Exit::usage);
}

TEST(Error, ShowsDetailIndentedAndTheTrailInnermostFirst) {
  Error error("qemu-img failed");
  error.detail("one\ntwo\n").during("converting the disk").during("step export_qcow2");
  EXPECT_STREQ(error.what(),
               "qemu-img failed\n    one\n    two\nwhile converting the disk\nwhile step export_qcow2");
}

TEST(Error, NamesOnlyWhatOfThePlaceIsKnown) {
  EXPECT_EQ(Where{}.text(), "");
  EXPECT_EQ((Where{"a.yml", 0, 0}).text(), "a.yml");
  EXPECT_EQ((Where{"a.yml", 3, 0}).text(), "a.yml:3");
  EXPECT_EQ((Where{"a.yml", 3, 9}).text(), "a.yml:3:9");
}

TEST(Errors, ListsAllMistakesOneALineWithTheExitStatusOfTheFirst) {
  const Errors errors({Error("first", Exit::usage).at({"a.yml", 1, 1}), Error("second", Exit::failed)});
  EXPECT_STREQ(errors.what(), "a.yml:1:1: first\nsecond");
  EXPECT_EQ(errors.exit(), Exit::usage);
  EXPECT_EQ(errors.all().size(), 2U);
}
