// base_debian: a base system composed from Debian's packages. See `doc` below.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"
#include "host/temp_dir.hpp"
#include "image/disk.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/apt.hpp"
#include "target/mmdebstrap.hpp"
#include "target/url.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view doc =
    R"(Composes a base system from packages with mmdebstrap and lays it on a disk like a cloud image's.

    - base_debian:
        suite: bookworm
        packages: [nano]

The archive's signature is verified. The disk boots by BIOS and by UEFI; its root file system (ext4, label
`cloudimg-rootfs`) is the last partition, so it grows with the disk at the first boot. cloud-init, an SSH server,
sudo, Python and systemd's network, resolver and time services are there; any network card asks for an address by
DHCP unless cloud-init configures it otherwise. Recommended packages are not installed.

Without `mirror:` the base comes from, and its package sources name, mmdebstrap's own default; with it both are that
archive. A proxy or an apt configuration of the host is used if there is one and leaves no trace in the image.

Composing needs root, or a user with a range of subordinate ids.)";

constexpr std::array<std::string_view, 2> variants = {"minbase", "important"};
constexpr std::array<stage::Option, 9> options = {{
    {.name = "suite",
     .type = stage::Type::text,
     .fallback = "bookworm",
     .doc = "Release of the distribution.",
     .pattern = "[a-z][a-z0-9.-]*",
     .write = "lower-case letters, digits, '.' and '-', such as bookworm"},
    {.name = "mirror",
     .type = stage::Type::text,
     .fallback = {},
     .doc =
         "URL of the archive to take packages from, now and in the image; mmdebstrap's default without it.",
     .pattern = "(https?|file)://[A-Za-z0-9./_~:%@-]+",
     .write = "an http, https or file URL without a login"},
    {.name = "components",
     .type = stage::Type::texts,
     .fallback = "[main]",
     .doc = "Components of the archive.",
     .pattern = "[a-z][a-z0-9-]*",
     .write = "lower-case letters, digits and '-', such as non-free-firmware"},
    {.name = "keyring",
     .type = stage::Type::file,
     .fallback = {},
     .doc = "Keys that the archive's signature is verified with; the host's archive keyrings without it."},
    {.name = "variant",
     .type = stage::Type::text,
     .fallback = "minbase",
     .doc = "Packages to begin with: those required, or all of priority important.",
     .choices = variants},
    {.name = "kernel",
     .type = stage::Type::text,
     .fallback = "linux-image-cloud-amd64",
     .doc = "Package of the kernel; real hardware wants linux-image-amd64.",
     .pattern = "[a-z0-9][a-z0-9+.-]+",
     .write = "a package's name, such as linux-image-amd64"},
    {.name = "packages",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "More packages to begin with.",
     .pattern = "[a-z0-9][a-z0-9+.-]*[a-z0-9+](=[0-9][A-Za-z0-9.+:~-]*)?",
     .write = "a package's name, such as nano or nano=7.2-1"},
    {.name = "locales",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Locales made while the base is composed: in a guest without KVM one takes ten seconds.",
     .pattern = "[a-z]{2,3}_[A-Z]{2}\\.UTF-8",
     .write = "language, country and encoding, such as en_US.UTF-8"},
    {.name = "size",
     .type = stage::Type::size,
     .fallback = "8G",
     .doc = "Disk while the image is built; what is exported is as small as its content allows.",
     .minimum = 2LL << 30U,
     .maximum = 1LL << 42U},
}};

constexpr std::array<std::string_view, 10> tools = {
    "chroot", "mcopy", "mke2fs", "mkfs.vfat", "mmd", "mmdebstrap", "qemu-img", "sfdisk", "tar", "unshare"};

// What makes a cloud image of a minimal system; the kernel and the profile's packages come on top.
constexpr std::array system_packages = {
    "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "dbus", "libpam-systemd", "udev", "kmod",
    "iproute2", "iputils-ping", "netbase", "procps", "less", "nano", "tzdata", "sudo", "python3",
    "ca-certificates", "apt-utils", "e2fsprogs", "fdisk", "zstd", "initramfs-tools", "openssh-server",
    "cloud-init", "cloud-guest-utils",
    // Both boot loaders, the way Debian's own cloud images have them.
    "grub-cloud-amd64"};

// Files written while packages are composed are no newer than this.
constexpr std::string_view source_date = "1700000000";

struct File {
  std::string_view path;
  std::string_view content;
};

