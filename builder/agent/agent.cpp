// kiln's hand in a build guest: runs commands that come in over a virtio-serial port and streams their output
// back. It lives and writes in /run: the network comes up by ioctl, the resolver by a file of /run laid over
// /etc/resolv.conf, which it makes (empty) when there is none and takes away again. It never ends by itself;
// a hang-up of the port means that kiln went away and another may come. `kiln_agent wake` sets clock and
// randomness and ends: for a proof's guest, in which it is for that moment alone.
//
// One thread, one poll loop, nothing that blocks: a command that floods its output or reads no input cannot
// keep a cancel from being heard.

#include <arpa/inet.h>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/random.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "agent/protocol.hpp"

namespace {

using namespace kiln::agent;

// QEMU's user network, the same in every build.
constexpr char own_address[] = "10.0.2.15";
constexpr char netmask[] = "255.255.255.0";
constexpr char gateway[] = "10.0.2.2";
constexpr char resolver[] = "nameserver 10.0.2.3\n";
constexpr char resolver_file[] = "/run/kiln/resolv.conf";
constexpr char etc_resolver[] = "/etc/resolv.conf";

constexpr std::size_t out_limit = 512U << 10;  // the command's pipes are not read while more than this waits
constexpr long kill_after_ms = 3000;           // from SIGTERM to SIGKILL
constexpr long linger_ms = 300;                // output of what a command left running

long now_ms() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<long>(t.tv_sec) * 1000 + t.tv_nsec / 1000000;
}

// Bytes that wait, taken from the front.
struct Buffer {
  unsigned char* data = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t room = 0;

  [[nodiscard]] std::size_t size() const { return end - begin; }
  [[nodiscard]] unsigned char* front() const { return data + begin; }
  void drop(std::size_t count) {
    begin += count;
    if (begin == end) begin = end = 0;
  }
  unsigned char* grow(std::size_t count) {
    if (end + count > room && begin > 0) {
      memmove(data, data + begin, size());
      end -= begin;
      begin = 0;
    }
    if (end + count > room) {
      std::size_t wanted = room == 0 ? 65536 : room;
      while (wanted < end + count) wanted *= 2;
      auto* larger = static_cast<unsigned char*>(realloc(data, wanted));
      if (larger == nullptr) abort();  // systemd starts the agent anew; kiln sees no exit frame
      data = larger;
      room = wanted;
    }
    return data + end;
  }
  void add(const void* bytes, std::size_t count) {
    memcpy(grow(count), bytes, count);
    end += count;
  }
};

struct Job {
  bool active = false;  // from its exec frame to its exit frame
  std::uint32_t id = 0;
  pid_t pid = 0;
  int in = -1, out = -1, err = -1;
  Buffer input;
  bool input_ends = false;
  bool reaped = false;
  int status = 0;
  long quiet_since = 0;  // after the command ended: last time something came from what it left running
  long kill_at = 0;      // after a cancel
};

int port = -1;
Buffer from_kiln;
Buffer to_kiln;
Job job;
int tries_without_network = 0;
long next_try = 0;
bool network_up = false;
bool made_resolver = false;  // /etc/resolv.conf did not exist
bool laid_resolver = false;
long release_until = 0;  // what commands left running is given that long to end; 0: nobody waits for it
std::uint32_t release_id = 0;

void shut(int& fd) {
  if (fd >= 0) close(fd);
  fd = -1;
}

void send(Type type, std::uint32_t id, const void* bytes, std::size_t count) {
  unsigned char head[header_size];
  put_header(head, Header{type, id, static_cast<std::uint32_t>(count)});
  to_kiln.add(head, sizeof head);
  to_kiln.add(bytes, count);
}

__attribute__((format(printf, 1, 2))) void tell(const char* format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  const int length = vsnprintf(text, sizeof text, format, values);
  va_end(values);
  if (length > 0) {
    const auto count = static_cast<std::size_t>(length);
    send(Type::note, 0, text, count < sizeof text ? count : sizeof text - 1);
  }
}

