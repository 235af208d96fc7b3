#include "host/temp_dir.hpp"

#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

using namespace kiln;
namespace fs = std::filesystem;

TEST(TempDir, GoesAwayWithAllThatIsInIt) {
  const fakes::TempTree outside({{"kept", "x"}});
  fs::path path;
  {
    const host::TempDir dir;
    path = dir.path();
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0700U);
    fs::create_directories(path / "a/b/c");
    std::ofstream(path / "a/b/c/file") << "x";
    fs::create_directory_symlink(outside.path(), path / "a/link");
    ::chmod((path / "a/b").c_str(), 0);
  }
  EXPECT_FALSE(fs::exists(path));
  EXPECT_TRUE(fs::exists(outside / "kept")) << "removed through a link";
}

TEST(TempDir, BelongsToOneOwnerAtATime) {
  fs::path path;
  {
    host::TempDir first;
    path = first.path();
    const host::TempDir second(std::move(first));
    EXPECT_EQ(second.path(), path);
    EXPECT_TRUE(fs::exists(path));
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(TempDir, NamesTheParentThatIsNotThere) {
  try {
    const host::TempDir dir("/nonexistent/parent");
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_NE(std::string(error.what()).find("/nonexistent/parent"), std::string::npos);
  }
}

TEST(RemoveTree, FollowsNoLinkAndTakesAFileAsWell) {
  const fakes::TempTree tree({{"victim/file", "stays"}, {"tree/a/b/c", "x"}, {"file", "x"}});
  fs::create_directory_symlink(tree / "victim", tree / "tree/a/link");
  fs::create_directory_symlink(tree / "victim", tree / "link");
  ::chmod((tree / "tree/a/b").c_str(), 0);
  ::chmod((tree / "tree").c_str(), 0);
  for (const char* name : {"tree", "file", "link", "none"}) {
    host::remove_tree(tree / name);
    EXPECT_FALSE(fs::exists(fs::symlink_status(tree / name))) << name;
  }
  EXPECT_TRUE(fs::exists(tree / "victim/file"));
}
