// What can be tested of a mounted layer without mounting: its files, in a folder that plays the layer.
#include "image/mount.hpp"

#include <csignal>
#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "image/disk.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class MountedFiles : public ::testing::Test {
 protected:
  // `outside` is beside the layer: nothing may read or change it.
  MountedFiles()
      : tree_({{"outside/secret", "of the host"},
               {"layer/etc/passwd", "root:x:0:0::/root:/bin/sh\n"},
               {"layer/usr/lib/"},
               {"layer/var/empty/"}}),
        folder_(Mount::folder(tree_ / "layer")),
        files_(mounted_files(*folder_)) {}
  Attributes mine(unsigned mode) const {
    return {mode, static_cast<int>(::getuid()), static_cast<int>(::getgid())};
  }
  std::string owner() const { return std::to_string(::getuid()); }
  std::string group() const { return std::to_string(::getgid()); }
  host::Member member(const std::string& path, char kind, const std::string& content) const {
    host::Member one;
    one.path = path;
    one.kind = kind;
    one.mode = kind == 'd' ? 0750 : 0640;
    one.owner = owner();
    one.group = group();
    one.mtime = 1600000000;
    (kind == 'l' ? one.target : one.content) = content;
    return one;
  }
  unsigned mode_of(const std::string& path) const {
    struct stat status{};
    ::lstat((tree_ / ("layer" + path)).c_str(), &status);
    return status.st_mode & 07777U;
  }

  fakes::TempTree tree_;
  std::unique_ptr<Mount> folder_;
  std::unique_ptr<Files> files_;
};

TEST_F(MountedFiles, an_absolute_link_is_resolved_in_the_layer) {
  tree_.link("layer/etc/link", (tree_ / "outside/secret").string());
  tree_.link("layer/etc/root", "/etc/passwd");
  EXPECT_THROW(files_->read("/etc/link"), base::Error);
  EXPECT_THAT(files_->read("/etc/root"), HasSubstr("root:x:0"));
}

TEST_F(MountedFiles, dots_and_links_on_the_way_do_not_lead_out) {
  tree_.link("layer/up", "../outside");
  EXPECT_THROW(files_->read("/up/secret"), base::Error);
  EXPECT_THROW(files_->read("/../outside/secret"), base::Error);
  EXPECT_FALSE(files_->find("/up/secret").has_value());
  EXPECT_THROW(files_->write("/up/new", "x", mine(0644)), base::Error);
  files_->remove("/up/secret");
  EXPECT_EQ(host::read_file(tree_ / "outside/secret"), "of the host");
}

TEST_F(MountedFiles, writing_replaces_a_link_and_not_what_it_leads_to) {
  tree_.link("layer/etc/link", "passwd");
  files_->write("/etc/link", "new", mine(0600));
  EXPECT_EQ(files_->find("/etc/link")->kind, 'f');
  EXPECT_EQ(files_->find("/etc/link")->mode, 0600U);
  EXPECT_THAT(files_->read("/etc/passwd"), HasSubstr("root:x:0"));
}

TEST_F(MountedFiles, writing_needs_the_parent_and_leaves_nothing_when_it_fails) {
  EXPECT_THROW(files_->write("/none/file", "x", mine(0644)), base::Error);
  EXPECT_THROW(files_->write("/usr", "x", mine(0644)), base::Error);
  EXPECT_THAT(files_->list("/"), ElementsAre("etc", "usr", "var"));
}

TEST_F(MountedFiles, tells_kind_mode_size_and_target) {
  tree_.link("layer/etc/link", "nowhere");
  ::mkfifo((tree_ / "layer/etc/fifo").c_str(), 0600);
  EXPECT_EQ(files_->find("/etc")->kind, 'd');
  EXPECT_EQ(files_->find("/")->kind, 'd');
  EXPECT_EQ(files_->find("/etc/link")->kind, 'l');
  EXPECT_EQ(files_->find("/etc/link")->target, "nowhere");
  EXPECT_EQ(files_->find("/etc/passwd")->size, 26U);
  EXPECT_EQ(files_->find("/etc/fifo")->kind, '?');
  EXPECT_FALSE(files_->find("/etc/passwd/below").has_value());
  EXPECT_FALSE(files_->find("/none/at/all").has_value());
  EXPECT_THROW(files_->read("/etc/fifo"), base::Error);
}