// ---- network

bool read_file(const char* path, char* to, std::size_t room) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t got = read(fd, to, room - 1);
  close(fd);
  if (got < 0) return false;
  to[got] = 0;
  return true;
}

sockaddr_in address_of(const char* text) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, text, &address.sin_addr);
  return address;
}

// The build's NIC: the first interface with a device behind it. udev may want to rename it, which it cannot
// do once it is up; so it is left alone until udev has its record, or 20 tries long.
bool find_interface(char* name) {
  DIR* directory = opendir("/sys/class/net");
  if (directory == nullptr) return false;
  bool found = false;
  while (const dirent* entry = readdir(directory)) {
    char path[384];
    char index[32];
    snprintf(path, sizeof path, "/sys/class/net/%s/device", entry->d_name);
    if (entry->d_name[0] == '.' || access(path, F_OK) != 0) continue;
    snprintf(path, sizeof path, "/sys/class/net/%s/ifindex", entry->d_name);
    if (strlen(entry->d_name) >= IFNAMSIZ || !read_file(path, index, sizeof index)) continue;
    if (found && strcmp(name, entry->d_name) < 0) continue;
    snprintf(path, sizeof path, "/run/udev/data/n%d", atoi(index));
    if (access(path, F_OK) != 0 && tries_without_network < 20) continue;
    memcpy(name, entry->d_name, strlen(entry->d_name) + 1);
    found = true;
  }
  closedir(directory);
  return found;
}

bool has_address(int fd, const char* name) {
  ifreq request{};
  memcpy(request.ifr_name, name, strlen(name) + 1);
  if (ioctl(fd, SIOCGIFADDR, &request) != 0) return false;
  if (ioctl(fd, SIOCGIFFLAGS, &request) != 0 || (request.ifr_flags & IFF_UP) == 0) return false;
  char routes[4096];
  if (!read_file("/proc/net/route", routes, sizeof routes)) return false;
  char line[64];
  snprintf(line, sizeof line, "%s\t00000000\t", name);
  return strstr(routes, line) != nullptr;
}

void ensure_network() {
  if (!network_up) {
    if (now_ms() < next_try) return;
    next_try = now_ms() + 500;
    ++tries_without_network;
  }
  char name[IFNAMSIZ] = "";
  if (!find_interface(name)) return;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  if (!has_address(fd, name)) {
    ifreq request{};
    memcpy(request.ifr_name, name, strlen(name) + 1);
    sockaddr_in address = address_of(own_address);
    memcpy(&request.ifr_addr, &address, sizeof address);
    bool fine = ioctl(fd, SIOCSIFADDR, &request) == 0;
    address = address_of(netmask);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    fine = fine && ioctl(fd, SIOCSIFNETMASK, &request) == 0;
    fine = fine && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
    request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP | IFF_RUNNING);
    fine = fine && ioctl(fd, SIOCSIFFLAGS, &request) == 0;
    rtentry route{};
    address = address_of(gateway);
    memcpy(&route.rt_gateway, &address, sizeof address);
    address = address_of("0.0.0.0");
    memcpy(&route.rt_dst, &address, sizeof address);
    memcpy(&route.rt_genmask, &address, sizeof address);
    route.rt_flags = RTF_UP | RTF_GATEWAY;
    route.rt_dev = name;
    fine = fine && (ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST);
    if (!fine) tell("network: %s: %s", name, strerror(errno));
    if (fine && !network_up) tell("network: %s has %s", name, own_address);
    network_up = fine;
  } else {
    network_up = true;
  }
  close(fd);
}

