#include "image/disk.hpp"

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <thread>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
constexpr std::uint64_t mib = 1ULL << 20U;
constexpr std::uint64_t gib = 1ULL << 30U;

// A superblock as ext4 has it: magic and label.
std::string ext4(const std::string& label) {
  std::string super(2048, '\0');
  super[1024 + 56] = '\x53';
  super[1024 + 57] = '\xEF';
  super.replace(1024 + 120, label.size(), label);
  return super;
}

// What sfdisk --json prints for a cloud image.
std::string table_of(const std::string& disk) {
  return R"({"partitiontable":{"label":"gpt","id":"A6B1FC61-122C-4BFF-8CE8-0993408CC307","device":")" + disk +
         R"(","unit":"sectors","firstlba":2048,"lastlba":3276766,"sectorsize":512,"partitions":[
 {"node":")" +
         disk + R"(1","start":16,"size":8,"type":"0FC63DAF-8483-4772-8E79-3D69D8477DE4"},
 {"node":")" +
         disk + R"(14","start":2,"size":2,"type":"21686148-6449-6E6F-744E-656564454649"},
 {"node":")" +
         disk + R"(15","start":4,"size":8,"type":"C12A7328-F81F-11D2-BA4B-00A0C93EC93B"}]}})";
}

TEST(Disk, tells_the_format_by_the_first_bytes_and_names_it_to_qemu_img) {
  fakes::TempTree tree({{"a", std::string("QFI\xfb") + std::string(600, 'x')}, {"b", "a raw disk"}});
  fakes::World world;
  world.on({"qemu-img", "info"}, fakes::printed(R"({"virtual-size": 8589934592, "actual-size": 4096,
    "backing-filename": "../x/image.qcow2", "encrypted": true,
    "format-specific": {"type": "qcow2", "data": {"data-file": "content.raw"}}})"));
  const DiskInfo info = disk_info(world.host(), tree / "a");
  EXPECT_EQ(info.format, "qcow2");
  EXPECT_EQ(info.virtual_size, 8 * gib);
  EXPECT_EQ(info.actual_size, 4096U);
  EXPECT_EQ(info.backing, "../x/image.qcow2");
  EXPECT_EQ(info.data_file, "content.raw");
  EXPECT_TRUE(info.encrypted);
  EXPECT_EQ(disk_info(world.host(), tree / "b").format, "raw");
  EXPECT_THAT(world.lines()[0], HasSubstr("-f qcow2 "));
  EXPECT_THAT(world.lines()[1], HasSubstr("-f raw "));
}

TEST(Disk, knows_the_formats_it_refuses) {
  std::string vdi(0x44, 'x');
  vdi.replace(0x40, 4, "\x7f\x10\xda\xbe");
  fakes::TempTree tree({{"vmdk", "KDMV...."}, {"vhdx", "vhdxfile"}, {"luks", "LUKS\xba\xbe"}, {"vdi", vdi}});
  fakes::World world;
  world.on({"qemu-img", "info"}, fakes::printed("{}"));
  for (const char* name : {"vmdk", "vhdx", "luks", "vdi"})
    EXPECT_EQ(disk_info(world.host(), tree / name).format, name);
}

TEST(Disk, an_image_that_needs_another_file_is_refused) {
  const auto refusal = [](const DiskInfo& info) -> std::string {
    try {
      require_self_contained(info, "'/x.img'");
    } catch (const base::Error& error) {
      EXPECT_EQ(error.exit(), base::Exit::usage);
      EXPECT_THAT(error.hint_text(), HasSubstr("qemu-img convert"));
      return error.message();
    }
    return "";
  };
  DiskInfo info;
  info.format = "qcow2";
  EXPECT_EQ(refusal(info), "");
  info.encrypted = true;
  EXPECT_EQ(refusal(info), "'/x.img' is encrypted");
  info.data_file = "/dev/sda";
  EXPECT_EQ(refusal(info), "'/x.img' needs an external data file ('/dev/sda')");
  info.backing = "/etc/shadow";
  EXPECT_EQ(refusal(info), "'/x.img' needs a backing file ('/etc/shadow')");
  info = {};
  info.format = "raw";
  EXPECT_EQ(refusal(info), "");
  info.format = "vmdk";
  EXPECT_EQ(refusal(info), "'/x.img' is a vmdk image: kiln reads qcow2 and raw");
}

