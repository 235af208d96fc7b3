#include "image/sandbox.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
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
#include "image/rooted.hpp"

namespace kiln::image {

namespace fs = std::filesystem;
using host::Fd;
using std::chrono::milliseconds;

namespace {

constexpr std::string_view policy_path = "/usr/sbin/policy-rc.d";
constexpr std::string_view policy_text =
    "#!/bin/sh\n# No service is started while the image is built.\nexit 101\n";

// Enters the image: a /proc of the command's own, in which nothing sets the host's kernel (a package's script
// that runs sysctl, say) or presses its SysRq; then the command. By the host's own programs and before the
// image is the root, so that nothing of the image decides how. $1: mount, $2: the root; then the command.
constexpr std::string_view enter_script = R"(mount=$1 proc=$2/proc
shift 2
"$mount" -n -t proc -o nosuid,nodev,noexec proc "$proc" || exit 125
for part in sys sysrq-trigger; do
  [ -e "$proc/$part" ] || continue
  "$mount" -n --bind "$proc/$part" "$proc/$part" && "$mount" -n -o remount,bind,ro "$proc/$part" || exit 125
done
exec "$@")";

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
    const host::Command command = command_for(exec);
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

  int shell(const Terminal& terminal) override {
    Exec exec;
    exec.argv = shell_command(terminal);
    exec.env = {{"TERM", terminal.type}};
    const base::ScopeExit keep([this] { keep_packages(); });
    return terminal.hand_over(command_for(exec));
  }

 private:
  [[nodiscard]] host::Command command_for(const Exec& exec) const {
    // What an earlier command left in its place could lead the mount of /proc out of the image.
    static_cast<void>(open_plain("/proc"));
    // A PID namespace for each command: whatever it leaves running dies with it.
    host::Command command{host_program("nsenter"),
                          "--uts=" + uts_.string(),
                          host_program("unshare"),
                          "--mount",
                          "--propagation",
                          "private",
                          "--pid",
                          "--fork",
                          "--kill-child",
                          "--ipc"};
    if (!options_.network) command.add({"--net"});
    command.add({"--", host_program("sh"), "-c", std::string(enter_script), "kiln-enter",
                 host_program("mount"), root_.string()});
    // The environment is built from nothing; the command is found on the image's PATH. Values are no words of
    // the command line, which everybody on the host may read. What the host's sh adds is taken away.
    command.clear_env = true;
    command.env = {{"PATH", fmt::format("{}:{}", stand_ins_folder, image_path)},
                   {"HOME", "/root"},
                   {"LANG", "C.UTF-8"},
                   {"DEBIAN_FRONTEND", "noninteractive"},
                   {"SYSTEMD_OFFLINE", "1"}};
    for (const char* name : network_variables) {
      if (const auto value = host_.env(name); value && options_.network) command.env[name] = *value;
    }
    for (const auto& [name, value] : exec.env) command.env[name] = value;
    command.add({host_program("env")});
    for (const char* name : {"PWD", "OLDPWD", "SHLVL", "_"}) {
      if (!exec.env.contains(name)) command.add({"-u", name});
    }
    command.add({host_program("chroot"), root_.string()});
    command.argv.insert(command.argv.end(), exec.argv.begin(), exec.argv.end());
    command.timeout = exec.timeout.count() > 0 ? exec.timeout : options_.step_limit;
    command.purpose = exec.purpose;
    command.input = exec.input_file.empty() ? exec.input : host::read_file(exec.input_file);
    return command;
  }

  [[nodiscard]] std::string host_program(const std::string& name) const {
    // By path, because PATH is the image's.
    const auto found = host_.runner->find_program(name);
    if (!found)
      throw base::Error("cannot run commands in the image: there is no program '" + name + "'",
                        base::Exit::missing)
          .hint("install util-linux");
    return found->string();
  }

