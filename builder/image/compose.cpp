// The disk kiln composes, written without loop devices: table, file systems and boot loader go straight into
// a sparse file.
#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <optional>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"
#include "image/disk.hpp"
#include "image/rooted.hpp"

namespace kiln::image {

namespace fs = std::filesystem;
using host::Command;

namespace {

constexpr std::uint64_t mib = 1ULL << 20U;
constexpr std::uint64_t sector = 512;

// As on the cloud images of Debian and Ubuntu: the root partition is number 1 but the last on the disk, so
// that it can grow when the disk does.
constexpr std::uint64_t bios_start = 1 * mib;
constexpr std::uint64_t esp_start = 4 * mib;
constexpr std::uint64_t root_start = 128 * mib;
constexpr std::uint64_t bios_size = esp_start - bios_start;
constexpr std::uint64_t esp_size = root_start - esp_start;

// Each feature is named, so that the host's version of mke2fs does not decide. Kernel 4.4 and GRUB 2.06 read
// all of them (not metadata_csum_seed, orphan_file, large_dir, casefold).
constexpr std::string_view mke2fs_conf = R"([defaults]
	base_features = sparse_super,large_file,filetype,resize_inode,dir_index,ext_attr
	default_mntopts = acl,user_xattr
	enable_periodic_fsck = 0
	blocksize = 4096
	inode_size = 256
	inode_ratio = 16384
[fs_types]
	ext4 = {
		features = has_journal,extent,huge_file,flex_bg,metadata_csum,64bit,dir_nlink,extra_isize
	}
)";

// An id for a part of the disk: always the same for the same disk.
std::string derived_uuid(const std::string& uuid, std::string_view part) {
  std::string hex = base::sha256(uuid + " " + std::string(part)).substr(0, 32);
  hex[12] = '4';
  hex[16] = "89ab"[(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) % 4];
  return fmt::format("{}-{}-{}-{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(12, 4),
                     hex.substr(16, 4), hex.substr(20, 12));
}

void put_at(const fs::path& file, std::uint64_t offset, std::string_view bytes) {
  const host::Fd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) throw host::io_error("write", file, errno);
  while (!bytes.empty()) {
    const ssize_t put = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw host::io_error("write", file, errno);
    offset += static_cast<std::uint64_t>(put);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
}

void put_number(std::string& bytes, std::size_t offset, std::uint64_t value) {
  for (std::size_t i = 0; i < 8; ++i) bytes[offset + i] = static_cast<char>((value >> (8U * i)) & 0xffU);
}

// The file systems of a disk by their label: sda, vda, nvme or mmc makes no difference.
std::string search_line(const std::string& label) {
  return fmt::format("search.fs_label {} root\nset prefix=($root)/boot/grub\n", label);
}

// What GRUB shows until update-grub runs for the first time: the newest kernel, by the links its package
// keeps.
std::string first_grub_cfg(const std::string& label) {
  return fmt::format(R"(# The first configuration; update-grub replaces it.
serial --speed=115200
terminal_input console serial
terminal_output console serial
set timeout=0
search --no-floppy --label --set=root {0}
menuentry "Linux" {{
	linux /vmlinuz root=LABEL={0} ro console=tty0 console=ttyS0,115200 consoleblank=0
	initrd /initrd.img
}}
)",
                     label);
}

class Composer {
 public:
  Composer(const host::Host& host, const Compose& what, const fs::path& to)
      : host_(host), what_(what), to_(to), tree_(what.tree) {
    if (what.size < root_start + 256 * mib)
      throw base::Error("a disk of " + base::human_size(what.size) + " is too small for a system");
    size_ = what.size / mib * mib;
  }

  void run() {
    fs::create_directories(what_.scratch);
    if (tree_.empty()) {
      prefix_ = as_mapped_root(host_);
      unpack();
    }
    const base::ScopeExit drop([this] {
      if (what_.tree.empty()) remove_tree();
    });
    leave_out();
    lay_grub();
    make_table();
    make_root();
    make_esp();
    make_bios_boot();
  }

 private:
  host::Finished run_mapped(std::vector<std::string> argv, const std::string& purpose) {
    Command command(prefix_);
    command.argv.insert(command.argv.end(), argv.begin(), argv.end());
    command.env["LC_ALL"] = "C";
    command.env["MKE2FS_CONFIG"] = (what_.scratch / "mke2fs.conf").string();
    command.env["MTOOLS_SKIP_CHECK"] = "1";
    command.purpose = purpose;
    return host::require(*host_.runner, command);
  }

  void unpack() {
    tree_ = what_.scratch / "tree";
    fs::create_directories(tree_);
    // Device nodes cannot be made in a user namespace; the kernel makes them at boot.
    run_mapped(
        {"tar", "--extract", "--preserve-permissions", "--numeric-owner", "--xattrs", "--xattrs-include=*",
         "--exclude=./dev/*", "--directory", tree_.string(), "--file", what_.tar.string()},
        "unpacking the root file system");
  }

