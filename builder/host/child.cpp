#include "host/child.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/size.hpp"
#include "base/text.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

namespace {

// What the supervisor tells kiln; small enough that a pipe keeps it whole.
struct Report {
  enum Kind : int { started, no_folder, no_program, exited, killed, gone };
  int kind = gone;
  int value = 0;  // pid, errno, exit status or signal
};

constexpr char order_terminate = 't';
constexpr char order_kill = 'k';

// ---- In the supervisor. Between fork and exec only async-signal-safe calls: no allocation, no locks.

struct Orders {  // all that the supervisor needs, made ready before the fork
  const char* program;
  char* const* argv;
  char* const* envp;
  const char* cwd;  // nullptr: stay
  int in;
  int out;
  int err;
  int life;         // kiln's orders; its end is the order to kill
  int status;       // reports to kiln
  const int* open;  // sorted: all that the supervisor keeps open beside 0, 1, 2
  std::size_t open_count;
  const int* keep;  // what the command inherits
  std::size_t keep_count;
};

void tell(int fd, int kind, int value) {
  Report report;
  report.kind = kind;
  report.value = value;
  while (::write(fd, &report, sizeof report) < 0 && errno == EINTR) {
  }
}

void close_all_but(const int* sorted, std::size_t count) {
  unsigned first = 3;
  for (std::size_t i = 0; i < count; ++i) {
    const auto fd = static_cast<unsigned>(sorted[i]);
    if (fd < first) continue;
    if (fd > first) ::syscall(SYS_close_range, first, fd - 1, 0);
    first = fd + 1;
  }
  ::syscall(SYS_close_range, first, ~0U, 0);
}

[[noreturn]] void become_command(const Orders& orders, int failures) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // should somebody kill the supervisor itself
  ::setpgid(0, 0);
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction plain{};
    plain.sa_handler = SIG_DFL;
    ::sigaction(signal, &plain, nullptr);
  }
  ::dup2(orders.in, 0);
  ::dup2(orders.out, 1);
  ::dup2(orders.err, 2);
  for (std::size_t i = 0; i < orders.keep_count; ++i) ::fcntl(orders.keep[i], F_SETFD, 0);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (orders.cwd != nullptr && ::chdir(orders.cwd) != 0) {
    tell(failures, Report::no_folder, errno);
  } else {
    ::execve(orders.program, orders.argv, orders.envp);
    tell(failures, Report::no_program, errno);
  }
  ::_exit(127);
}

// Sends SIGKILL to every child of this process; false when it has none or they cannot be listed.
bool kill_children() {
  const int fd = ::open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  bool any = false;
  pid_t pid = 0;
  char buffer[1024];
  while (true) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    for (ssize_t i = 0; i < count; ++i) {
      if (buffer[i] >= '0' && buffer[i] <= '9') {
        pid = pid * 10 + (buffer[i] - '0');
      } else if (pid > 0) {
        ::kill(pid, SIGKILL);
        any = true;
        pid = 0;
      }
    }
  }
  if (pid > 0) {
    ::kill(pid, SIGKILL);
    any = true;
  }
  ::close(fd);
  return any;
}

struct Watch {
  pid_t command = 0;
  bool command_ended = false;
  bool childless = false;
  int status_fd = -1;

  void reap() {
    while (true) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid == 0) return;
      if (pid < 0) {
        childless = errno == ECHILD;
        return;
      }
      if (pid != command) continue;
      command_ended = true;
      if (WIFSIGNALED(status)) {
        tell(status_fd, Report::killed, WTERMSIG(status));
      } else {
        tell(status_fd, Report::exited, WEXITSTATUS(status));
      }
    }
  }
};