TEST(Disk, says_so_when_qemu_img_gives_no_json) {
  fakes::TempTree tree({{"a", "raw"}});
  fakes::World world;
  world.on({"qemu-img", "info"}, fakes::printed("file format: raw"));
  EXPECT_THROW(disk_info(world.host(), tree / "a"), base::Error);
}

TEST(Disk, an_overlay_with_a_size_does_not_look_at_its_backing_file) {
  fakes::World world;
  world.on({"qemu-img", "create"}, fakes::printed(""));
  make_overlay(world.host(), "/s/tmp/1/image.qcow2", "../../layers/7/image.qcow2", 8 * gib);
  make_overlay(world.host(), "/s/o.qcow2", "b.qcow2", 0);
  EXPECT_THAT(world.lines(),
              ElementsAre("qemu-img create -q -f qcow2 -F qcow2 -b ../../layers/7/image.qcow2 -u "
                          "/s/tmp/1/image.qcow2 8589934592",
                          "qemu-img create -q -f qcow2 -F qcow2 -b b.qcow2 /s/o.qcow2"));
}

TEST(Disk, converts_with_the_format_it_saw_and_compresses_with_zstd) {
  fakes::TempTree tree({{"a", "raw"}});
  fakes::World world;
  world.on({"qemu-img", "convert"}, fakes::printed(""));
  convert(world.host(), tree / "a", "/o", "qcow2", true);
  convert(world.host(), tree / "a", "/o", "raw", false);
  const std::string from = (tree / "a").string();
  EXPECT_THAT(
      world.lines(),
      ElementsAre("qemu-img convert -f raw -O qcow2 -W -m 16 -c -o compression_type=zstd " + from + " /o",
                  "qemu-img convert -f raw -O raw -W -m 16 " + from + " /o"));
}

TEST(Disk, an_error_in_an_image_is_told_a_leak_is_none_and_a_raw_one_is_not_asked) {
  fakes::TempTree tree({{"q", "QFI\xfb"}, {"r", "raw"}});
  fakes::World world;
  world.on({"qemu-img", "check"}, fakes::failed(2, "3 errors were found on the image."));
  EXPECT_THROW(check_image(world.host(), tree / "q"), base::Error);
  world.on({"qemu-img", "check"}, fakes::failed(3, "1 leaked clusters were found on the image."));
  EXPECT_NO_THROW(check_image(world.host(), tree / "q"));
  EXPECT_NO_THROW(check_image(world.host(), tree / "r"));
  EXPECT_EQ(world.commands().size(), 2U);
}