constexpr std::array files = {
    File{"etc/fstab", R"(LABEL=cloudimg-rootfs / ext4 discard,errors=remount-ro 0 1
LABEL=UEFI /boot/efi vfat umask=0077,nofail 0 0
)"},
    File{"etc/hostname", "localhost\n"},
    File{"etc/hosts", R"(127.0.0.1 localhost
::1 localhost ip6-localhost ip6-loopback
ff02::1 ip6-allnodes
ff02::2 ip6-allrouters
)"},
    File{"etc/default/grub.d/50-image.cfg", R"(GRUB_TIMEOUT=0
GRUB_RECORDFAIL_TIMEOUT=0
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 consoleblank=0"
GRUB_TERMINAL="console serial"
GRUB_SERIAL_COMMAND="serial --speed=115200"
GRUB_DISABLE_OS_PROBER=true
# The root file system is found by its label, whatever disk it is on.
GRUB_DISABLE_LINUX_UUID=true
GRUB_DEVICE=LABEL=cloudimg-rootfs
)"},
    File{"etc/initramfs-tools/conf.d/resume", "RESUME=none\n"},
    File{"etc/systemd/network/80-dhcp.network",
         R"(# Any network card that nothing else configures (cloud-init writes 10-*) asks for an address.
[Match]
Name=en* eth*

[Network]
DHCP=yes
)"},
    File{"etc/systemd/system/systemd-networkd-wait-online.service.d/50-image.conf",
         R"(# One card that is online is enough, and a machine without network still boots.
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=20
)"},
    File{"etc/systemd/system/ssh-host-keys.service", R"([Unit]
Description=Make the SSH host keys that this machine lacks
Before=ssh.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=ssh.service
)"},
    File{"etc/cloud/cloud.cfg.d/90-image.cfg", R"(# The locale is the image's own.
locale: false
)"},
};

struct Link {
  std::string_view path;
  std::string_view target;
};
constexpr std::array links = {
    Link{"etc/systemd/system/ssh.service.wants/ssh-host-keys.service",
         "/etc/systemd/system/ssh-host-keys.service"},
    Link{"etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
         "/lib/systemd/system/systemd-networkd.service"},
    Link{"etc/systemd/system/sockets.target.wants/systemd-networkd.socket",
         "/lib/systemd/system/systemd-networkd.socket"},
    Link{"etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service",
         "/lib/systemd/system/systemd-networkd-wait-online.service"},
    Link{"etc/systemd/system/dbus-org.freedesktop.network1.service",
         "/lib/systemd/system/systemd-networkd.service"},
};

// Made by packages while they were installed, and no two machines may share them; or of no use.
const std::vector<std::string> left_out = {
    "etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/ssh_host_ecdsa_key",
    "etc/ssh/ssh_host_ecdsa_key.pub", "etc/ssh/ssh_host_ed25519_key", "etc/ssh/ssh_host_ed25519_key.pub",
    "var/lib/systemd/random-seed", "var/lib/dbus/machine-id", "initrd.img.old", "vmlinuz.old",
    // mmdebstrap's, of options that are of the build
    "etc/apt/apt.conf.d/99mmdebstrap"};

host::Member folder(std::string path) {
  host::Member member;
  member.path = std::move(path);
  member.kind = 'd';
  member.mode = 0755;
  return member;
}

// The folders of a path, outermost first, each once.
void add_parents(std::vector<host::Member>& members, std::string_view path) {
  for (std::size_t slash = path.find('/'); slash != std::string_view::npos;
       slash = path.find('/', slash + 1)) {
    const std::string parent(path.substr(0, slash));
    if (std::none_of(members.begin(), members.end(),
                     [&](const host::Member& one) { return one.path == parent; }))
      members.push_back(folder(parent));
  }
}

// Files of the system's own, there before the kernel's package makes an initrd of them and the locales'
// package makes what /etc/locale.gen names.
void write_settings(const fs::path& tar, const std::vector<std::string>& locales) {
  std::vector<host::Member> members;
  if (!locales.empty()) {
    add_parents(members, "etc/locale.gen");
    host::Member member;
    member.path = "etc/locale.gen";
    for (const std::string& locale : locales) member.content += locale + " UTF-8\n";
    members.push_back(std::move(member));
  }
  for (const File& file : files) {
    add_parents(members, file.path);
    host::Member member;
    member.path = file.path;
    member.content = file.content;
    members.push_back(std::move(member));
  }
  for (const Link& link : links) {
    add_parents(members, link.path);
    host::Member member;
    member.path = link.path;
    member.kind = 'l';
    member.target = link.target;
    members.push_back(std::move(member));
  }
  add_parents(members, "boot/efi/x");
  host::write_archive(tar, host::Format::tar, members);
}

