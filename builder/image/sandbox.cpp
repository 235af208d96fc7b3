#include "image/sandbox.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"
#include "image/deb_cache.hpp"

namespace kiln::image {

namespace fs = std::filesystem;
using host::Fd;
using std::chrono::milliseconds;

namespace {

constexpr std::string_view policy_path = "/usr/sbin/policy-rc.d";
constexpr std::string_view policy_text =
    "#!/bin/sh\n# No service is started while the image is built.\nexit 101\n";
// First on PATH: a mount over the real programs would keep dpkg from upgrading them, a diversion could stay.
constexpr std::string_view tools_path = "/run/kiln-tools";

// Variables by which programs find the network from this host. They are no part of the image.
constexpr std::array network_variables = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy",
                                          "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"};

class Sandbox : public System {
 public:
  Sandbox(const host::Host& host, SandboxOptions options)
      : host_(host), options_(std::move(options)), root_(fs::canonical(options_.root)) {
    host::private_mounts();
    fs::create_directories(options_.scratch);
    root_fd_ = Fd(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!root_fd_) throw host::io_error("open", root_, errno);
    try {
      mount_all();
    } catch (...) {
      take_down();
      throw;
    }
  }
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  ~Sandbox() override {
    const host::InterruptShield shield;
    take_down();
  }

  [[nodiscard]] bool booted() const override { return false; }