TEST(Disk, reads_a_partition_table_in_the_order_of_the_disk) {
  for (const std::string disk : {"/tmp/a/disk", "/tmp/a1/disk2p"}) {
    fakes::World world;
    world.on({"sfdisk", "--json"}, fakes::printed(table_of(disk)));
    const PartitionTable table = partitions(world.host(), disk);
    EXPECT_EQ(table.label, "gpt");
    EXPECT_THAT(table.partitions,
                ElementsAre(Partition{14, 1024, 1024, "21686148-6449-6E6F-744E-656564454649"},
                            Partition{15, 2048, 4096, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"},
                            Partition{1, 8192, 4096, "0FC63DAF-8483-4772-8E79-3D69D8477DE4"}));
  }
}

TEST(Disk, a_disk_without_a_table_has_no_partitions_but_a_failing_sfdisk_is_an_error) {
  fakes::World world;
  world.on({"sfdisk"}, fakes::failed(1, "sfdisk: /d: does not contain a recognized partition table\n"));
  EXPECT_TRUE(partitions(world.host(), "/d").label.empty());
  world.on({"sfdisk"}, fakes::failed(1, "sfdisk: cannot open /d: Permission denied\n"));
  EXPECT_THROW(partitions(world.host(), "/d"), base::Error);
}

TEST(Disk, knows_a_file_system_by_its_superblock) {
  std::string btrfs(0x10000 + 0x400, '\0');
  btrfs.replace(0x10040, 8, "_BHRfS_M");
  btrfs.replace(0x1012b, 4, "data");
  std::string xfs(2048, '\0');
  xfs.replace(0, 4, "XFSB");
  xfs.replace(108, 4, "root");
  fakes::TempTree tree({{"ext4", std::string(4096, '\0') + ext4("cloudimg-rootfs")},
                        {"btrfs", btrfs},
                        {"xfs", xfs},
                        {"none", std::string(4096, 'x')},
                        {"short", ext4("x").substr(0, 1100)}});
  const auto found = find_file_system(tree / "ext4", 4096, 1 * mib);
  ASSERT_TRUE(found.has_value());
  EXPECT_EQ(found->kind, "ext4");
  EXPECT_EQ(found->label, "cloudimg-rootfs");
  EXPECT_EQ(found->start, 4096U);
  EXPECT_EQ(found->size, 1 * mib);
  EXPECT_FALSE(find_file_system(tree / "ext4", 0, 1 * mib).has_value());
  EXPECT_EQ(find_file_system(tree / "btrfs", 0, 1 * mib)->label, "data");
  EXPECT_EQ(find_file_system(tree / "xfs", 0, 1 * mib)->label, "root");
  EXPECT_FALSE(find_file_system(tree / "none", 0, 1 * mib).has_value());
  EXPECT_FALSE(find_file_system(tree / "short", 0, 1 * mib).has_value());
}

// A disk whose three partitions hold what is given, at the places table_of() names.
std::filesystem::path disk_with(fakes::TempTree& tree, fakes::World& world, const std::string& p14,
                                const std::string& p15, const std::string& p1) {
  std::string content(12288, '\0');
  content.replace(1024, p14.size(), p14);
  content.replace(2048, p15.size(), p15);
  content.replace(8192, p1.size(), p1);
  const auto disk = tree.file("disk", content);
  world.on({"sfdisk", "--json"}, fakes::printed(table_of(disk.string())));
  return disk;
}

TEST(Disk, the_root_file_system_is_the_labelled_one) {
  fakes::TempTree tree;
  fakes::World world;
  const auto disk = disk_with(tree, world, "", ext4("boot"), ext4("cloudimg-rootfs"));
  const FileSystem root = root_file_system(world.host(), disk);
  EXPECT_EQ(root.partition, 1);
  EXPECT_EQ(root.start, 8192U);
}

TEST(Disk, the_root_file_system_may_be_the_only_linux_one) {
  fakes::TempTree tree;
  fakes::World world;
  const auto disk = disk_with(tree, world, "", "", ext4("any"));
  EXPECT_EQ(root_file_system(world.host(), disk).partition, 1);
}

TEST(Disk, two_unlabelled_file_systems_are_an_error_that_lists_them) {
  fakes::TempTree tree;
  fakes::World world;
  const auto disk = disk_with(tree, world, "", ext4("boot"), ext4("system"));
  try {
    root_file_system(world.host(), disk);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("cloudimg-rootfs"));
    EXPECT_THAT(error.detail_text(), HasSubstr("ext4 'boot'"));
    EXPECT_THAT(error.detail_text(), HasSubstr("ext4 'system'"));
  }
}

TEST(Disk, the_root_file_system_may_fill_a_disk_without_a_table) {
  fakes::TempTree tree({{"disk", ext4("cloudimg-rootfs")}});
  fakes::World world;
  world.on({"sfdisk"}, fakes::failed(1, "x: does not contain a recognized partition table"));
  const FileSystem root = root_file_system(world.host(), tree / "disk");
  EXPECT_EQ(root.partition, 0);
  EXPECT_EQ(root.start, 0U);
}