[[noreturn]] void supervise(const Orders& orders) {
  ::setsid();  // Ctrl-C at the terminal reaches kiln alone, which then takes down what it started
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  ::prctl(PR_SET_NAME, "kiln-watch", 0, 0, 0);
  struct sigaction plain{};
  plain.sa_handler = SIG_DFL;
  ::sigaction(SIGCHLD, &plain, nullptr);  // ignored, it would hide how the command ended
  close_all_but(orders.open, orders.open_count);

  int failures[2] = {-1, -1};
  if (::pipe2(failures, O_CLOEXEC) != 0) {
    tell(orders.status, Report::no_program, errno);
    ::_exit(1);
  }
  Watch watch;
  watch.status_fd = orders.status;
  watch.command = ::_Fork();
  if (watch.command == 0) become_command(orders, failures[1]);
  ::close(failures[1]);
  Report failure;
  ssize_t got = -1;
  if (watch.command < 0) {
    failure.kind = Report::no_program;
    failure.value = errno;
    got = sizeof failure;
  } else {
    do {
      got = ::read(failures[0], &failure, sizeof failure);
    } while (got < 0 && errno == EINTR);
  }
  if (got == sizeof failure) {
    tell(orders.status, failure.kind, failure.value);
    ::_exit(1);
  }
  tell(orders.status, Report::started, watch.command);

  // Only what the watch needs stays open: nobody waits for an end of file because of the supervisor.
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3 && null >= 0; ++fd) ::dup2(null, fd);
  int mine[2] = {std::min(orders.life, orders.status), std::max(orders.life, orders.status)};
  close_all_but(mine, 2);

  sigset_t chld;
  ::sigemptyset(&chld);
  ::sigaddset(&chld, SIGCHLD);
  const int signals = ::signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
  bool kill_all = false;
  while (!watch.command_ended && !kill_all) {
    watch.reap();
    if (watch.command_ended) break;
    pollfd polled[2] = {{orders.life, POLLIN, 0}, {signals, POLLIN, 0}};
    ::poll(polled, 2, -1);
    if (polled[1].revents != 0) {
      signalfd_siginfo drained;
      while (::read(signals, &drained, sizeof drained) > 0) {
      }
    }
    if (polled[0].revents != 0) {
      char order = order_kill;  // end of file: kiln is gone
      const ssize_t count = ::read(orders.life, &order, 1);
      if (count < 0) continue;
      if (count == 1 && order == order_terminate) {
        ::kill(-watch.command, SIGTERM);
      } else {
        kill_all = true;
      }
    }
  }
  // Killing a parent hands its children to this process, so this ends with none.
  while (true) {
    if (!kill_children() && !watch.command_ended) ::kill(-watch.command, SIGKILL);
    watch.reap();
    if (watch.childless) break;
    pollfd polled = {signals, POLLIN, 0};
    ::poll(&polled, 1, 20);
    signalfd_siginfo drained;
    while (::read(signals, &drained, sizeof drained) > 0) {
    }
  }
  tell(orders.status, Report::gone, 0);
  ::_exit(0);
}

// ---- In kiln.

struct Ends {
  Fd read;
  Fd write;
};

