#include "base/digest.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

using namespace kiln::base;

namespace {
constexpr auto digest_of_abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
}

TEST(Digest, AgreesWithThePublishedVector) {
  EXPECT_EQ(sha256("abc"), digest_of_abc);
  Sha256 in_pieces;
  in_pieces.add("a");
  in_pieces.add("");
  in_pieces.add("bc");
  EXPECT_EQ(in_pieces.hex(), digest_of_abc);
}

TEST(Digest, ReadsAFileToItsEnd) {
  const kiln::fakes::TempTree tree({{"abc", "abc"}, {"big", std::string(3'000'001, 'x')}});
  EXPECT_EQ(sha256_file(tree / "abc"), digest_of_abc);
  EXPECT_EQ(sha256_file(tree / "big"), sha256(std::string(3'000'001, 'x')));
}

TEST(Digest, NamesTheFileThatCannotBeRead) {
  try {
    sha256_file("/nonexistent/file");
    FAIL() << "read a file that is not there";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "cannot read '/nonexistent/file': No such file or directory");
  }
}

TEST(Digest, KnowsWhatADigestLooksLike) {
  EXPECT_TRUE(is_sha256(digest_of_abc));
  EXPECT_FALSE(is_sha256("abc"));
  EXPECT_FALSE(is_sha256(std::string(64, 'A')));
}

TEST(Digest, GivesAnotherRandomNameEachTime) {
  EXPECT_EQ(random_hex(16).size(), 32U);
  EXPECT_NE(random_hex(16), random_hex(16));
  EXPECT_EQ(random_hex(0), "");
}