TEST_F(MountedFiles, measures_what_a_directory_takes_and_follows_no_link) {
  files_->write("/usr/lib/big", std::string(1U << 20U, 'x'), mine(0600));
  files_->write("/var/small", "x", mine(0600));
  const auto before = files_->used("/usr");
  EXPECT_GE(before, 1U << 20U);
  EXPECT_GE(files_->used("/"), before + files_->used("/var"));
  tree_.link("layer/var/empty/up", "../../usr");
  EXPECT_LT(files_->used("/var"), 1U << 19U);
  fs::create_hard_link(tree_ / "layer/usr/lib/big", tree_ / "layer/usr/again");
  EXPECT_EQ(files_->used("/usr"), before) << "a file of two names is one";
  EXPECT_THROW(files_->used("/none"), base::Error);
}

TEST_F(MountedFiles, makes_directories_and_sets_those_that_are_there) {
  files_->make_directory("/etc/new", mine(0700));
  EXPECT_EQ(mode_of("/etc/new"), 0700U);
  files_->make_directory("/etc/new", mine(0751));
  EXPECT_EQ(mode_of("/etc/new"), 0751U);
  EXPECT_THROW(files_->make_directory("/etc/passwd", mine(0755)), base::Error);
  EXPECT_THROW(files_->make_directory("/none/new", mine(0755)), base::Error);
}

TEST_F(MountedFiles, links_replace_links_and_files_but_no_directory) {
  files_->link("/etc/one", "a");
  files_->link("/etc/one", "b");
  EXPECT_EQ(files_->find("/etc/one")->target, "b");
  files_->write("/etc/file", "x", mine(0644));
  files_->link("/etc/file", "c");
  EXPECT_EQ(files_->find("/etc/file")->target, "c");
  EXPECT_THROW(files_->link("/usr", "d"), base::Error);
}

TEST_F(MountedFiles, removes_with_all_below_but_not_what_a_link_leads_to) {
  tree_.file("layer/opt/a/b/c", "x");
  tree_.link("layer/opt/a/out", (tree_ / "outside").string());
  tree_.link("layer/opt/a/etc", "/etc");
  files_->remove("/opt/a");
  EXPECT_FALSE(files_->find("/opt/a").has_value());
  EXPECT_TRUE(files_->find("/opt").has_value());
  EXPECT_TRUE(files_->find("/etc/passwd").has_value());
  EXPECT_EQ(host::read_file(tree_ / "outside/secret"), "of the host");
  EXPECT_NO_THROW(files_->remove("/opt/a"));
  EXPECT_NO_THROW(files_->remove("/not/there"));
}

TEST_F(MountedFiles, setting_a_links_attributes_leaves_what_it_leads_to) {
  tree_.link("layer/etc/link", "passwd");
  const unsigned before = mode_of("/etc/passwd");
  files_->set_attributes("/etc/link", mine(0777));
  EXPECT_EQ(mode_of("/etc/passwd"), before);
  files_->set_attributes("/etc/passwd", mine(0600));
  EXPECT_EQ(mode_of("/etc/passwd"), 0600U);
  EXPECT_THROW(files_->set_attributes("/none", mine(0600)), base::Error);
}