TEST(Disk, a_roomy_disk_has_a_quarter_more_and_at_least_half_a_gibibyte) {
  EXPECT_EQ(roomy_size(128 * mib, 1 * gib), 1728 * mib);   // 128 + 1024 + 512 + 1, in 64s
  EXPECT_EQ(roomy_size(128 * mib, 8 * gib), 10432 * mib);  // 128 + 8192 + 2048 + 1, in 64s
  EXPECT_EQ(roomy_size(0, 1) % (64 * mib), 0U);
  EXPECT_GE(roomy_size(0, 1), 512 * mib);
}

TEST(Disk, only_ext4_is_resized) {
  std::string xfs(2048, '\0');
  xfs.replace(0, 4, "XFSB");
  fakes::TempTree tree;
  fakes::World world;
  const auto disk = disk_with(tree, world, "", "", xfs);
  EXPECT_THROW(resize_disk(world.host(), disk, 0), base::Error);
}

TEST(Disk, what_goes_out_keeps_its_size_when_its_root_is_not_ext4) {
  std::string xfs(2048, '\0');
  xfs.replace(0, 4, "XFSB");
  fakes::TempTree tree;
  fakes::World world;
  const auto disk = disk_with(tree, world, "", "", xfs);
  world.on({"qemu-img", "convert"}, fakes::printed(""));
  std::vector<std::string> doings;
  EXPECT_EQ(
      copy_to_fit(world.host(), disk, disk, 0, [&](std::string_view what) { doings.emplace_back(what); }),
      "the root file system is xfs, so the disk keeps its size");
  EXPECT_THAT(doings, ElementsAre("reading the disk"));
}

// ---- With the real sfdisk, mke2fs, e2fsck and resize2fs, on a small disk

class RealDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"sfdisk", "mke2fs", "resize2fs", "e2fsck", "debugfs"}) {
      if (!host_.runner->find_program(program)) GTEST_SKIP() << program << " is not installed";
    }
  }
  // A disk of 1 GiB with a root file system that holds 8 MiB of content, behind `label` table.
  std::filesystem::path make(const std::string& label) {
    std::string content(8 * mib, '\0');
    std::uint32_t state = 1;
    for (char& byte : content) byte = static_cast<char>((state = state * 1664525U + 1013904223U) >> 24U);
    tree_.file("tree/content", content);
    const auto disk = tree_ / "disk";
    host::write_file(disk, std::string(440, 'B'));
    std::filesystem::resize_file(disk, 1 * gib);
    host::Command table{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk.string()};
    table.input = "label: " + label + "\nstart=2048, size=8192\nstart=16384" +
                  (label == "gpt" ? ", size=2076672\n" : "\n");
    host::require(*host_.runner, table);
    const std::string blocks = std::to_string(label == "gpt" ? 1038336 : 1040384);
    host::require(*host_.runner,
                  {"mke2fs", "-q", "-F", "-t", "ext4", "-L", "cloudimg-rootfs", "-E", "offset=8388608", "-d",
                   (tree_ / "tree").string(), disk.string(), blocks + "k"});
    return disk;
  }
  // The content file as the file system of the disk has it now.
  std::string content_of(const std::filesystem::path& disk) {
    const auto out = tree_ / "out";
    std::filesystem::remove(out);
    host::require(*host_.runner,
                  {"debugfs", "-R", "dump /content " + out.string(), disk.string() + "?offset=8388608"});
    return host::read_file(out);
  }
  static std::string head_of(const std::filesystem::path& disk) {
    std::string head(440, '\0');
    std::ifstream(disk, std::ios::binary).read(head.data(), 440);
    return head;
  }
  void expect_sound(const std::filesystem::path& disk, std::uint64_t size) {
    EXPECT_EQ(std::filesystem::file_size(disk), size);
    const auto checked = host_.runner->run({"sfdisk", "--verify", disk.string()});
    EXPECT_TRUE(checked.ok()) << checked.out << checked.err;
    const FileSystem root = root_file_system(host_, disk);
    EXPECT_EQ(root.partition, 2);
    EXPECT_LE(root.start + root.size, size);
    const auto fsck = host_.runner->run({"e2fsck", "-fn", disk.string() + "?offset=8388608"});
    EXPECT_TRUE(fsck.ok()) << fsck.out << fsck.err;
    EXPECT_EQ(content_of(disk), host::read_file(tree_ / "tree/content"));
    EXPECT_EQ(head_of(disk), std::string(440, 'B')) << "boot code was lost";
  }
  host::Host host_ = host::Host::system();
  fakes::TempTree tree_;
};