  void remove_tree() noexcept {
    const host::InterruptShield shield;
    Command command(prefix_);
    command.add({"rm", "-rf", "--", tree_.string()});
    try {
      host_.runner->run(command);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // What is left lies in the step's scratch, which is swept later.
    }
  }

  // Where a path of the tree really is, its links resolved as if the tree were the root: on the host an
  // absolute one (each of update-alternatives is) would lead to the host's own files. nullopt: not there.
  [[nodiscard]] std::optional<fs::path> find_inside(const fs::path& path) const {
    const host::Fd root(::open(tree_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root) throw host::io_error("open", tree_, errno);
    const host::Fd found = open_rooted(root, path, O_PATH);
    if (found) return fs::read_symlink("/proc/self/fd/" + std::to_string(found.get()));
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
    throw host::io_error("open", tree_ / path, errno);
  }

  // A path of the tree that has to be there, with the package that brings it.
  [[nodiscard]] fs::path need(const fs::path& path, const std::string& package) const {
    const auto found = find_inside(path);
    if (found) return *found;
    throw base::Error(fmt::format("the root file system has no /{}", path.string()))
        .hint(fmt::format("add the package {}", package));
  }

  // A directory of the tree, made with those above it where it is missing.
  [[nodiscard]] fs::path make_inside(const fs::path& path) const {
    fs::path real = need("", "base-files");
    fs::path so_far;
    for (const fs::path& part : path) {
      so_far /= part;
      if (const auto found = find_inside(so_far)) {
        real = *found;
        continue;
      }
      real /= part;
      // Not through a link that leads to nothing.
      if (::mkdir(real.c_str(), 0755) != 0) throw host::io_error("make", real, errno);
    }
    return real;
  }

  // Replaces `to`, not what it leads to.
  static void copy(const fs::path& from, const fs::path& to) {
    fs::remove(to);
    fs::copy_file(from, to);
  }

  void leave_out() const {
    for (const fs::path path : what_.without) {
      if (const auto folder = find_inside(path.parent_path())) fs::remove(*folder / path.filename());
    }
    // The kernel makes the devices; nodes of the build would only hide that it did not.
    const fs::path dev = tree_ / "dev";
    if (fs::is_symlink(fs::symlink_status(dev)))
      throw base::Error("the root file system's /dev is a link; it has to be a directory");
    for (const auto& entry : fs::directory_iterator(dev)) fs::remove_all(entry.path());
  }

  // As grub-install does: the modules beside the configuration. In a user namespace the tree's root is the
  // user that runs kiln, who may therefore write here.
  void lay_grub() {
    const fs::path grub = make_inside("boot/grub");
    for (const std::string platform : {"i386-pc", "x86_64-efi"}) {
      const std::string package = platform == "i386-pc" ? "grub-pc-bin" : "grub-efi-amd64-bin";
      const fs::path modules = fs::path("usr/lib/grub") / platform;
      const fs::path to = make_inside(fs::path("boot/grub") / platform);
      for (const auto& entry : fs::directory_iterator(need(modules, package))) {
        const fs::path name = entry.path().filename();
        if (name.extension() == ".mod" || name.extension() == ".lst")
          copy(need(modules / name, package), to / name);
      }
    }
    const fs::path bios = make_inside("boot/grub/i386-pc");
    copy(need("usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"), bios / "boot.img");
    host::write_file(bios / "load.cfg", search_line(what_.label));
    if (!find_inside("boot/grub/grub.cfg")) host::write_file(grub / "grub.cfg", first_grub_cfg(what_.label));
    run_mapped({"chroot", tree_.string(), "grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c",
                "/boot/grub/i386-pc/load.cfg", "-o", "/boot/grub/i386-pc/core.img", "biosdisk", "part_gpt",
                "part_msdos", "ext2", "search_label"},
               "making GRUB's core image");
  }

  void make_table() {
    host::write_file(to_, "");
    if (::truncate(to_.c_str(), static_cast<off_t>(size_)) != 0) throw host::io_error("resize", to_, errno);
    Command command{"sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", to_.string()};
    command.input = fmt::format(
        "label: gpt\nlabel-id: {}\n"
        "14 : start={}, size={}, type=21686148-6449-6E6F-744E-656564454649, uuid={}\n"
        "15 : start={}, size={}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid={}\n"
        "1 : start={}, size={}, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid={}\n",
        derived_uuid(what_.uuid, "disk"), bios_start / sector, bios_size / sector,
        derived_uuid(what_.uuid, "bios"), esp_start / sector, esp_size / sector,
        derived_uuid(what_.uuid, "esp"), root_start / sector, root_size() / sector,
        derived_uuid(what_.uuid, "root partition"));
    command.purpose = "writing the partition table";
    host::require(*host_.runner, command);
  }

  // GPT's second table needs the disk's last 33 sectors.
  [[nodiscard]] std::uint64_t root_size() const { return size_ - root_start - mib; }

  void make_root() {
    host::write_file(what_.scratch / "mke2fs.conf", mke2fs_conf);
    run_mapped({"mke2fs", "-q", "-F", "-t", "ext4", "-L", what_.label, "-U", what_.uuid, "-E",
                fmt::format("offset={},assume_storage_prezeroed=1,root_owner=0:0,hash_seed={}", root_start,
                            derived_uuid(what_.uuid, "hash")),
                "-d", tree_.string(), to_.string(), fmt::format("{}k", root_size() / 1024)},
               "writing the root file system");
  }

  // The packages' signed shim and GRUB, so that Secure Boot works too; that GRUB reads /EFI/debian/grub.cfg.
  void make_esp() {
    const std::string volume = derived_uuid(what_.uuid, "esp volume").substr(0, 8);
    // 512-byte clusters: with larger ones a volume of this size is no valid FAT32.
    run_mapped({"mkfs.vfat", "-F", "32", "-s", "1", "-n", "UEFI", "-i", volume, "--offset",
                std::to_string(esp_start / sector), to_.string(), std::to_string(esp_size / 1024)},
               "making the EFI system partition");
    const std::string disk = fmt::format("{}@@{}", to_.string(), esp_start);
    run_mapped({"mmd", "-i", disk, "::/EFI", "::/EFI/BOOT", "::/EFI/debian"},
               "filling the EFI system partition");
    const fs::path config = what_.scratch / "esp-grub.cfg";
    host::write_file(config, search_line(what_.label) + "configfile $prefix/grub.cfg\n");
    const fs::path shim = need("usr/lib/shim/shimx64.efi.signed", "shim-signed");
    const fs::path grub = need("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed", "grub-efi-amd64-signed");
    const std::pair<fs::path, std::string> files[] = {{shim, "::/EFI/BOOT/BOOTX64.EFI"},
                                                      {grub, "::/EFI/BOOT/grubx64.efi"},
                                                      {config, "::/EFI/debian/grub.cfg"}};
    for (const auto& [from, name] : files)
      run_mapped({"mcopy", "-i", disk, from.string(), name}, "filling the EFI system partition");
  }

  // What grub-bios-setup would do on a real disk: boot.img in the first sector names the sector of core.img,
  // whose first sector names the one where its rest begins.
  void make_bios_boot() {
    std::string boot = host::read_file(need("boot/grub/i386-pc/boot.img", "grub-pc-bin"));
    std::string core = host::read_file(need("boot/grub/i386-pc/core.img", "grub-common"));
    constexpr std::size_t boot_code = 440;  // behind it begins the table
    constexpr std::size_t kernel_sector = 0x5c;
    constexpr std::size_t block_list = 0x1f4;
    if (boot.size() < boot_code || core.size() < 2 * sector || core.size() > bios_size)
      throw base::Error("GRUB's images have sizes that no known version has");
    boot.resize(boot_code);
    put_number(boot, kernel_sector, bios_start / sector);
    put_number(core, block_list, bios_start / sector + 1);
    put_at(to_, 0, boot);
    put_at(to_, bios_start, core);
  }

  const host::Host& host_;
  const Compose& what_;
  const fs::path& to_;
  fs::path tree_;
  std::uint64_t size_ = 0;
  std::vector<std::string> prefix_;
};

}  // namespace

std::vector<std::string> as_mapped_root(const host::Host& host) {
  if (host.root) return {};
  const std::vector<std::string> prefix = {"unshare", "--user", "--map-root-user", "--map-auto", "--"};
  // Proven, not guessed from /etc/subuid: the kernel and newuidmap have to agree, too.
  Command probe(prefix);
  probe.add({"true"});
  probe.purpose = "making a user namespace";
  const host::Finished finished = host.runner->run(probe);
  if (finished.ok()) return prefix;
  Command whoami{"id", "-un"};
  const std::string user(base::trim(host::require(*host.runner, whoami).out));
  throw base::Error(
      "user " + user + " cannot have a user namespace with other ids, which composing a system needs",
      base::Exit::missing)
      .hint(fmt::format(
          "run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {}` (and install "
          "the package uidmap), or run kiln as root",
          user))
      .detail(base::last_lines(base::printable(finished.err), 5));
}

void compose_disk(const host::Host& host, const Compose& what, const fs::path& to) {
  Composer(host, what, to).run();
}

}  // namespace kiln::image
