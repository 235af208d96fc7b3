#include "target/url.hpp"

#include <gtest/gtest.h>

namespace kiln::target {
namespace {

TEST(Url, ALoginStandsBeforeTheHost) {
  EXPECT_TRUE(has_login("https://me:secret@example.org/x.img"));
  EXPECT_TRUE(has_login("http://me@example.org"));
  EXPECT_FALSE(has_login("https://example.org/a@b"));
  EXPECT_FALSE(has_login("https://example.org?who=me@home"));
  EXPECT_FALSE(has_login("file:///srv/a@b.img"));
  EXPECT_FALSE(has_login("me@example.org"));
}

}  // namespace
}  // namespace kiln::target