// Makes /etc/resolv.conf read as the build's resolver without writing to the disk. Repeated before each
// command: a service of the image may have put its own file there meanwhile.
void ensure_resolver() {
  char text[512];
  if (read_file(etc_resolver, text, sizeof text) && strstr(text, resolver) != nullptr) return;
  const int fd = open(resolver_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  const ssize_t put = write(fd, resolver, sizeof resolver - 1);
  close(fd);
  if (put != static_cast<ssize_t>(sizeof resolver - 1)) return;
  if (access(etc_resolver, F_OK) != 0) {
    char target[512];
    const ssize_t length = readlink(etc_resolver, target, sizeof target - 1);
    if (length > 0) {  // a link that leads nowhere: make the file it names, when that is below /run
      target[length] = 0;
      const char* below = target;
      while (strncmp(below, "../", 3) == 0) below += 3;
      if (*below == '/') ++below;
      char path[600];
      snprintf(path, sizeof path, "/%s", below);
      if (strncmp(path, "/run/", 5) != 0) return;
      for (char* slash = strchr(path + 5, '/'); slash != nullptr; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        mkdir(path, 0755);
        *slash = '/';
      }
      const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
      if (file < 0) return;
      if (write(file, resolver, sizeof resolver - 1) < 0) tell("resolver: %s", strerror(errno));
      close(file);
      return;
    }
    // Nothing there: an empty file to lay ours over, taken away again by `release`.
    const int file = open(etc_resolver, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file < 0) return;  // the root is still read-only; tried again before the next command
    close(file);
    made_resolver = true;
  }
  if (mount(resolver_file, etc_resolver, nullptr, MS_BIND, nullptr) == 0) {
    laid_resolver = true;
  } else {
    tell("resolver: %s", strerror(errno));
  }
}

void give_back() {
  if (laid_resolver && umount2(etc_resolver, MNT_DETACH) == 0) laid_resolver = false;
  struct stat state{};
  if (made_resolver && !laid_resolver && lstat(etc_resolver, &state) == 0 && S_ISREG(state.st_mode) &&
      state.st_size == 0 && unlink(etc_resolver) == 0) {
    made_resolver = false;
  }
}

// ---- what commands left running

// Sends `signal` (0: none) to all of the agent's own group of processes but itself; returns how many they
// are. 0 as well where systemd made no such group: a process too much is found later, one that is not ours is
// lost.
int signal_left(int signal) {
  constexpr const char* places[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"};
  char groups[4096];
  if (!read_file("/proc/self/cgroup", groups, sizeof groups)) return 0;
  for (char *rest = groups, *line = nullptr; (line = strsep(&rest, "\n")) != nullptr;) {
    if (strncmp(line, "0::", 3) != 0 && strstr(line, ":name=systemd:") == nullptr) continue;
    const char* path = strrchr(line, ':') + 1;
    const char* own = strrchr(path, '/');
    if (own == nullptr || strcmp(own, "/kiln-agent.service") != 0) continue;
    for (const char* place : places) {
      char file[600];
      snprintf(file, sizeof file, "%s%.500s/cgroup.procs", place, path);
      FILE* members = fopen(file, "re");
      if (members == nullptr) continue;
      int count = 0;
      for (int pid = 0; fscanf(members, "%d", &pid) == 1;) {
        if (pid <= 1 || pid == getpid()) continue;
        ++count;
        if (signal != 0) kill(pid, signal);
      }
      fclose(members);
      return count;
    }
  }
  return 0;
}

void begin_release(std::uint32_t id) {
  signal_left(SIGTERM);
  release_id = id;
  release_until = now_ms() + kill_after_ms;
}

void go_on_releasing() {
  if (signal_left(0) > 0) {
    if (now_ms() < release_until) return;
    signal_left(SIGKILL);  // those that cannot be killed either are systemd's affair
  }
  release_until = 0;
  give_back();
  send(Type::pong, release_id, "", 0);
}

// ---- the disk

struct Frozen {
  char path[256];
  dev_t device;
  bool read_only;         // instead of frozen: this kind of file system cannot be
  unsigned long options;  // of its mount
};
Frozen frozen[16];
int frozen_count = 0;

void thaw() {
  for (; frozen_count > 0; --frozen_count) {
    const Frozen& one = frozen[frozen_count - 1];
    if (one.read_only) {
      if (mount(nullptr, one.path, nullptr, MS_REMOUNT | one.options, nullptr) != 0)
        tell("thaw: %s: %s", one.path, strerror(errno));
      continue;
    }
    const int fd = open(one.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, FITHAW, 0) != 0) tell("thaw: %s: %s", one.path, strerror(errno));
    if (fd >= 0) close(fd);
  }
}

// One file system; false with a cause in `why`.
bool freeze_one(const char* path, char* why, std::size_t room) {
  struct stat state{};
  struct statvfs options{};
  const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return true;  // a file laid over another, of a file system that has its own line
  if (fstat(fd, &state) != 0 || fstatvfs(fd, &options) != 0 || (options.f_flag & ST_RDONLY) != 0) {
    close(fd);
    return true;
  }
  for (int i = 0; i < frozen_count; ++i) {
    if (frozen[i].device != state.st_dev) continue;
    close(fd);
    return true;
  }
  if (frozen_count == sizeof frozen / sizeof *frozen || strlen(path) >= sizeof frozen[0].path) {
    close(fd);
    snprintf(why, room, "%.200s: too much is mounted", path);
    return false;
  }
  Frozen& one = frozen[frozen_count];
  one = Frozen{};
  memcpy(one.path, path, strlen(path) + 1);
  one.device = state.st_dev;
  bool fine = ioctl(fd, FIFREEZE, 0) == 0;
  int cause = errno;
  close(fd);
  if (!fine && (cause == EOPNOTSUPP || cause == ENOTTY)) {  // FAT
    one.read_only = true;
    if ((options.f_flag & ST_NOSUID) != 0) one.options |= MS_NOSUID;
    if ((options.f_flag & ST_NODEV) != 0) one.options |= MS_NODEV;
    if ((options.f_flag & ST_NOEXEC) != 0) one.options |= MS_NOEXEC;
    if ((options.f_flag & ST_RELATIME) != 0) one.options |= MS_RELATIME;
    fine = mount(nullptr, path, nullptr, MS_REMOUNT | MS_RDONLY | one.options, nullptr) == 0;
    cause = errno;
  }
  if (!fine) {
    snprintf(why, room, "%.200s: %s", path, strerror(cause));
    return false;
  }
  ++frozen_count;
  return true;
}

// Every file system of a disk, the innermost first; `why` is "" when all are frozen, else none is.
void freeze(char* why, std::size_t room) {
  static char mounts[65536];
  static char* paths[256];
  *why = 0;
  if (!read_file("/proc/self/mounts", mounts, sizeof mounts)) {
    snprintf(why, room, "/proc/self/mounts: %s", strerror(errno));
    return;
  }
  sync();
  int count = 0;
  for (char *rest = mounts, *line = nullptr; (line = strsep(&rest, "\n")) != nullptr;) {
    const char* source = strsep(&line, " ");
    char* path = line == nullptr ? nullptr : strsep(&line, " ");
    if (path == nullptr || strncmp(source, "/dev/", 5) != 0) continue;
    if (count < static_cast<int>(sizeof paths / sizeof *paths)) paths[count++] = path;
  }
  while (count > 0) {
    if (freeze_one(paths[--count], why, room)) continue;
    thaw();
    return;
  }
}

// ---- commands

void finish(Type type, const void* bytes, std::size_t count) {
  send(type, job.id, bytes, count);
  shut(job.in);
  shut(job.out);
  shut(job.err);
  job.input.drop(job.input.size());
  job.active = false;
}

void refuse(std::uint32_t id, const char* text) {
  send(Type::failed, id, text, strlen(text));
}

void set_nonblocking(int fd) {
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// In the child, between fork and exec.
[[noreturn]] void become(char** argv, char** env, const char* cwd, const int* pipes, int report) {
  setsid();
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  signal(SIGPIPE, SIG_DFL);
  const int score = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (score >= 0 && write(score, "0", 1) < 0) errno = 0;  // it then shares the agent's protection
  dup2(pipes[0], 0);
  dup2(pipes[1], 1);
  dup2(pipes[2], 2);
  umask(022);
  environ = env;
  if (chdir(cwd) == 0) execvp(argv[0], argv);
  const int cause = errno;
  if (write(report, &cause, sizeof cause) < 0) _exit(126);
  _exit(127);
}

void start(std::uint32_t id, char* text, std::size_t size) {
  if (job.active) return refuse(id, "another command is running");
  if (size < 9 || text[size - 1] != 0) return refuse(id, "a damaged command");
  const std::uint32_t argc = get_u32(reinterpret_cast<unsigned char*>(text));
  const std::uint32_t envc = get_u32(reinterpret_cast<unsigned char*>(text) + 4);
  if (argc == 0 || argc > size || envc > size) return refuse(id, "a damaged command");
  auto** words = static_cast<char**>(calloc(argc + envc + 2UL, sizeof(char*)));
  if (words == nullptr) return refuse(id, "no memory");
  char** env = words + argc + 1;
  const char* cwd = text + 8;
  char* at = text + 8 + strlen(cwd) + 1;
  for (std::uint32_t i = 0; i < argc + envc; ++i) {
    if (at >= text + size) {
      free(static_cast<void*>(words));
      return refuse(id, "a damaged command");
    }
    (i < argc ? words[i] : env[i - argc]) = at;
    at += strlen(at) + 1;
  }

  ensure_network();
  ensure_resolver();
  int in[2] = {-1, -1}, out[2] = {-1, -1}, err[2] = {-1, -1}, report[2] = {-1, -1};
  pid_t pid = -1;
  if (pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0 && pipe2(err, O_CLOEXEC) == 0 &&
      pipe2(report, O_CLOEXEC) == 0) {
    pid = fork();
  }
  if (pid == 0) {
    const int pipes[3] = {in[0], out[1], err[1]};
    become(words, env, cwd, pipes, report[1]);
  }
  int cause = pid < 0 ? errno : 0;
  shut(in[0]);
  shut(out[1]);
  shut(err[1]);
  shut(report[1]);
  if (pid > 0 && read(report[0], &cause, sizeof cause) != static_cast<ssize_t>(sizeof cause)) cause = 0;
  shut(report[0]);
  if (cause != 0) {
    char why[768];
    snprintf(why, sizeof why, "%.500s: %s", words[0], strerror(cause));
    if (pid > 0) waitpid(pid, nullptr, 0);
    shut(in[1]);
    shut(out[0]);
    shut(err[0]);
    free(static_cast<void*>(words));
    return refuse(id, why);
  }
  free(static_cast<void*>(words));
  set_nonblocking(in[1]);
  set_nonblocking(out[0]);
  set_nonblocking(err[0]);
  const Buffer kept = job.input;
  job = Job{};
  job.input = kept;
  job.active = true;
  job.id = id;
  job.pid = pid;
  job.in = in[1];
  job.out = out[0];
  job.err = err[0];
}

void give_credit(std::uint32_t count) {
  unsigned char number[4];
  put_u32(number, count);
  send(Type::credit, job.id, number, sizeof number);
}

void pass_input() {
  while (job.in >= 0 && job.input.size() > 0) {
    const ssize_t put = write(job.in, job.input.front(), job.input.size());
    if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (put < 0) {  // nobody reads any more: the rest is taken and dropped
      shut(job.in);
      break;
    }
    job.input.drop(static_cast<std::size_t>(put));
    give_credit(static_cast<std::uint32_t>(put));
  }
  if (job.in < 0 && job.input.size() > 0) {
    give_credit(static_cast<std::uint32_t>(job.input.size()));
    job.input.drop(job.input.size());
  }
  if (job.input_ends && job.input.size() == 0) shut(job.in);
}

// Reads what the command has written; at most so much that the way to kiln does not flood.
void take_output(int& fd, Type type) {
  static char bytes[piece];
  while (fd >= 0 && to_kiln.size() < out_limit) {
    const ssize_t got = read(fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      shut(fd);
      return;
    }
    job.quiet_since = now_ms();
    send(type, job.id, bytes, static_cast<std::size_t>(got));
  }
}

void reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    if (!job.active || pid != job.pid) continue;
    job.reaped = true;
    job.status = status;
    job.quiet_since = now_ms();
  }
}