TEST_F(RealDisk, shrinks_to_a_given_size_and_grows_again) {
  for (const std::string label : {"gpt", "dos"}) {
    const auto disk = make(label);
    EXPECT_EQ(resize_disk(host_, disk, 200 * mib), 200 * mib) << label;
    expect_sound(disk, 200 * mib);
    EXPECT_EQ(resize_disk(host_, disk, 700 * mib), 700 * mib) << label;
    expect_sound(disk, 700 * mib);
    std::filesystem::remove(disk);
  }
}

TEST_F(RealDisk, without_a_size_it_has_its_content_and_room) {
  const auto disk = make("gpt");
  const std::uint64_t size = resize_disk(host_, disk, 0);
  EXPECT_EQ(size % (64 * mib), 0U);
  EXPECT_GT(size, 552 * mib);
  EXPECT_LT(size, 1 * gib);
  expect_sound(disk, size);
}

TEST_F(RealDisk, the_same_disk_is_fitted_to_the_same_bytes_at_another_time) {
  const auto disk = make("gpt");
  const auto other = tree_ / "other";
  std::filesystem::copy_file(disk, other);
  resize_disk(host_, disk, 200 * mib);
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));  // the clock of file systems counts seconds
  resize_disk(host_, other, 200 * mib);
  EXPECT_EQ(base::sha256_file(disk), base::sha256_file(other));
}

// Runs what it is given, and sees whether the disk is there while resize2fs resizes.
class Watching : public host::Runner {
 public:
  Watching(std::shared_ptr<host::Runner> runner, std::filesystem::path disk)
      : runner_(std::move(runner)), disk_(std::move(disk)) {}
  host::Finished run(const host::Command& command, const host::OnOutput& on_output) override {
    if (command.argv.at(0) == "resize2fs" && command.argv.at(1) != "-P")
      there = std::filesystem::exists(disk_);
    return runner_->run(command, on_output);
  }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    return runner_->start(command);
  }
  std::optional<std::filesystem::path> find_program(const std::string& name) override {
    return runner_->find_program(name);
  }
  std::optional<bool> there;

 private:
  std::shared_ptr<host::Runner> runner_;
  std::filesystem::path disk_;
};

TEST_F(RealDisk, becomes_its_partition_on_ext4_and_gets_the_same_bytes_where_it_is_copied) {
  const host::TempDir memory("/dev/shm");  // tmpfs takes nothing off the front of a file
  const auto disk = make("gpt");
  const auto other = memory.path() / "other";
  std::filesystem::copy_file(disk, other);
  struct statfs system{};
  ASSERT_EQ(::statfs(disk.c_str(), &system), 0);
  const auto system_runner = host_.runner;
  const auto watching = std::make_shared<Watching>(system_runner, disk);
  const auto watching_other = std::make_shared<Watching>(system_runner, other);
  host_.runner = watching;
  resize_disk(host_, disk, 200 * mib);
  host_.runner = watching_other;
  resize_disk(host_, other, 200 * mib);
  EXPECT_EQ(base::sha256_file(disk), base::sha256_file(other));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(memory.path()), {}), 1) << "a part is left";
  EXPECT_EQ(watching_other->there, true);
  if (system.f_type == EXT4_SUPER_MAGIC) {
    EXPECT_EQ(watching->there, false) << "the disk was copied";
  }
}