TEST_F(MountedFiles, unpacks_modes_links_and_times_and_keeps_links_to_directories) {
  tree_.link("layer/lib", "usr/lib");
  const auto tar = tree_ / "x.tar";
  host::write_archive(
      tar, host::Format::tar,
      {member("lib", 'd', ""), member("lib/mod", 'd', ""), member("lib/mod/file", 'f', "content"),
       member("lib/mod/link", 'l', "/etc/passwd"), member("var/empty", 'f', "now a file")});
  files_->unpack(tar, "/");
  EXPECT_EQ(files_->find("/lib")->kind, 'l');
  EXPECT_EQ(files_->read("/usr/lib/mod/file"), "content");
  EXPECT_EQ(mode_of("/usr/lib/mod"), 0750U);
  EXPECT_EQ(mode_of("/usr/lib/mod/file"), 0640U);
  EXPECT_EQ(files_->find("/usr/lib/mod/link")->target, "/etc/passwd");
  EXPECT_EQ(files_->read("/var/empty"), "now a file");
  for (const std::string path : {"layer/usr/lib/mod", "layer/usr/lib/mod/file"}) {
    struct stat status{};
    ASSERT_EQ(::stat((tree_ / path).c_str(), &status), 0);
    EXPECT_EQ(status.st_mtime, 1600000000) << path;
  }
}

TEST_F(MountedFiles, unpacks_below_a_directory_and_asks_the_image_for_names) {
  tree_.file("layer/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:" + owner() + ":1::/home/app:/bin/sh\n");
  tree_.file("layer/etc/group", "root:x:0:\napp:x:" + group() + ":\n");
  host::Member one = member("file", 'f', "x");
  one.owner = "app";
  one.group = "app";
  const auto tar = tree_ / "x.tar";
  host::write_archive(tar, host::Format::tar, {one});
  files_->unpack(tar, "/usr/lib");
  EXPECT_EQ(files_->find("/usr/lib/file")->uid, static_cast<int>(::getuid()));
  one.owner = "stranger";
  host::write_archive(tar, host::Format::tar, {one});
  try {
    files_->unpack(tar, "/");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("'stranger', whom /etc/passwd of the image does not know"));
  }
}