// The guest was asleep in a file: its clock stands where it was saved, and every guest resumed from that file
// would draw the same random numbers.
bool wake(const unsigned char* bytes, std::size_t size) {
  if (size < 8) return false;
  timespec now{};
  now.tv_sec = static_cast<time_t>(static_cast<std::uint64_t>(get_u32(bytes)) |
                                   static_cast<std::uint64_t>(get_u32(bytes + 4)) << 32);
  bool fine = clock_settime(CLOCK_REALTIME, &now) == 0;
  if (!fine) tell("clock: %s", strerror(errno));
  // A rand_pool_info: entropy in bits, size in bytes, the bytes.
  struct {
    int entropy_count;
    int buf_size;
    unsigned char bytes[256];
  } pool{};
  const std::size_t count = size - 8 < sizeof pool.bytes ? size - 8 : sizeof pool.bytes;
  memcpy(pool.bytes, bytes + 8, count);
  pool.entropy_count = static_cast<int>(count) * 8;
  pool.buf_size = static_cast<int>(count);
  const int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
  if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0) {
    tell("randomness: %s", strerror(errno));
    fine = false;
  }
  if (fd >= 0) close(fd);
  return fine;
}

// The same for a guest the agent does not live in: what the wake frame would hold comes by standard input.
int wake_by_input() {
  unsigned char bytes[8 + 256];
  std::size_t size = 0;
  ssize_t got = 0;
  while (size < sizeof bytes && (got = read(0, bytes + size, sizeof bytes - size)) > 0)
    size += static_cast<std::size_t>(got);
  return wake(bytes, size) ? 0 : 1;
}