// What stays as the host's until the last package is fetched.
void write_resolver(const fs::path& tar) {
  host::Member link;
  link.path = "etc/resolv.conf";
  link.kind = 'l';
  link.target = "../run/systemd/resolve/stub-resolv.conf";
  host::write_archive(tar, host::Format::tar, {link});
}

std::string uuid_of(std::string_view text) {
  const std::string hex = base::sha256(text);
  return fmt::format("{}-{}-4{}-8{}-{}", hex.substr(0, 8), hex.substr(8, 4), hex.substr(13, 3),
                     hex.substr(17, 3), hex.substr(20, 12));
}

// A user's mmdebstrap works with ids that cannot enter the store, so its files lie in a folder of the
// system's for temporary files. It is locked while it is in use; making one removes those that a killed kiln
// left.
class OpenFolder {
 public:
  explicit OpenFolder(const host::Host& host) : host_(host) {
    const fs::path place = fs::temp_directory_path();
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(place, ignored)) {
      if (entry.path().filename().string().starts_with(name)) sweep(entry.path());
    }
    std::string made = (place / (std::string(name) + "XXXXXX")).string();
    if (::mkdtemp(made.data()) == nullptr) throw host::io_error("create a directory in", place / name, errno);
    path_ = made;
    lock_ = open(path_);
    // The mapped ids only pass through.
    if (!lock_ || ::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0 || ::fchmod(lock_.get(), 0711) != 0)
      throw host::io_error("lock", path_, errno);
  }
  OpenFolder(const OpenFolder&) = delete;
  OpenFolder& operator=(const OpenFolder&) = delete;
  ~OpenFolder() {
    const host::InterruptShield shield;
    remove(path_);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  static constexpr std::string_view name = "kiln-mmdebstrap-";

  static host::Fd open(const fs::path& folder) {
    return host::Fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  void sweep(const fs::path& folder) const noexcept {
    const host::Fd fd = open(folder);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || static_cast<int>(status.st_uid) != host_.uid) return;
    // Whose lock can be had is dead. One without the mode it gets under its lock is just being made.
    if ((status.st_mode & 0777U) == 0711U && ::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) remove(folder);
  }
  // What belongs to mapped ids is removed as root of theirs; what cannot be removed stays for the next run.
  void remove(const fs::path& folder) const noexcept {
    try {
      host::remove_tree(folder);
      std::error_code ignored;
      if (!fs::exists(folder, ignored)) return;
      host::Command command(image::as_mapped_root(host_));
      command.add({"rm", "-rf", "--one-file-system", "--", folder.string()});
      command.timeout = std::chrono::minutes(5);
      host_.runner->run(command);
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
    }
  }

  const host::Host& host_;
  fs::path path_;
  host::Fd lock_;
};