// Never 0, 1 or 2, should kiln have been started without these.
Fd lifted(int fd) {
  Fd owned(fd);
  if (fd > 2) return owned;
  return Fd(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

Ends make_pipe() {
  int fds[2] = {-1, -1};
  if (::pipe2(fds, O_CLOEXEC) != 0) throw io_error("create", "a pipe", errno);
  return {lifted(fds[0]), lifted(fds[1])};
}

// A socket rather than a pipe: writing to one whose reader died is an error, not a signal.
Ends make_lifeline() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
    throw io_error("create", "a socket", errno);
  return {lifted(fds[0]), lifted(fds[1])};
}

Fd open_null() {
  Fd fd = lifted(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!fd) throw io_error("open", "/dev/null", errno);
  return fd;
}

// Standard input as a file in memory: any size is there at once, so neither side can wait for the other.
Fd input_of(const std::string& input) {
  if (input.empty()) return open_null();
  Fd fd = lifted(::memfd_create("kiln-input", MFD_CLOEXEC));
  if (!fd) throw io_error("create", "a file in memory", errno);
  std::string_view rest = input;
  while (!rest.empty()) {
    const ssize_t count = ::write(fd.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("write", "a file in memory", errno);
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
  ::lseek(fd.get(), 0, SEEK_SET);
  return fd;
}

std::vector<std::string> environment_of(const Command& command) {
  std::vector<std::string> all;
  for (char** entry = environ; !command.clear_env && entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    if (!command.env.contains(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [name, value] : command.env) {
    if (value) all.push_back(name + "=" + *value);
  }
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

std::string purpose_of(const Command& command) {
  return command.purpose.empty() ? std::string{} : " (" + command.purpose + ")";
}

base::Error missing(const Command& command, const std::string& why) {
  base::Error error("cannot run '" + command.argv.front() + "': " + why, base::Exit::missing);
  error.hint("install it; `kiln doctor` lists what is missing");
  if (!command.purpose.empty()) error.during(command.purpose);
  return error;
}

}  // namespace

std::optional<fs::path> find_on_path(const std::string& name) {
  const auto runs = [](const fs::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && ::access(path.c_str(), X_OK) == 0;
  };
  if (name.empty()) return std::nullopt;
  if (name.find('/') != std::string::npos) {
    if (!runs(name)) return std::nullopt;
    return fs::absolute(name);
  }
  const char* path = std::getenv("PATH");  // NOLINT(concurrency-mt-unsafe)
  std::vector<std::string> folders =
      base::split(path == nullptr ? "/usr/local/bin:/usr/bin:/bin" : path, ':');
  for (const char* folder : {"/usr/local/sbin", "/usr/sbin", "/sbin"}) folders.emplace_back(folder);
  for (const std::string& folder : folders) {
    if (!folder.starts_with('/')) continue;  // what a relative folder holds is chance
    if (fs::path candidate = fs::path(folder) / name; runs(candidate)) return candidate;
  }
  return std::nullopt;
}

Child::Child(const Command& command, bool piped) : command_(command), begin_(steady_clock::now()) {
  if (command_.argv.empty()) throw base::Error("an empty command was to be run");
  // A name is looked up on kiln's own PATH; a path is taken as it is, relative to the command's directory.
  std::string program = command_.argv.front();
  if (program.find('/') == std::string::npos) {
    const auto found = find_on_path(program);
    if (!found) throw missing(command_, "there is no such program");
    program = found->string();
  }

  const Fd in = input_of(command_.input);
  command_.input.clear();
  Fd out;
  Fd err;
  if (piped) {
    Ends out_pipe = make_pipe();
    Ends err_pipe = make_pipe();
    out_ = std::move(out_pipe.read);
    err_ = std::move(err_pipe.read);
    out = std::move(out_pipe.write);
    err = std::move(err_pipe.write);
    for (const int fd : {out_.get(), err_.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  } else if (command_.log.empty()) {
    out = open_null();
    err = open_null();
  } else {
    out = lifted(::open(command_.log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!out) throw io_error("write", command_.log, errno);
    err = Fd(::fcntl(out.get(), F_DUPFD_CLOEXEC, 3));
  }
  Ends life = make_lifeline();
  Ends status = make_pipe();

  std::vector<std::string> environment = environment_of(command_);
  std::vector<std::string> words = command_.argv;
  const std::vector<char*> argv = pointers(words);
  const std::vector<char*> envp = pointers(environment);
  std::vector<int> keep = command_.keep_fds;
  std::vector<int> open_in_supervisor = keep;
  for (const int fd : {in.get(), out.get(), err.get(), life.read.get(), status.write.get()}) {
    open_in_supervisor.push_back(fd);
  }
  std::sort(open_in_supervisor.begin(), open_in_supervisor.end());
  const std::string cwd = command_.cwd.string();
  const Orders orders{program.c_str(),
                      argv.data(),
                      envp.data(),
                      cwd.empty() ? nullptr : cwd.c_str(),
                      in.get(),
                      out.get(),
                      err.get(),
                      life.read.get(),
                      status.write.get(),
                      open_in_supervisor.data(),
                      open_in_supervisor.size(),
                      keep.data(),
                      keep.size()};

  // No handler of kiln may run in the supervisor.
  sigset_t all;
  sigset_t old;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  supervisor_ = ::_Fork();
  if (supervisor_ == 0) supervise(orders);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (supervisor_ < 0) throw io_error("start", command_.argv.front(), fork_error);
  life_ = std::move(life.write);
  status_ = std::move(status.read);
  status.write.reset();  // so that its end is seen should the supervisor die

  Report report;
  ssize_t got = -1;
  do {
    got = ::read(status_.get(), &report, sizeof report);
  } while (got < 0 && errno == EINTR);
  ::fcntl(status_.get(), F_SETFL, O_NONBLOCK);
  if (got == sizeof report && report.kind == Report::started) {
    pid_ = report.value;
    return;
  }
  bury();
  if (got != sizeof report) throw base::Error("the supervisor of '" + command_.argv.front() + "' died");
  if (report.kind == Report::no_folder) throw io_error("enter", command_.cwd, report.value);
  if (report.value == ENOENT && ::access(program.c_str(), F_OK) == 0) {
    throw missing(command_, "the interpreter or loader that it names does not exist");
  }
  throw missing(command_, report.value == ENOENT ? "there is no such program" : errno_text(report.value));
}

Child::~Child() {
  if (!gone_) stop(milliseconds(0));
}

void Child::bury() {
  life_.reset();
  while (supervisor_ > 0 && ::waitpid(supervisor_, nullptr, 0) < 0 && errno == EINTR) {
  }
  supervisor_ = -1;
  gone_ = true;
}

void Child::step() {
  while (!gone_) {
    Report report;
    const ssize_t got = ::read(status_.get(), &report, sizeof report);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return;
    if (got != sizeof report) {  // the supervisor was killed, and the command with it
      if (!ended_) finished_.signal = SIGKILL;
      bury();
      return;
    }
    switch (report.kind) {
      case Report::exited:
        finished_.exit = report.value;
        ended_ = true;
        break;
      case Report::killed:
        finished_.signal = report.value;
        ended_ = true;
        break;
      default:
        bury();
        break;
    }
  }
}

void Child::order(char what) {
  if (life_) {
    while (::send(life_.get(), &what, 1, MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
  }
}

void Child::wait_for_news(milliseconds patience) {
  pollfd polled{status_.get(), POLLIN, 0};
  ::poll(&polled, 1, static_cast<int>(std::max<std::int64_t>(patience.count(), 0)));
  step();
}

milliseconds Child::slice(milliseconds longest) const {
  if (command_.timeout.count() <= 0) return longest;
  const auto left = std::chrono::duration_cast<milliseconds>(begin_ + command_.timeout - steady_clock::now());
  return std::clamp(left + milliseconds(1), milliseconds(0), longest);
}

void Child::check_time(const std::string& tail) {
  if (gone_ || command_.timeout.count() <= 0 || steady_clock::now() - begin_ < command_.timeout) return;
  stop(std::chrono::seconds(2));
  base::Error error(fmt::format("'{}'{} did not end within {} and was stopped", command_.argv.front(),
                                purpose_of(command_),
                                base::human_seconds(static_cast<double>(command_.timeout.count()) / 1000)));
  if (!command_.log.empty()) error.hint("see " + command_.log.string());
  error.detail("$ " + base::printable(command_.text()) +
               (tail.empty() ? "" : "\n" + base::printable(base::last_lines(tail, 30))));
  throw error;
}

std::optional<Finished> Child::wait(milliseconds patience) {
  const auto end = steady_clock::now() + patience;
  while (true) {
    check_interrupt();
    step();
    if (gone_) return finished_;
    check_time({});
    const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    wait_for_news(slice(std::min(left, milliseconds(100))));
  }
}

void Child::stop(milliseconds patience) {
  step();
  if (gone_) return;
  const auto end = steady_clock::now() + patience;
  if (patience.count() > 0) order(order_terminate);
  while (!gone_ && steady_clock::now() < end) {
    const auto left = std::chrono::duration_cast<milliseconds>(end - steady_clock::now());
    wait_for_news(std::min(left + milliseconds(1), milliseconds(50)));
  }
  if (!gone_) order(order_kill);
  // A process in an uninterruptible wait dies when its device answers; kiln does not outwait a dead device.
  const auto limit = steady_clock::now() + std::chrono::seconds(30);
  while (!gone_ && steady_clock::now() < limit) wait_for_news(milliseconds(50));
  if (!gone_) {
    life_.reset();
    supervisor_ = -1;  // it goes on by itself
    gone_ = true;
  }
}

}  // namespace kiln::host