TEST_F(RealDisk, a_size_below_the_content_is_refused_with_both_sizes_and_nothing_changes) {
  const auto disk = make("gpt");
  try {
    resize_disk(host_, disk, 30 * mib);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("30 MiB"));
    EXPECT_THAT(error.what(), HasSubstr("at least"));
  }
  expect_sound(disk, 1 * gib);
  std::vector<std::string> left;
  for (const auto& item : std::filesystem::directory_iterator(disk.parent_path()))
    if (item.path().filename().string().starts_with(disk.filename().string() + "."))
      left.push_back(item.path().filename());
  EXPECT_THAT(left, testing::IsEmpty());
}

TEST_F(RealDisk, a_partition_behind_the_root_is_refused) {
  const auto disk = make("gpt");
  host::Command table{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk.string()};
  table.input = "label: gpt\nstart=16384, size=1638400\nstart=1800000, size=2048\n";
  host::require(*host_.runner, table);
  EXPECT_THROW(resize_disk(host_, disk, 0), base::Error);
}

TEST(Disk, one_that_boots_says_so_in_its_first_sector) {
  fakes::TempTree tree;
  EXPECT_FALSE(can_boot(tree.file("text", "# README\n")));
  EXPECT_FALSE(can_boot(tree.file("long-text", std::string(2000, 'x'))));
  EXPECT_FALSE(can_boot(tree.file("short", "\x55\xaa")));
  EXPECT_TRUE(can_boot(tree.file("raw", std::string(510, '\0') + "\x55\xaa" + std::string(512, '\0'))));
  EXPECT_TRUE(can_boot(tree.file("qcow2", "QFI\xfb")));
}

TEST(Compose, an_ordinary_user_works_as_root_of_a_user_namespace) {
  fakes::World world;
  world.on({"unshare"}, fakes::printed(""));
  EXPECT_THAT(as_mapped_root(world.host()),
              ElementsAre("unshare", "--user", "--map-root-user", "--map-auto", "--"));
  world.root = true;
  EXPECT_TRUE(as_mapped_root(world.host()).empty());
}

TEST(Compose, a_user_without_a_range_of_ids_is_told_the_command_that_adds_one) {
  fakes::World world;
  world.on({"unshare"}, fakes::failed(1, "unshare: no line matching user \"ann\" in /etc/subuid"));
  world.on({"id", "-un"}, fakes::printed("ann\n"));
  try {
    as_mapped_root(world.host());
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    EXPECT_THAT(error.hint_text(),
                HasSubstr("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann"));
  }
}

TEST(Compose, a_tree_without_a_boot_loader_names_the_package) {
  fakes::TempTree tree({{"root/dev/"}, {"root/boot/"}, {"scratch/"}});
  fakes::World world;
  world.root = true;
  Compose what;
  what.tree = tree / "root";
  what.size = 2 * gib;
  what.uuid = "66666666-2222-4333-8444-555555555555";
  what.scratch = tree / "scratch";
  try {
    compose_disk(world.host(), what, tree / "disk");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.hint_text(), HasSubstr("grub-pc-bin"));
  }
  EXPECT_TRUE(world.commands().empty());
}

