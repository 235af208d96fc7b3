#include "host/layer.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

class LayerTest : public testing::Test {
 protected:
  void put(const std::string& path, const std::string& content, unsigned mode = 0644) {
    fs::create_directories((tree / path).parent_path());
    host::write_file(tree / path, content, mode);
  }
  // "d usr", "f usr/x", in the order of the tar.
  std::vector<std::string> layer(const std::map<std::string, host::TreeEntry>& below) {
    std::vector<std::string> lines;
    if (!host::write_layer(world, tree, below, tar)) return {"nothing"};
    host::read_archive(tar, [&](const host::Member& member, const host::Content&) {
      lines.push_back(std::string(1, member.kind) + " " + member.path);
      EXPECT_EQ(member.mtime, host::layer_time) << member.path;
    });
    return lines;
  }

  host::Host world = host::Host::system();
  host::TempDir folder;
  fs::path tree = folder.path() / "tree";
  fs::path tar = folder.path() / "layer.tar";

  void SetUp() override { fs::create_directory(tree); }
};

using Lines = std::vector<std::string>;

TEST_F(LayerTest, OnNothingItHasTheWholeTree) {
  put("usr/bin/tool", "x", 0755);
  fs::create_symlink("bin/tool", tree / "usr/tool");
  fs::create_hard_link(tree / "usr/bin/tool", tree / "usr/bin/twin");
  EXPECT_EQ(layer({}), (Lines{"d usr", "d usr/bin", "f usr/bin/tool", "h usr/bin/twin", "l usr/tool"}));
}

TEST_F(LayerTest, OnAnotherTreeItHasWhatDiffersAndTheFoldersOnTheWay) {
  put("usr/bin/old", "x");
  put("usr/lib/same", "x");
  put("usr/lib/mode", "x");
  put("etc/text", "x");
  const auto below = host::scan_tree(tree);
  put("usr/bin/new", "x");
  put("etc/text", "y");
  fs::permissions(tree / "usr/lib/mode", fs::perms::owner_all);
  EXPECT_EQ(layer(below), (Lines{"d etc", "f etc/text", "d usr", "d usr/bin", "f usr/bin/new", "d usr/lib",
                                 "f usr/lib/mode"}));
}

TEST_F(LayerTest, WhatIsGoneIsMarkedOnceAndTheTreeKeepsNoMark) {
  put("usr/share/doc/a/b", "x");
  put("usr/share/x", "x");
  const auto below = host::scan_tree(tree);
  fs::remove_all(tree / "usr/share/doc");
  EXPECT_EQ(layer(below), (Lines{"d usr", "d usr/share", "f usr/share/.wh.doc"}));
  EXPECT_FALSE(fs::exists(tree / "usr/share/.wh.doc"));
  const host::Whiteouts gone = host::read_layer(tar);
  EXPECT_EQ(gone.removed, std::set<std::string>{"usr/share/doc"});
  EXPECT_EQ(gone.marks, std::set<std::string>{"usr/share/.wh.doc"});
}

TEST_F(LayerTest, AFolderInThePlaceOfAFileIsNoMark) {
  put("etc/x", "x");
  const auto below = host::scan_tree(tree);
  fs::remove(tree / "etc/x");
  put("etc/x/y", "x");
  EXPECT_EQ(layer(below), (Lines{"d etc", "d etc/x", "f etc/x/y"}));
}

TEST_F(LayerTest, NothingNewIsNoLayer) {
  put("etc/x", "x");
  EXPECT_EQ(layer(host::scan_tree(tree)), Lines{"nothing"});
}

TEST_F(LayerTest, TheSameTreeGivesTheSameBytesAtAnyTime) {
  put("b/x", "x");
  put("a", "y");
  host::write_layer(world, tree, {}, tar);
  const std::string first = base::sha256_file(tar);
  host::remove_tree(tree);
  fs::create_directory(tree);
  put("a", "y");
  put("b/x", "x");
  fs::last_write_time(tree / "a", fs::file_time_type::clock::now() - std::chrono::hours(5));
  host::write_layer(world, tree, {}, tar);
  EXPECT_EQ(base::sha256_file(tar), first);
}

TEST_F(LayerTest, AFolderThatIsEmptiedFirstIsKnown) {
  put("opt/.wh..wh..opq", "");
  put("opt/x", "x");
  host::write_layer(world, tree, {}, tar);
  EXPECT_EQ(host::read_layer(tar).emptied, std::set<std::string>{"opt"});
}

TEST_F(LayerTest, AMarkThatNamesNoFileIsRefused) {
  for (const char* name : {".wh.", ".wh..", ".wh..."}) {
    host::Member member;
    member.path = "etc/" + std::string(name);
    host::write_archive(tar, host::Format::tar, {member});
    EXPECT_THROW(host::read_layer(tar), base::Error) << name;
  }
}

TEST_F(LayerTest, DevicesAndPathsThatLeadOutAreRefused) {
  ASSERT_EQ(::mkfifo((tree / "pipe").c_str(), 0600), 0);
  const host::Command command{"tar", "-cf", tar.string(), "-C", tree.string(), "pipe"};
  host::require(*world.runner, command);
  EXPECT_THROW(host::read_layer(tar), base::Error);
  const host::Command out{"tar", "-cPf", tar.string(), "--transform=s,^,../,", "-C", tree.string(), "."};
  host::require(*world.runner, out);
  EXPECT_THROW(host::read_layer(tar), base::Error);
}

}  // namespace
}  // namespace kiln::tests