class BaseDebian : public stage::Stage {
 public:
  explicit BaseDebian(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} a {} base system from packages",
                       tense == stage::Tense::will ? "Compose" : "Composing", options_.text("suite"));
  }

  void describe(stage::KeyWriter& key) const override {
    // These write content; GRUB's images are made by the image's own program.
    for (const char* program : {"mmdebstrap", "sfdisk", "mke2fs", "mkfs.vfat", "mcopy", "qemu-img"})
      key.tool(program);
  }

  void run(stage::Workspace& work) const override {
    const fs::path scratch = work.scratch();
    const bool root = work.host().root;
    // Told before minutes are spent.
    image::as_mapped_root(work.host());
    const fs::path system = scratch / (root ? "system" : "system.tar");
    target::Mmdebstrap mmdebstrap = open_mmdebstrap(work);
    bootstrap(work, mmdebstrap, system);

    work.observer().doing("writing the disk");
    image::Compose compose;
    (root ? compose.tree : compose.tar) = system;
    compose.size = static_cast<std::uint64_t>(options_.number("size"));
    const std::string told = record(work, mmdebstrap.lists());
    compose.uuid = uuid_of(told);
    if (!work.offline()) mmdebstrap.keep_lists(told, work.host().now());
    compose.without = left_out;
    compose.scratch = scratch / "compose";
    const fs::path raw = scratch / "disk.raw";
    image::compose_disk(work.host(), compose, raw);
    image::convert(work.host(), raw, work.new_disk(), "qcow2", false);
    fs::remove(raw);
  }

 private:
  [[nodiscard]] target::Mmdebstrap open_mmdebstrap(stage::Workspace& work) const {
    return {{.suite = options_.text("suite"),
             .mirror = options_.text("mirror"),
             .components = options_.texts("components"),
             .variant = options_.text("variant"),
             .keyring = options_.has("keyring") ? work.input(options_.path("keyring")) : fs::path()},
            work.package_cache("debs"),
            work.package_cache("lists"),
            work.scratch()};
  }

  void bootstrap(stage::Workspace& work, target::Mmdebstrap& mmdebstrap, const fs::path& to) const {
    const fs::path scratch = work.scratch();
    write_settings(scratch / "settings.tar", options_.texts("locales"));
    write_resolver(scratch / "resolver.tar");

    std::vector<std::string> packages(system_packages.begin(), system_packages.end());
    packages.push_back(options_.text("kernel"));
    for (const std::string& name : options_.texts("packages")) packages.push_back(name);
    if (!options_.texts("locales").empty()) packages.emplace_back("locales");

    const bool root = work.host().root;
    using target::mmdebstrap_hook;
    host::Command command{
        "mmdebstrap",
        root ? "--mode=root" : "--mode=unshare",
        "--include=" + base::join(packages, ","),
        mmdebstrap_hook("essential", {"tar-in", (scratch / "settings.tar").string(), "/"}),
        mmdebstrap_hook("customize", {"download", "/var/lib/dpkg/status", (scratch / "status").string()}),
        mmdebstrap_hook("customize", {"tar-in", (scratch / "resolver.tar").string(), "/"}),
        root ? "--format=directory" : "--format=tar"};
    std::optional<OpenFolder> folder;
    if (root) {
      command.env["TMPDIR"] = keep_traces_in(scratch);
    } else {
      folder.emplace(work.host());
      command.env["TMPDIR"] = folder->path().string();
    }
    if (work.offline() && !mmdebstrap.is_local())
      work.resolved_at(mmdebstrap.keep_offline((folder ? folder->path() : scratch) / "kept"));
    command.env["SOURCE_DATE_EPOCH"] = std::string(source_date);
    command.timeout = work.step_limit();
    command.purpose = "composing the base system";
    mmdebstrap.run(
        work.host(), std::move(command), to,
        [&](std::string_view line) {
          work.observer().output(line);
          if (line.starts_with("I: ")) work.observer().doing(line.substr(3));
        },
        [&](std::string_view piece) { work.log(piece); });
  }

  // Root's mmdebstrap mounts /proc and /sys of the system and keeps files beside it, and cleans up when it
  // ends. Should it be killed, the mounts are gone with this namespace and the files with the scratch.
  // A user's mmdebstrap mounts in a namespace of its own, and works in an OpenFolder.
  static std::string keep_traces_in(const fs::path& scratch) {
    try {
      host::private_mounts();
    } catch (const base::Error&) {  // NOLINT(bugprone-empty-catch)
      // Where a namespace cannot be had, in a container without that right, mmdebstrap can mount nothing.
    }
    const fs::path folder = scratch / "mmdebstrap";
    fs::create_directories(folder);
    return folder.string();
  }

  // Tells the engine what the mirror served; returns the lines.
  [[nodiscard]] std::string record(stage::Workspace& work, const fs::path& lists) const {
    std::vector<std::string> told;
    for (const auto& entry : fs::directory_iterator(lists)) {
      const std::string name = entry.path().filename();
      if (!name.ends_with("_InRelease") && !name.ends_with("_Release")) continue;
      const std::string sha256 = base::sha256_file(entry.path());
      work.served(target::list_url(name, options_.text("mirror")), sha256);
      // Without the mirror's host, which changes nothing.
      told.push_back(fmt::format("release {} {}", sha256, name.substr(name.find('_') + 1)));
    }
    if (told.empty()) throw base::Error("the archive's release file is not among the lists mmdebstrap left");
    std::string package;
    for (const std::string& line : base::lines(host::read_file(work.scratch() / "status"))) {
      if (line.starts_with("Package: ")) package = line.substr(9);
      if (line.starts_with("Version: "))
        told.push_back(fmt::format("package {} {}", package, line.substr(9)));
    }
    std::sort(told.begin(), told.end());
    for (const std::string& line : told) work.resolved(line);
    return base::join(told, "\n");
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  if (target::has_login(given.text("mirror"))) {
    throw base::Error(
        "base_debian: the mirror's URL holds a login, which every copy of the image would have in its "
        "package "
        "sources",
        base::Exit::usage)
        .at(given.where("mirror"))
        .hint("take a mirror, or a proxy of it, that asks for no login");
  }
  return std::make_unique<BaseDebian>(given);
}

}  // namespace

extern const stage::StageType base_debian;
const stage::StageType base_debian = {
    .name = "base_debian",
    .summary = "A base system composed from Debian's packages, on a disk like a cloud image's",
    .doc = doc,
    .kind = stage::Kind::base,
    .place = stage::Place::offline,
    .revision = 1,
    .resolves = true,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