// A tree with boot loaders, in which the commands of composing do nothing. `outside` plays the host.
class ComposeTree : public ::testing::Test {
 protected:
  ComposeTree()
      : tree_({{"outside/file", "of the host"},
               {"root/dev/"},
               {"root/boot/"},
               {"root/usr/lib/grub/i386-pc/ext2.mod", "bios"},
               {"root/usr/lib/grub/i386-pc/boot.img", std::string(512, 'b')},
               {"root/usr/lib/grub/x86_64-efi/ext2.mod", "efi"},
               {"root/usr/lib/shim/shimx64.efi.signed.latest", "shim"},
               {"root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub"},
               {"scratch/"}}) {
    world_.root = true;
    for (const char* program : {"sfdisk", "mke2fs", "mkfs.vfat", "mmd", "mcopy"})
      world_.on({program}, fakes::printed(""));
    world_.on({"chroot"}, [this](const host::Command&) {
      tree_.file("root/boot/grub/i386-pc/core.img", std::string(2048, 'c'));
      return fakes::printed("");
    });
    what_.tree = tree_ / "root";
    what_.size = 512 * mib;
    what_.uuid = "66666666-2222-4333-8444-555555555555";
    what_.scratch = tree_ / "scratch";
  }
  void compose() { compose_disk(world_.host(), what_, tree_ / "disk"); }
  std::string refusal() {
    try {
      compose();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }

  fakes::TempTree tree_;
  fakes::World world_;
  Compose what_;
};

TEST_F(ComposeTree, what_an_alternative_leads_to_is_the_trees_own) {
  tree_.link("root/usr/lib/shim/shimx64.efi.signed", "/etc/alternatives/shimx64.efi.signed");
  tree_.link("root/etc/alternatives/shimx64.efi.signed", "/usr/lib/shim/shimx64.efi.signed.latest");
  tree_.link("root/usr/lib/grub/i386-pc/other.mod", "/usr/lib/grub/i386-pc/ext2.mod");
  compose();
  EXPECT_EQ(host::read_file(tree_ / "root/boot/grub/i386-pc/ext2.mod"), "bios");
  EXPECT_EQ(host::read_file(tree_ / "root/boot/grub/i386-pc/other.mod"), "bios");
  EXPECT_EQ(host::read_file(tree_ / "root/boot/grub/x86_64-efi/ext2.mod"), "efi");
  const std::string shim = tree_ / "root/usr/lib/shim/shimx64.efi.signed.latest";
  EXPECT_THAT(world_.lines(), ::testing::Contains(::testing::EndsWith(shim + " ::/EFI/BOOT/BOOTX64.EFI")));
}

TEST_F(ComposeTree, nothing_of_the_host_comes_in_by_a_link) {
  const std::string file = tree_ / "outside/file";
  tree_.link("root/usr/lib/shim/shimx64.efi.signed", file);
  EXPECT_THAT(refusal(), HasSubstr("no /usr/lib/shim/shimx64.efi.signed"));
  tree_.link("root/usr/lib/grub/i386-pc/other.mod", file);
  EXPECT_THAT(refusal(), HasSubstr("no /usr/lib/grub/i386-pc/other.mod"));
}

TEST_F(ComposeTree, nothing_of_the_host_is_written_or_removed_through_a_link) {
  tree_.link("root/usr/lib/shim/shimx64.efi.signed", "shimx64.efi.signed.latest");
  tree_.link("root/etc", tree_ / "outside");
  what_.without = {"etc/file", "usr/none/at/all"};
  tree_.link("root/boot/grub/i386-pc/ext2.mod", tree_ / "outside/file");
  compose();
  EXPECT_EQ(host::read_file(tree_ / "outside/file"), "of the host");
  EXPECT_EQ(host::read_file(tree_ / "root/boot/grub/i386-pc/ext2.mod"), "bios");

  std::filesystem::remove(tree_ / "root/dev");
  tree_.link("root/dev", tree_ / "outside");
  EXPECT_THAT(refusal(), HasSubstr("/dev is a link"));
  EXPECT_EQ(host::read_file(tree_ / "outside/file"), "of the host");
  std::filesystem::remove(tree_ / "root/dev");
  tree_.folder("root/dev");

  std::filesystem::remove_all(tree_ / "root/boot");
  tree_.link("root/boot", tree_ / "outside");
  EXPECT_THROW(compose(), base::Error);
  EXPECT_FALSE(std::filesystem::exists(tree_ / "outside/grub"));
}

TEST(Compose, a_disk_too_small_for_a_system_is_refused) {
  fakes::World world;
  world.root = true;
  Compose what;
  what.size = 100 * mib;
  EXPECT_THROW(compose_disk(world.host(), what, "/nowhere/disk"), base::Error);
}

}  // namespace
}  // namespace kiln::image
