#include "host/host.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/error.hpp"
#include "host/io_error.hpp"
#include "host/tool_version.hpp"

namespace kiln::host {

namespace {

// The one thing a signal handler may touch.
volatile sig_atomic_t signal_that_came = 0;
thread_local int shields = 0;

void note_signal(int signal) {
  signal_that_came = signal;
}

}  // namespace

void forbid_core_files() {
  // Not PR_SET_DUMPABLE: without it only root gives a nameless file its name.
  const rlimit none = {0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
}

void install_signal_flags() {
  struct sigaction action{};
  action.sa_handler = note_signal;  // no SA_RESTART: a wait shall return
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction old{};
    ::sigaction(signal, nullptr, &old);
    if (signal == SIGHUP && old.sa_handler == SIG_IGN) continue;  // nohup
    ::sigaction(signal, &action, nullptr);
  }
  // A reader that went away is an error of the write, not the end of kiln with work half done.
  struct sigaction ignore{};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, nullptr);
}

int pending_signal() {
  return signal_that_came;
}

void check_interrupt() {
  const int signal = signal_that_came;
  if (signal == 0 || shields > 0) return;
  if (signal == SIGINT) throw base::Error("interrupted", base::Exit::interrupted);
  throw base::Error(signal == SIGTERM ? "terminated" : "the terminal went away", base::Exit::terminated);
}

InterruptShield::InterruptShield() {
  ++shields;
}
InterruptShield::~InterruptShield() {
  --shields;
}

void private_mounts() {
  static thread_local bool done = false;
  if (done) return;
  const auto fail = [](const char* deed) {
    return base::Error(std::string("cannot ") + deed + ": " + errno_text(errno), base::Exit::missing)
        .hint("this needs root and a kernel with mount namespaces");
  };
  if (::unshare(CLONE_NEWNS) != 0) throw fail("make a mount namespace");
  if (::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    if (errno != EINVAL) throw fail("make mounts private");
    throw base::Error(
        "cannot make mounts private: the root directory is no mount point, as in a plain chroot",
        base::Exit::missing)
        .hint("bind the tree onto itself before entering it: mount --bind TREE TREE");
  }
  done = true;
}

Host Host::system() {
  Host host;
  host.runner = system_runner();
  host.now = [] {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
  host.elapsed = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  };
  host.env = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr) return std::nullopt;
    return value;
  };
  const std::shared_ptr<Runner> runner = host.runner;
  const auto versions = std::make_shared<ToolVersions>("/");
  host.tool_version = [runner, versions](const std::string& program) {
    const auto path = runner->find_program(program);
    return path ? versions->of(*path) : std::string("absent");
  };
  host.uid = static_cast<int>(::geteuid());
  host.root = host.uid == 0;
  host.terminal.is_tty = ::isatty(STDERR_FILENO) == 1;
  host.terminal.input_is_tty = ::isatty(STDIN_FILENO) == 1;
  struct winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) host.terminal.columns = size.ws_col;
  return host;
}

}  // namespace kiln::host
