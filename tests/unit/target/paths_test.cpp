#include "target/paths.hpp"

#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::target {
namespace {

using Strings = std::vector<std::string>;

TEST(Paths, PatternsMatchPartByPart) {
  EXPECT_TRUE(matches("etc/sudoers.d/*", "etc/sudoers.d/app"));
  EXPECT_FALSE(matches("etc/sudoers.d/*", "etc/sudoers.d/sub/app"));
  EXPECT_FALSE(matches("etc/*", "etc"));
  EXPECT_TRUE(matches("home/app/**", "home/app"));
  EXPECT_TRUE(matches("home/app/**", "home/app/a/b/c"));
  EXPECT_TRUE(matches("**/*.key", "a/b/x.key"));
  EXPECT_TRUE(matches("**/*.key", "x.key"));
  EXPECT_TRUE(matches("/etc/a?c", "etc/abc"));
  EXPECT_FALSE(matches("etc/a?c", "etc/ac"));
  EXPECT_TRUE(matches("*a*b*", "xxaxxbxx"));
  EXPECT_FALSE(matches("*a*b", "ab-"));
}

TEST(Paths, ExpandFindsWhatIsThereAndDoesNotWanderThroughLinks) {
  tests::FakeFiles files;
  files.add("/home/a/.history").add("/home/b/.history").add("/home/b/other").add("/secret/.history");
  files.add_link("/home/c", "/secret");
  EXPECT_EQ(expand(files, "/home/*/.history"), (Strings{"/home/a/.history", "/home/b/.history"}));
  EXPECT_EQ(expand(files, "/home/b/other"), (Strings{"/home/b/other"}));
  EXPECT_EQ(expand(files, "/home/c/.history"), (Strings{"/home/c/.history"}));  // named outright
  EXPECT_EQ(expand(files, "/home/x"), Strings{});
  EXPECT_EQ(expand(files, "/none/*"), Strings{});
  EXPECT_EQ(expand(files, "/home/b/other/*"), Strings{});
}

TEST(Paths, ResolveFollowsLinksInsideTheImageOnly) {
  tests::FakeFiles files;
  files.add("/usr/lib/x").add_folder("/run");
  files.add_link("/lib", "usr/lib").add_link("/var/run", "/run").add_link("/up", "../../../../etc");
  EXPECT_EQ(resolve(files, "/lib/x"), "/usr/lib/x");
  EXPECT_EQ(resolve(files, "/var/run/new/file"), "/run/new/file");
  EXPECT_EQ(resolve(files, "/up/passwd"), "/etc/passwd");
  EXPECT_EQ(resolve(files, "/../../etc"), "/etc");
  EXPECT_EQ(resolve(files, "/"), "/");
  files.add_link("/a", "/b").add_link("/b", "/a");
  EXPECT_NE(tests::error_of([&] { resolve(files, "/a/x"); }).find("circle"), std::string::npos);
}

TEST(Paths, Parents) {
  EXPECT_EQ(parent("/etc/ssh/key"), "/etc/ssh");
  EXPECT_EQ(parent("/etc"), "/");
  EXPECT_EQ(join_path("/", "etc"), "/etc");
  EXPECT_EQ(join_path("/etc", "ssh"), "/etc/ssh");
}

}  // namespace
}  // namespace kiln::target
