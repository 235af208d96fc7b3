#include "host/tree.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

using namespace kiln;
using testing::HasSubstr;

namespace {

std::string text_of(const fakes::TempTree& tree) {
  return host::tree_text(host::walk(tree.path()));
}

std::string error_of(const std::function<void()>& deed) {
  try {
    deed();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST(Tree, ListsPathsSortedByTheirBytesWithTheirDigests) {
  fakes::TempTree tree({{"b", "bee"}, {"a/z", ""}, {"a.txt", "dot", 0755}, {"empty/"}});
  tree.link("link", "a/z");
  EXPECT_EQ(text_of(tree), "dir \"a\"\nfile 0755 " + base::sha256("dot") + " \"a.txt\"\nfile 0644 " +
                               base::sha256("") + " \"a/z\"\nfile 0644 " + base::sha256("bee") +
                               " \"b\"\ndir \"empty\"\nlink \"a/z\" \"link\"\n");
}

TEST(Tree, DoesNotCareAboutModesButTheExecuteBit) {
  fakes::TempTree tree({{"folder/file", "x", 0644}});
  const std::string before = text_of(tree);
  ::chmod((tree / "folder/file").c_str(), 0600);
  ::chmod((tree / "folder").c_str(), 0700);
  EXPECT_EQ(text_of(tree), before);
  ::chmod((tree / "folder/file").c_str(), 0700);
  EXPECT_NE(text_of(tree), before);
}

TEST(Tree, SeesEveryOtherEdit) {
  fakes::TempTree tree({{"folder/file", "x"}});
  tree.link("link", "folder");
  const std::string before = text_of(tree);
  tree.file("folder/file", "y");
  EXPECT_NE(text_of(tree), before) << "content of the same size";
  tree.file("folder/file", "x");
  EXPECT_EQ(text_of(tree), before);
  ::unlink((tree / "link").c_str());
  tree.link("link", "folder/");
  EXPECT_NE(text_of(tree), before) << "target";
  ::unlink((tree / "link").c_str());
  tree.link("link", "folder");
  tree.folder("folder/new");
  EXPECT_NE(text_of(tree), before) << "an empty directory";
}

TEST(Tree, CannotBeTakenInByAName) {
  // Two trees whose lines would be the same if names were written as they are.
  fakes::TempTree one;
  one.link("b\" \"c", "a");
  fakes::TempTree other;
  other.link("c", "a\" \"b");
  EXPECT_NE(text_of(one), text_of(other));
}

TEST(Tree, LeavesOutVersionControlAndDroppingsOfEditors) {
  fakes::TempTree tree({{"file", "x"}});
  const std::string before = text_of(tree);
  tree.file(".git/HEAD", "ref");
  tree.file("file~", "old");
  tree.file(".file.swp", "open");
  EXPECT_EQ(text_of(tree), before);
  tree.file(".gitignore", "kept");
  EXPECT_NE(text_of(tree), before);
}

TEST(Tree, TakesASingleFileForATree) {
  const fakes::TempTree tree({{"file", "x", 0755}});
  const auto nodes = host::walk(tree / "file");
  ASSERT_EQ(nodes.size(), 1U);
  EXPECT_EQ(nodes[0].path, "");
  EXPECT_TRUE(nodes[0].executable);
  EXPECT_EQ(nodes[0].size, 1U);
  host::snapshot(tree / "file", nodes, tree / "copy");
  EXPECT_EQ(host::read_file(tree / "copy"), "x");
}

TEST(Tree, RefusesWhatIsNoInput) {
  fakes::TempTree fifo;
  ASSERT_EQ(::mkfifo((fifo / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(error_of([&] { host::walk(fifo.path()); }),
              HasSubstr("'" + (fifo / "pipe").string() + "' is a device, socket or fifo"));
  fakes::TempTree newline({{"a\nb", "x"}});
  EXPECT_THAT(error_of([&] { host::walk(newline.path()); }), HasSubstr("has a newline"));
  EXPECT_THAT(error_of([&] { host::walk("/nonexistent/tree"); }), HasSubstr("'/nonexistent/tree'"));
}

TEST(Tree, SnapshotsWhatWasDigested) {
  fakes::TempTree tree({{"folder/file", "x", 0600}, {"folder/tool", "t", 0700}, {"empty/"}});
  tree.link("link", "/anywhere");
  const auto nodes = host::walk(tree.path());
  tree.file("added later", "not of the key");
  const fakes::TempTree to;
  host::snapshot(tree.path(), nodes, to / "copy");
  EXPECT_EQ(host::tree_text(host::walk(to / "copy")), host::tree_text(nodes));
  struct stat status{};
  ASSERT_EQ(::stat((to / "copy/folder/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0644U);
}

TEST(Tree, NoticesAnEditBetweenDigestAndSnapshot) {
  fakes::TempTree tree({{"file", "x"}});
  const auto nodes = host::walk(tree.path());
  tree.file("file", "y");
  const fakes::TempTree to;
  const std::string file = (tree / "file").string();
  EXPECT_THAT(error_of([&] { host::snapshot(tree.path(), nodes, to / "one"); }),
              HasSubstr("'" + file + "' changed after it was read for the key"));
  ::unlink(file.c_str());
  EXPECT_THAT(error_of([&] { host::snapshot(tree.path(), nodes, to / "two"); }), HasSubstr("changed after"));
  tree.link("file", "/etc/passwd");
  EXPECT_THAT(error_of([&] { host::snapshot(tree.path(), nodes, to / "three"); }),
              HasSubstr("changed after"));
}