TEST_F(MountedFiles, an_owner_that_is_no_id_is_an_error) {
  const auto tar = tree_ / "x.tar";
  const auto refusal = [&](const host::Member& one) -> std::string {
    host::write_archive(tar, host::Format::tar, {one});
    try {
      files_->unpack(tar, "/");
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  };
  host::Member one = member("file", 'f', "x");
  one.owner = "99999999999999999999";
  EXPECT_THAT(refusal(one), HasSubstr("owner '99999999999999999999', which is no id of a user or group"));
  tree_.file("layer/etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:4294967296:1::/home/app:/bin/sh\n");
  one.owner = "app";
  EXPECT_THAT(refusal(one), HasSubstr("/etc/passwd of the image has the owner '4294967296'"));
}

TEST_F(MountedFiles, copies_out_what_a_link_in_the_layer_leads_to) {
  tree_.link("layer/vmlinuz", "/etc/passwd");
  files_->copy_out("/vmlinuz", tree_ / "out");
  EXPECT_THAT(host::read_file(tree_ / "out"), HasSubstr("root:x:0"));
}

// A real layer, mounted: for root, where FUSE and loop devices can be had.
class MountedLayer : public ::testing::Test {
 protected:
  MountedLayer() : host_(host::Host::system()) {}
  void SetUp() override {
    if (!host_.root) GTEST_SKIP() << "skip: mounting needs root";
    if (!fs::exists("/dev/fuse") || !fs::exists("/dev/loop-control"))
      GTEST_SKIP() << "skip: there is no /dev/fuse or /dev/loop-control";
    host::private_mounts();
  }
  // A qcow2 of 256 MiB that holds one ext4, no partitions.
  fs::path layer(const fs::path& folder) {
    const fs::path raw = tree_ / "raw";
    fs::remove(raw);
    host::require(*host_.runner, {"truncate", "--size=256M", raw.string()});
    host::require(*host_.runner, {"mke2fs", "-q", "-t", "ext4", "-L", "cloudimg-rootfs", raw.string()});
    host::require(*host_.runner,
                  {"qemu-img", "convert", "-O", "qcow2", raw.string(), (folder / "layer").string()});
    fs::remove(raw);
    return folder / "layer";
  }
  static std::string error_of(const std::function<void()>& deed) {
    try {
      deed();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  // The test's child with this word in its command line.
  static int child_with(const std::string& word) {
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      try {
        if (host::read_file(entry.path() / "comm").starts_with("qemu-storage-d") &&
            host::read_file(entry.path() / "cmdline").find(word) != std::string::npos)
          return std::stoi(name);
      } catch (const base::Error&) {
        continue;  // it has just ended
      }
    }
    return 0;
  }

  host::Host host_;
  fakes::TempTree tree_;
};

TEST_F(MountedLayer, what_was_written_is_in_the_image_when_close_returns) {
  const auto image = layer(tree_.path());
  const std::string content(8U << 20U, 'x');
  auto mount = Mount::open(host_, image, tree_ / "scratch", false);
  mounted_files(*mount)->write("/file", content, {});
  mount->close();
  EXPECT_TRUE(fs::is_empty(mount->root()));
  mount.reset();
  check_image(host_, image);
  mount = Mount::open(host_, image, tree_ / "scratch", true);
  EXPECT_EQ(mounted_files(*mount)->read("/file"), content);
  EXPECT_NO_THROW(mount->close());
}

TEST_F(MountedLayer, a_full_file_system_of_the_host_is_named_at_the_end) {
  const fs::path small = tree_.folder("small");
  ASSERT_EQ(::mount("small", small.c_str(), "tmpfs", 0, "size=24m"), 0);
  const auto image = layer(small);
  auto mount = Mount::open(host_, image, tree_ / "scratch", false);
  const std::string written = error_of([&] {
    // Less than the page cache holds: writing itself tells of nothing.
    mounted_files(*mount)->write("/file", std::string(64U << 20U, 'x'), {});
  });
  const std::string closed = error_of([&] { mount->close(); });
  EXPECT_TRUE(fs::is_empty(mount->root()));
  mount.reset();
  ::umount2(small.c_str(), MNT_DETACH);
  EXPECT_THAT(closed, HasSubstr("the host's file system that holds '" + image.string() + "' is full"))
      << written;
}

TEST_F(MountedLayer, what_cannot_be_mounted_leaves_no_mount) {
  const auto raw = tree_ / "disk.raw";
  const fs::path scratch = tree_ / "scratch";
  // No file system at all, and one that is but a magic number.
  for (const std::size_t magic : {0U, 1080U}) {
    std::string content(8U << 20U, '\0');
    if (magic != 0) content.replace(magic, 2, "\x53\xEF");
    host::write_file(raw, content);
    EXPECT_THAT(error_of([&] { Mount::open(host_, raw, scratch, false); }), HasSubstr("root file system"));
    struct stat status{};
    ASSERT_EQ(::lstat((scratch / "disk").c_str(), &status), 0);
    struct stat folder{};
    ASSERT_EQ(::lstat(scratch.c_str(), &folder), 0);
    EXPECT_EQ(status.st_dev, folder.st_dev);
    EXPECT_EQ(child_with(raw.string()), 0);
    fs::remove_all(scratch);
  }
}

TEST_F(MountedLayer, a_daemon_that_dies_is_told) {
  const auto image = layer(tree_.path());
  auto mount = Mount::open(host_, image, tree_ / "scratch", false);
  mounted_files(*mount)->write("/file", "x", {});
  const int daemon = child_with(image.string());
  ASSERT_GT(daemon, 0);
  ::kill(daemon, SIGKILL);
  EXPECT_THAT(error_of([&] { mount->close(); }), HasSubstr("qemu-storage-daemon failed: killed by signal 9"));
  EXPECT_TRUE(fs::is_empty(mount->root()));
}

}  // namespace
}  // namespace kiln::image