  // A path of the image, resolved inside it; `flags` as for open(2).
  [[nodiscard]] Fd open_inside(std::string_view path, int flags, std::uint64_t resolve = 0) const {
    return open_rooted(root_fd_, path, flags, resolve);
  }
  // A directory of the image that is where its path says. One behind a link is an error: the host's calls and
  // programs would follow the link on the host.
  [[nodiscard]] Fd open_plain(std::string_view path) const {
    Fd fd = open_inside(path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
    if (fd) return fd;
    const int code = errno;
    base::Error error(code == ELOOP
                          ? fmt::format("{} of the image is a symbolic link; it has to be a directory", path)
                      : code == ENOENT || code == ENOTDIR
                          ? fmt::format("the image has no directory {}", path)
                          : fmt::format("cannot open {} of the image: {}", path, host::errno_text(code)));
    throw std::move(error).hint("make it a directory in the base image");
  }
  // What the descriptor is open on, for calls that take a path.
  static std::string by_fd(const Fd& fd) { return "/proc/self/fd/" + std::to_string(fd.get()); }

  // A mount, named so that whatever the image's programs do to the folders above it, unmounting meets it or
  // nothing.
  struct Mounted {
    Fd folder;
    std::string name;
    [[nodiscard]] std::string path() const { return by_fd(folder) + "/" + name; }
  };
  // A file put into the layer, to be taken out again if it is as it was put.
  struct Added {
    Fd folder;
    std::string name;
    std::string content;
  };

  // Where a descriptor of the image is.
  [[nodiscard]] Mounted place_of(const Fd& target) const {
    const fs::path where = fs::path("/") / fs::read_symlink(by_fd(target)).lexically_relative(root_);
    return {open_plain(where.parent_path().string()), where.filename().string()};
  }

  void mount_on(const Fd& target, std::string_view name, const char* source, const char* type,
                unsigned long flags, const char* data) {
    Mounted mounted = place_of(target);
    if (::mount(source, by_fd(target).c_str(), type, flags, data) != 0) {
      throw base::Error(fmt::format("cannot mount {} in the image: {}", name, host::errno_text(errno)));
    }
    mounted_.push_back(std::move(mounted));
  }

  // Returns the directory as it is with the mount.
  Fd mount_folder(std::string_view path, const char* source, const char* type, unsigned long flags,
                  const char* data) {
    mount_on(open_plain(path), path, source, type, flags, data);
    return open_plain(path);
  }

  // All that follows is written by descriptor and never through a link.

  static base::Error failure(std::string_view deed, std::string_view name) {
    const int code = errno;
    base::Error error(fmt::format("cannot {} '{}' in the image: {}", deed, name, host::errno_text(code)));
    if (code == ENOSPC) error.hint("the image's file system is full: raise 'size:' of the base");
    return error;
  }

  // A folder, new or there before.
  static Fd make_folder(const Fd& parent, const std::string& name, unsigned mode) {
    if (::mkdirat(parent.get(), name.c_str(), 0700) != 0 && errno != EEXIST) throw failure("make", name);
    Fd fd(::openat(parent.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd || ::fchmod(fd.get(), mode) != 0) throw failure("make", name);
    return fd;
  }

  // A new file; anything that is there already is an error.
  static void put_file(const Fd& folder, const std::string& name, std::string_view content, unsigned mode) {
    const Fd fd(
        ::openat(folder.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) throw failure("make", name);
    base::ScopeExit drop([&] { ::unlinkat(folder.get(), name.c_str(), 0); });
    std::string_view rest = content;
    while (!rest.empty()) {
      const ssize_t put = ::write(fd.get(), rest.data(), rest.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw failure("write", name);
      rest.remove_prefix(static_cast<std::size_t>(put));
    }
    if (::fchmod(fd.get(), mode) != 0) throw failure("set the mode of", name);
    drop.release();
  }

  void mount_all() {
    fill_dev(mount_folder("/dev", "tmpfs", "tmpfs", MS_NOSUID, "mode=755,size=1m"));
    mount_folder("/sys", "sysfs", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
    // Some tools (a Docker daemon that bakes images) want control groups; a host may not have version 2.
    if (const Fd groups = open_inside("/sys/fs/cgroup", O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS); groups) {
      Mounted mounted = place_of(groups);
      if (::mount("cgroup2", by_fd(groups).c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) ==
          0)
        mounted_.push_back(std::move(mounted));
    }
    const Fd run = mount_folder("/run", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    make_folder(run, "lock", 01777);
    mount_folder("/tmp", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    if (const Fd archives = open_inside("/var/cache/apt/archives", O_PATH | O_DIRECTORY); archives) {
      if (options_.apt_cache.empty()) {
        mount_on(archives, "/var/cache/apt/archives", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
      } else {
        debs_.emplace(options_.apt_cache, options_.scratch / "archives");
        mount_on(archives, "/var/cache/apt/archives", debs_->folder().c_str(), nullptr, MS_BIND, nullptr);
      }
    }
    fill_tools(run);
    name_machine();
    if (options_.network) lend_resolver(run);
    forbid_services();
  }

  void fill_dev(const Fd& dev) {
    struct Node {
      const char* name;
      unsigned major;
      unsigned minor;
    };
    constexpr std::array nodes = {Node{"null", 1, 3},   Node{"zero", 1, 5},    Node{"full", 1, 7},
                                  Node{"random", 1, 8}, Node{"urandom", 1, 9}, Node{"tty", 5, 0}};
    for (const Node& node : nodes) {
      if (::mknodat(dev.get(), node.name, S_IFCHR | 0666, ::makedev(node.major, node.minor)) != 0 ||
          ::fchmodat(dev.get(), node.name, 0666, 0) != 0)
        throw failure("make", node.name);
    }
    const std::array<std::pair<const char*, const char*>, 5> links = {{{"fd", "/proc/self/fd"},
                                                                       {"stdin", "/proc/self/fd/0"},
                                                                       {"stdout", "/proc/self/fd/1"},
                                                                       {"stderr", "/proc/self/fd/2"},
                                                                       {"ptmx", "pts/ptmx"}}};
    for (const auto& [name, target] : links) {
      if (::symlinkat(target, dev.get(), name) != 0) throw failure("make", name);
    }
    make_folder(dev, "pts", 0755);
    make_folder(dev, "shm", 01777);
    mount_folder("/dev/pts", "devpts", "devpts", MS_NOSUID | MS_NOEXEC,
                 "newinstance,ptmxmode=0666,mode=620,gid=5");
    mount_folder("/dev/shm", "tmpfs", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
  }

  // First on PATH: a mount over the real programs would keep dpkg from upgrading them, a diversion could
  // stay.
  static void fill_tools(const Fd& run) {
    const Fd folder = make_folder(run, std::string(stand_ins_folder.substr(5)), 0755);
    for (const std::string_view name : stand_ins) put_file(folder, std::string(name), stand_in, 0755);
  }

  // Postfix and others write the host's name into their configuration: it must be the same everywhere.
  void name_machine() {
    uts_ = fs::absolute(options_.scratch) / "uts";
    host::write_file(uts_, "");
    Mounted mounted{Fd(::open(uts_.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)), "uts"};
    if (!mounted.folder) throw host::io_error("open", uts_.parent_path(), errno);
    host::Command command{"unshare", "--uts=" + uts_.string(), "hostname", "localhost"};
    command.purpose = "naming the sandbox";
    host::require(*host_.runner, command);
    mounted_.push_back(std::move(mounted));
  }

  // The text of a link in a directory, "" when there is none.
  static std::string link_text(const Fd& folder, const char* name) {
    std::array<char, PATH_MAX> text{};
    const ssize_t length = ::readlinkat(folder.get(), name, text.data(), text.size());
    return length <= 0 ? "" : std::string(text.data(), static_cast<std::size_t>(length));
  }

  // The host's resolver is what /etc/resolv.conf shows, whatever it is in the image.
  void lend_resolver(const Fd& run) {
    std::error_code none;
    const std::string resolver =
        fs::exists("/etc/resolv.conf", none) ? host::read_file("/etc/resolv.conf") : "";
    const fs::path lent = options_.scratch / "resolv.conf";
    Fd target = open_inside("/etc/resolv.conf", O_PATH);
    if (!target) {
      // Nothing there, or a link into /run, where a resolver would have put it.
      Fd etc = open_inside("/etc", O_PATH | O_DIRECTORY);
      if (!etc) throw base::Error("cannot open /etc of the image: " + host::errno_text(errno));
      const fs::path wanted = (fs::path("/etc") / link_text(etc, "resolv.conf")).lexically_normal();
      std::string_view below = wanted.native();
      if (below.starts_with("/var/run/")) below.remove_prefix(4);
      if (below.starts_with("/run/") && wanted.has_filename()) {
        put_below(run, fs::path(below.substr(5)), resolver);
        return;
      }
      if (wanted != "/etc/") return;  // a link to nowhere: the image's own affair
      put_file(etc, "resolv.conf", "", 0644);
      added_.push_back({std::move(etc), "resolv.conf", ""});
      target = open_inside("/etc/resolv.conf", O_PATH);
      if (!target) throw base::Error("cannot open /etc/resolv.conf of the image: " + host::errno_text(errno));
    }
    host::write_file(lent, resolver);
    mount_on(target, "/etc/resolv.conf", lent.c_str(), nullptr, MS_BIND, nullptr);
  }

  // A file below a folder of ours, with the folders on the way.
  static void put_below(const Fd& folder, const fs::path& path, std::string_view content) {
    Fd at(::fcntl(folder.get(), F_DUPFD_CLOEXEC, 3));
    for (const fs::path& part : path.parent_path()) at = make_folder(at, part.string(), 0755);
    put_file(at, path.filename().string(), content, 0644);
  }

  void forbid_services() {
    const fs::path policy = options_.scratch / "policy-rc.d";
    host::write_file(policy, policy_text, 0755);
    if (const Fd own = open_inside(policy_path, O_PATH); own) {
      mount_on(own, policy_path, policy.c_str(), nullptr, MS_BIND, nullptr);
      return;
    }
    Fd folder = open_inside("/usr/sbin", O_PATH | O_DIRECTORY);
    if (!folder) return;  // not a Debian system: there is no such policy
    const std::string name = fs::path(policy_path).filename().string();
    if (!link_text(folder, name.c_str()).empty())
      throw base::Error(fmt::format("{} of the image is a link to nothing", policy_path))
          .hint("remove it in the base image: no service may start while packages are installed");
    put_file(folder, name, policy_text, 0755);
    added_.push_back({std::move(folder), name, std::string(policy_text)});
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
      const Mounted one = std::move(mounted_.back());
      mounted_.pop_back();
      const std::string where = one.path();
      bool gone = false;
      for (int attempt = 0; attempt < 40 && !gone; ++attempt) {
        gone = ::umount2(where.c_str(), UMOUNT_NOFOLLOW) == 0 || errno == EINVAL || errno == ENOENT;
        if (!gone) std::this_thread::sleep_for(milliseconds(25));
      }
      if (!gone) ::umount2(where.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
    }
    for (const Added& one : added_) {
      // A package may have put its own in the place.
      if (holds(one)) ::unlinkat(one.folder.get(), one.name.c_str(), 0);
    }
    added_.clear();
  }

  static bool holds(const Added& one) noexcept {
    const Fd fd(::openat(one.folder.get(), one.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return false;
    if (static_cast<std::size_t>(status.st_size) != one.content.size()) return false;
    std::string there(one.content.size(), '\0');
    return ::read(fd.get(), there.data(), there.size()) == static_cast<ssize_t>(there.size()) &&
           there == one.content;
  }

  const host::Host& host_;
  SandboxOptions options_;
  fs::path root_;
  Fd root_fd_;
  fs::path uts_;
  std::optional<DebCache> debs_;
  std::vector<Mounted> mounted_;  // in order
  std::vector<Added> added_;
};

}  // namespace

std::unique_ptr<System> open_sandbox(const host::Host& host, const SandboxOptions& options) {
  return std::make_unique<Sandbox>(host, options);
}

}  // namespace kiln::image