  host::Finished run(const Exec& exec, const host::OnOutput& on_output) override {
    // The environment is built from nothing by the host's env; the command is found on the image's PATH.
    host::Command command{"env", "-i"};
    const auto add_variable = [&](const std::string& name, const std::string& value) {
      if (!exec.env.contains(name)) command.argv.push_back(name + "=" + value);
    };
    add_variable("PATH",
                 std::string(tools_path) + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    add_variable("HOME", "/root");
    add_variable("LANG", "C.UTF-8");
    add_variable("DEBIAN_FRONTEND", "noninteractive");
    add_variable("SYSTEMD_OFFLINE", "1");
    for (const char* name : network_variables) {
      if (const auto value = host_.env(name); value && options_.network) add_variable(name, *value);
    }
    for (const auto& [name, value] : exec.env) command.argv.push_back(fmt::format("{}={}", name, value));
    // A PID namespace for each command: whatever it leaves running dies with it.
    command.add({host_program("nsenter"), "--uts=" + uts_.string(), host_program("unshare"), "--mount",
                 "--propagation", "private", "--pid", "--fork", "--kill-child", "--ipc"});
    if (!options_.network) command.add({"--net"});
    command.add({"--root=" + root_.string(), "--wd=/", "--mount-proc", "--"});
    command.argv.insert(command.argv.end(), exec.argv.begin(), exec.argv.end());
    command.timeout = exec.timeout.count() > 0 ? exec.timeout : options_.step_limit;
    command.purpose = exec.purpose;
    command.input = exec.input_file.empty() ? exec.input : host::read_file(exec.input_file);

    // Before a later command can clean the folder.
    const base::ScopeExit keep([this] { keep_packages(); });
    if (exec.output_file.empty()) return host_.runner->run(command, on_output);
    const Fd out(::open(exec.output_file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!out) throw host::io_error("write", exec.output_file, errno);
    host::Finished finished = host_.runner->run(command, [&](host::Stream stream, std::string_view bytes) {
      if (stream == host::Stream::err) {
        if (on_output) on_output(stream, bytes);
        return;
      }
      while (!bytes.empty()) {
        const ssize_t put = ::write(out.get(), bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) throw host::io_error("write", exec.output_file, errno);
        bytes.remove_prefix(static_cast<std::size_t>(put));
      }
    });
    finished.out.clear();
    return finished;
  }

 private:
  [[nodiscard]] std::string host_program(const std::string& name) const {
    // By path, because env -i has set the image's PATH by then.
    const auto found = host_.runner->find_program(name);
    if (!found)
      throw base::Error("cannot run commands in the image: there is no program '" + name + "'",
                        base::Exit::missing)
          .hint("install util-linux");
    return found->string();
  }

  // A path of the image, resolved inside it; `flags` as for open(2).
  [[nodiscard]] Fd open_inside(std::string_view path, int flags) const {
    open_how how{};
    how.flags = static_cast<__u64>(flags) | O_CLOEXEC;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    return Fd(static_cast<int>(
        ::syscall(SYS_openat2, root_fd_.get(), std::string(path).c_str(), &how, sizeof how)));
  }
  // What the descriptor is open on, for calls that take a path.
  static std::string by_fd(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

  void mount_on(const Fd& target, std::string_view name, const char* source, const char* type,
                unsigned long flags, const char* data) {
    const fs::path where = fs::read_symlink(by_fd(target));
    if (::mount(source, by_fd(target).c_str(), type, flags, data) != 0) {
      throw base::Error(fmt::format("cannot mount {} in the image: {}", name, host::errno_text(errno)));
    }
    mounted_.push_back(where);
  }

  void mount_folder(std::string_view path, const char* source, const char* type, unsigned long flags,
                    const char* data) {
    const Fd target = open_inside(path, O_PATH | O_DIRECTORY);
    if (!target) throw base::Error(fmt::format("the image has no directory {}", path));
    mount_on(target, path, source, type, flags, data);
  }

  // Below a tmpfs of ours only: nothing there can be a link.
  void make_folder(std::string_view path, unsigned mode) const {
    const fs::path full = root_ / path.substr(1);
    if (::mkdir(full.c_str(), 0700) != 0 && errno != EEXIST) throw host::io_error("make", full, errno);
    if (::chmod(full.c_str(), mode) != 0) throw host::io_error("set the mode of", full, errno);
  }

  void mount_all() {
    mount_folder("/dev", "tmpfs", "tmpfs", MS_NOSUID, "mode=755,size=1m");
    fill_dev();
    mount_folder("/sys", "sysfs", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    // Some tools (a Docker daemon that bakes images) want control groups; a host may not have version 2.
    if (const Fd groups = open_inside("/sys/fs/cgroup", O_PATH | O_DIRECTORY);
        groups && ::mount("cgroup2", by_fd(groups).c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                          nullptr) == 0) {
      mounted_.push_back(fs::read_symlink(by_fd(groups)));
    }
    mount_folder("/run", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    make_folder("/run/lock", 01777);
    mount_folder("/tmp", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    if (const Fd archives = open_inside("/var/cache/apt/archives", O_PATH | O_DIRECTORY); archives) {
      if (options_.apt_cache.empty()) {
        mount_on(archives, "/var/cache/apt/archives", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
      } else {
        debs_.emplace(options_.apt_cache, options_.scratch / "archives");
        mount_on(archives, "/var/cache/apt/archives", debs_->folder().c_str(), nullptr, MS_BIND, nullptr);
      }
    }
    fill_tools();
    name_machine();
    if (options_.network) lend_resolver();
    forbid_services();
  }

  void fill_dev() {
    struct Node {
      const char* name;
      unsigned major;
      unsigned minor;
    };
    constexpr std::array nodes = {Node{"null", 1, 3},   Node{"zero", 1, 5},    Node{"full", 1, 7},
                                  Node{"random", 1, 8}, Node{"urandom", 1, 9}, Node{"tty", 5, 0}};
    for (const Node& node : nodes) {
      const fs::path path = root_ / "dev" / node.name;
      if (::mknod(path.c_str(), S_IFCHR | 0666, ::makedev(node.major, node.minor)) != 0 ||
          ::chmod(path.c_str(), 0666) != 0)
        throw host::io_error("make", path, errno);
    }
    const std::array<std::pair<const char*, const char*>, 5> links = {{{"fd", "/proc/self/fd"},
                                                                       {"stdin", "/proc/self/fd/0"},
                                                                       {"stdout", "/proc/self/fd/1"},
                                                                       {"stderr", "/proc/self/fd/2"},
                                                                       {"ptmx", "pts/ptmx"}}};
    for (const auto& [name, target] : links) fs::create_symlink(target, root_ / "dev" / name);
    make_folder("/dev/pts", 0755);
    make_folder("/dev/shm", 01777);
    mount_folder("/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC,
                 "newinstance,ptmxmode=0666,mode=620,gid=5");
    mount_folder("/dev/shm", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  }

  // The disk of the build is not the disk of the machine: nothing may ask GRUB to look for it. The kernel's
  // and GRUB's own hooks find these programs by name.
  void fill_tools() const {
    make_folder(tools_path, 0755);
    for (const char* name : {"update-grub", "update-grub2", "grub-install", "grub-mkconfig"}) {
      host::write_file(root_ / tools_path.substr(1) / name, "#!/bin/sh\nexit 0\n", 0755);
    }
  }

  // Postfix and others write the host's name into their configuration: it must be the same everywhere.
  void name_machine() {
    uts_ = fs::absolute(options_.scratch) / "uts";
    host::write_file(uts_, "");
    host::Command command{"unshare", "--uts=" + uts_.string(), "hostname", "localhost"};
    command.purpose = "naming the sandbox";
    host::require(*host_.runner, command);
    mounted_.push_back(uts_);
  }

  // The host's resolver is what /etc/resolv.conf shows, whatever it is in the image.
  void lend_resolver() {
    std::error_code none;
    const std::string resolver =
        fs::exists("/etc/resolv.conf", none) ? host::read_file("/etc/resolv.conf") : "";
    const fs::path lent = options_.scratch / "resolv.conf";
    Fd target = open_inside("/etc/resolv.conf", O_PATH);
    if (!target) {
      // Nothing there, or a link into /run, where a resolver would have put it.
      const fs::path in_image = root_ / "etc/resolv.conf";
      fs::path wanted = "/etc/resolv.conf";
      if (fs::is_symlink(fs::symlink_status(in_image, none))) {
        wanted = (fs::path("/etc") / fs::read_symlink(in_image)).lexically_normal();
      }
      if (wanted.string().starts_with("/var/run/")) wanted = wanted.string().substr(4);
      if (wanted.string().starts_with("/run/")) {
        fs::create_directories(root_ / wanted.parent_path().relative_path());
        host::write_file(root_ / wanted.relative_path(), resolver);
        return;
      }
      if (wanted != "/etc/resolv.conf") return;  // a link to nowhere: the image's own affair
      host::write_file(in_image, "");
      added_.emplace_back(in_image, "");
      target = open_inside("/etc/resolv.conf", O_PATH);
      if (!target) throw host::io_error("open", in_image, errno);
    }
    host::write_file(lent, resolver);
    mount_on(target, "/etc/resolv.conf", lent.c_str(), nullptr, MS_BIND, nullptr);
  }

  void forbid_services() {
    const fs::path policy = options_.scratch / "policy-rc.d";
    host::write_file(policy, policy_text, 0755);
    if (const Fd own = open_inside(policy_path, O_PATH); own) {
      mount_on(own, policy_path, policy.c_str(), nullptr, MS_BIND, nullptr);
      return;
    }
    const Fd folder = open_inside("/usr/sbin", O_PATH | O_DIRECTORY);
    if (!folder) return;  // not a Debian system: there is no such policy
    const fs::path file = fs::read_symlink(by_fd(folder)) / "policy-rc.d";
    host::write_file(file, policy_text, 0755);
    added_.emplace_back(file, policy_text);
  }

  void keep_packages() noexcept {
    try {
      if (debs_) debs_->keep_new();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // They are fetched again next time.
    }
  }

  void take_down() noexcept {
    while (!mounted_.empty()) {
      const fs::path where = mounted_.back();
      mounted_.pop_back();
      bool gone = false;
      for (int attempt = 0; attempt < 40 && !gone; ++attempt) {
        gone = ::umount2(where.c_str(), UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT;
        if (!gone) std::this_thread::sleep_for(milliseconds(25));
      }
      if (!gone) ::umount2(where.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    for (const auto& [file, content] : added_) {
      try {
        // A package may have put its own in the place.
        if (fs::exists(file) && host::read_file(file) == content) fs::remove(file);
      } catch (const std::exception&) {
        ::unlink(file.c_str());
      }
    }
    added_.clear();
  }

  const host::Host& host_;
  SandboxOptions options_;
  fs::path root_;
  Fd root_fd_;
  fs::path uts_;
  std::optional<DebCache> debs_;
  std::vector<fs::path> mounted_;                        // in order
  std::vector<std::pair<fs::path, std::string>> added_;  // files put into the layer, with their content
};

}  // namespace

std::unique_ptr<System> open_sandbox(const host::Host& host, const SandboxOptions& options) {
  return std::make_unique<Sandbox>(host, options);
}

}  // namespace kiln::image