void handle(const Header& header, unsigned char* bytes) {
  switch (header.type) {
    case Type::ping:
      ensure_network();
      send(Type::pong, header.id, bytes, header.length);
      break;
    case Type::release:
      begin_release(header.id);
      break;
    case Type::freeze: {
      char why[512];
      freeze(why, sizeof why);
      send(Type::pong, header.id, why, strlen(why));
      break;
    }
    case Type::thaw:
      thaw();
      send(Type::pong, header.id, bytes, 0);
      break;
    case Type::wake:
      wake(bytes, header.length);
      send(Type::pong, header.id, bytes, 0);
      break;
    case Type::exec:
      start(header.id, reinterpret_cast<char*>(bytes), header.length);
      break;
    case Type::input:
      if (job.active && header.id == job.id) {
        job.input.add(bytes, header.length);
        pass_input();
      }
      break;
    case Type::end_input:
      if (job.active && header.id == job.id) {
        job.input_ends = true;
        pass_input();
      }
      break;
    case Type::cancel:
      if (job.active && header.id == job.id && job.kill_at == 0) {
        kill(-job.pid, SIGTERM);
        job.kill_at = now_ms() + kill_after_ms;
      }
      break;
    default:
      break;
  }
}

void read_port() {
  for (;;) {
    unsigned char* to = from_kiln.grow(65536);
    const ssize_t got = read(port, to, 65536);
    if (got <= 0) break;  // nothing there, or kiln went away: it may come back
    from_kiln.end += static_cast<std::size_t>(got);
    if (from_kiln.size() > 2UL * max_payload) break;
  }
  while (from_kiln.size() > 0) {
    from_kiln.drop(skip_to_magic(from_kiln.front(), from_kiln.size()));
    if (from_kiln.size() < header_size) break;
    Header header;
    if (!get_header(from_kiln.front(), header)) {
      from_kiln.drop(1);
      continue;
    }
    if (from_kiln.size() < header_size + header.length) break;
    unsigned char* bytes = from_kiln.front() + header_size;
    handle(header, bytes);
    from_kiln.drop(header_size + header.length);
  }
}

