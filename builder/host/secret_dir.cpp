#include "host/secret_dir.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

constexpr int kTries = 600;
constexpr unsigned kPause = 50'000;  // microseconds

// Memory first: a disk keeps what was deleted.
fs::path in_memory(const Host& host) {
  if (::access("/dev/shm", W_OK | X_OK) == 0) return "/dev/shm";
  return host.env("TMPDIR").value_or("/tmp");
}

// The guard: waits until the other end of `alive` is closed, by the owner or by its death. Nothing else of
// the owner's stays open in it, and no signal of the terminal reaches it.
[[noreturn]] void keep_watch(int alive, const fs::path& path) {
  ::setsid();
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(signal, SIG_IGN);
  ::dup2(alive, 0);
  ::close_range(1, ~0U, 0);
  char byte = 0;
  while (::read(0, &byte, 1) < 0 && errno == EINTR) {
  }
  // What the owner had started may be writing still: until it has found out, the folder fills again.
  for (int i = 0; i < kTries; ++i) {
    remove_tree(path);
    if (::access(path.c_str(), F_OK) != 0) break;
    ::usleep(kPause);
  }
  ::_exit(0);
}

}  // namespace

SecretDir::SecretDir(const Host& host, std::string_view what) {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) throw io_error("make", "a pipe", errno);
  const Fd watched(ends[0]);
  alive_.reset(ends[1]);
  dir_.emplace(in_memory(host), fmt::format("kiln-{}-{}-", what, ::getpid()));
  guard_ = ::fork();
  if (guard_ < 0) throw io_error("start a process to guard", path(), errno);
  if (guard_ == 0) keep_watch(watched.get(), path());
}

SecretDir::~SecretDir() {
  dir_.reset();
  alive_.reset();
  while (::waitpid(guard_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace kiln::host