void write_port() {
  while (to_kiln.size() > 0) {
    const ssize_t put = write(port, to_kiln.front(), to_kiln.size() < piece ? to_kiln.size() : piece);
    if (put <= 0) return;
    to_kiln.drop(static_cast<std::size_t>(put));
  }
}

// The port by the name its driver tells, so that udev's link is not waited for.
bool open_port() {
  DIR* directory = opendir("/sys/class/virtio-ports");
  if (directory == nullptr) return false;
  while (const dirent* entry = readdir(directory)) {
    char path[384];
    char name[64];
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%s/name", entry->d_name);
    if (entry->d_name[0] == '.' || !read_file(path, name, sizeof name)) continue;
    if (strncmp(name, port_name, sizeof port_name - 1) != 0) continue;
    snprintf(path, sizeof path, "/dev/%s", entry->d_name);
    port = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    break;
  }
  closedir(directory);
  return port >= 0;
}

void turn(int signals) {
  pollfd fds[5] = {{signals, POLLIN, 0},
                   {port, static_cast<short>(POLLIN | (to_kiln.size() > 0 ? POLLOUT : 0)), 0},
                   {-1, POLLIN, 0},
                   {-1, POLLIN, 0},
                   {-1, POLLOUT, 0}};
  if (job.active && to_kiln.size() < out_limit) {
    fds[2].fd = job.out;
    fds[3].fd = job.err;
  }
  if (job.active && job.input.size() > 0) fds[4].fd = job.in;
  int patience = 1000;
  if ((job.active && (job.reaped || job.kill_at != 0)) || release_until != 0) patience = 50;
  if (poll(fds, 5, patience) < 0 && errno != EINTR) usleep(100000);
  if ((fds[1].revents & POLLHUP) != 0) usleep(100000);  // kiln is not there; poll does not wait then

  signalfd_siginfo what;
  while (read(signals, &what, sizeof what) > 0) {
  }
  reap();
  read_port();
  if (release_until != 0) go_on_releasing();
  if (job.active) {
    pass_input();
    take_output(job.out, Type::out);
    take_output(job.err, Type::err);
    if (job.kill_at != 0 && now_ms() >= job.kill_at) {
      kill(-job.pid, SIGKILL);
      job.kill_at = now_ms() + kill_after_ms;
    }
    const bool drained = job.out < 0 && job.err < 0;
    const bool idle = to_kiln.size() < out_limit && now_ms() - job.quiet_since >= linger_ms;
    if (job.reaped && (drained || idle)) {
      if (job.kill_at != 0) kill(-job.pid, SIGKILL);  // the rest of a cancelled command's group
      unsigned char end[8];
      put_u32(end, WIFEXITED(job.status) ? static_cast<std::uint32_t>(WEXITSTATUS(job.status)) : 0);
      put_u32(end + 4, WIFSIGNALED(job.status) ? static_cast<std::uint32_t>(WTERMSIG(job.status)) : 0);
      finish(Type::exit_status, end, sizeof end);
    }
  }
  write_port();
  if (!network_up) ensure_network();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && strcmp(argv[1], "wake") == 0) return wake_by_input();
  signal(SIGPIPE, SIG_IGN);
  sigset_t children;
  sigemptyset(&children);
  sigaddset(&children, SIGCHLD);
  sigprocmask(SIG_BLOCK, &children, nullptr);
  const int signals = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
  prctl(PR_SET_CHILD_SUBREAPER, 1);  // fine without: then pid 1 reaps what a command leaves behind
  if (chdir("/") != 0) return 1;
  while (!open_port()) usleep(200000);  // udev loads the port's driver when it gets to it
  for (;;) turn(signals);
}
