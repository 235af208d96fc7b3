#include "image/machine.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <thread>
#include <utility>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "image/picture.hpp"

namespace kiln::image {
namespace {

using base::Error;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

constexpr std::size_t lines_in_errors = 30;

// From `offset` to the end; "" when the file is not there yet.
std::string read_from(const fs::path& file, std::uint64_t offset) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return {};
  in.seekg(static_cast<std::streamoff>(offset));
  return {std::istreambuf_iterator<char>(in), {}};
}

bool file_exists(const fs::path& file) {
  std::error_code ignored;
  return fs::exists(file, ignored);
}

}  // namespace

SocketPair socket_pair() {
  int fds[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) {
    throw Error(std::string("cannot make a pair of sockets: ") + std::strerror(errno));
  }
  return {host::Fd(fds[0]), host::Fd(fds[1])};
}

std::string option_path(const fs::path& path) {
  return base::join(base::split(path.string(), ','), ",,");
}

std::string disk_node(const std::string& node, const fs::path& file) {
  const nlohmann::json cache = {{"direct", false}, {"no-flush", true}};
  return nlohmann::json({{"driver", "qcow2"},
                         {"node-name", node},
                         {"discard", "unmap"},
                         {"cache", cache},
                         {"file",
                          {{"driver", "file"},
                           {"filename", file.string()},
                           {"aio", "threads"},
                           {"discard", "unmap"},
                           {"cache", cache}}}})
      .dump();
}

std::vector<std::pair<int, int>> forwarded_ports(std::string_view info_usernet) {
  std::vector<std::pair<int, int>> ports;
  for (const auto& line : base::lines(info_usernet)) {
    // "  TCP[HOST_FORWARD]  14       127.0.0.1 41043       10.0.2.15    22     0     0"
    if (line.find("TCP[HOST_FORWARD]") == std::string::npos) continue;
    const auto words = base::words(base::trim(line));
    if (words.size() < 6) continue;
    try {
      ports.emplace_back(std::stoi(words[5]), std::stoi(words[3]));
    } catch (const std::logic_error&) {
      continue;  // another layout than QEMU's: the caller misses the port and says so
    }
  }
  return ports;
}

std::string panic_line(std::string_view console) {
  const auto at = console.find("Kernel panic - not syncing");
  if (at == std::string_view::npos) return {};
  const auto end = console.find_first_of("\r\n", at);
  return std::string(console.substr(at, end == std::string_view::npos ? end : end - at));
}

std::string plain(std::string_view console) {
  std::string out;
  for (std::size_t i = 0; i < console.size(); ++i) {
    if (console[i] == '\r') continue;
    if (console[i] != '\x1b') {
      out += console[i];
      continue;
    }
    // ESC [ parameters letter, or ESC and one character.
    if (i + 1 < console.size() && console[i + 1] == '[') {
      i += 2;
      while (i < console.size() && (console[i] < '@' || console[i] > '~')) ++i;
    } else {
      ++i;
    }
  }
  return base::printable(out);
}

struct Machine::State {
  host::Host host;
  MachineOptions options;
  std::uint64_t console_start = 0;
  double started = 0;
  bool spoke = false;
  std::uint64_t scanned = 0;  // of the console, for panics
  std::string shutdown_reason;
  std::string trouble;  // of a paused machine
  bool full = false;    // the host's disk
  bool expects_stop = false;
  bool expects_off = false;  // the guest was told to power off
  int switches = 0;          // of the disk
  std::optional<host::Finished> ended;
  std::unique_ptr<host::Process> process;
  std::unique_ptr<Qmp> qmp;

  [[nodiscard]] fs::path log() const { return options.scratch / "qemu.log"; }

  [[nodiscard]] bool is_off() const {
    return expects_off && ended && ended->ok() && shutdown_reason == "guest-shutdown";
  }

  void note_event(const Qmp::Event& event) {
    const auto data = nlohmann::json::parse(event.data, nullptr, false);
    if (event.name == "SHUTDOWN") {
      shutdown_reason = data.value("reason", std::string());
    } else if (event.name == "GUEST_PANICKED") {
      shutdown_reason = "guest-panic";
    } else if (event.name == "BLOCK_IO_ERROR") {
      full = data.value("nospace", false);
      trouble = fmt::format("{} failed: {}", data.value("operation", std::string("an access")),
                            data.value("reason", std::string("no reason given")));
    } else if (event.name == "STOP" && trouble.empty() && !expects_stop) {
      trouble = "QEMU paused it";
    } else if (event.name == "RESUME") {
      trouble.clear();
    }
  }
};

Machine::Machine(std::unique_ptr<State> state) : state_(std::move(state)) {}
Machine::~Machine() = default;

// A versioned machine type and one CPU model that TCG can do, everywhere (engine rule 5).
std::vector<std::string> machine_words(const MachineOptions& options) {
  return {"-nodefaults",
          "-no-user-config",
          "-no-reboot",
          "-machine",
          std::string(machine_type),
          "-cpu",
          std::string(cpu_model),
          "-accel",
          options.accel == Accel::kvm ? "kvm" : "tcg,thread=multi",
          "-m",
          fmt::format("{}M", options.memory >> 20),
          "-smp",
          std::to_string(options.cpus),
          "-display",
          "none",
          "-vga",
          "std",
          "-rtc",
          "base=utc"};
}

std::unique_ptr<Machine> Machine::start(const host::Host& host, MachineOptions options) {
  auto state = std::make_unique<State>();
  state->host = host;
  std::error_code ignored;
  state->console_start = file_exists(options.console) ? fs::file_size(options.console, ignored) : 0;
  auto control = socket_pair();
  host::Command command{"qemu-system-x86_64"};
  const auto core = machine_words(options);
  command.argv.insert(command.argv.end(), core.begin(), core.end());
  command.add({"-chardev", fmt::format("socket,id=control,fd={}", control.theirs.get())});
  command.add({"-mon", "chardev=control,mode=control"});
  command.add({"-chardev", "file,id=console,append=on,path=" + option_path(options.console)});
  command.add({"-serial", "chardev:console", "-device", "pvpanic"});
  command.add({"-object", "rng-random,id=random,filename=/dev/urandom"});
  command.add({"-device", "virtio-rng-pci,rng=random"});
  command.argv.insert(command.argv.end(), options.devices.begin(), options.devices.end());
  if (options.incoming) {
    command.add({"-incoming", "defer"});
    state->spoke = true;  // long ago
  }
  command.keep_fds.push_back(control.theirs.get());
  for (const auto& fd : options.inherited) command.keep_fds.push_back(fd.get());
  command.log = options.scratch / "qemu.log";
  command.purpose = "running the guest";
  state->started = host.elapsed();
  state->process = host.runner->start(command);
  control.theirs.reset();
  options.inherited.clear();
  state->options = std::move(options);
  std::unique_ptr<Machine> machine(new Machine(std::move(state)));
  State& own = *machine->state_;
  try {
    own.qmp = Qmp::adopt(std::move(control.ours), std::chrono::seconds(20));
  } catch (const Error&) {
    own.ended = own.process->wait(milliseconds(2000));
    const std::string words = base::printable(base::last_lines(read_from(own.log(), 0), lines_in_errors));
    if (!own.ended) throw Error("QEMU started, but does not answer").detail(words);
    throw Error("QEMU did not start: " + own.ended->how()).detail(words);
  }
  return machine;
}

Qmp& Machine::qmp() {
  return *state_->qmp;
}

double Machine::seconds() const {
  return state_->host.elapsed() - state_->started;
}

std::string Machine::console() const {
  return read_from(state_->options.console, state_->console_start);
}

Error Machine::error(const std::string& message) const {
  Error error(message);
  const std::string text = base::last_lines(plain(console()), lines_in_errors);
  error.detail(text.empty() ? "(the console is empty)" : text);
  return error;
}

void Machine::watch(milliseconds patience) {
  State& own = *state_;
  host::check_interrupt();
  // A socket that has closed has no more events; then QEMU's end is a moment away.
  while (auto event = own.qmp->next_event(milliseconds(0))) own.note_event(*event);
  if (!own.ended) own.ended = own.process->wait(own.trouble.empty() ? patience : milliseconds(0));
  while (auto event = own.qmp->next_event(milliseconds(0))) own.note_event(*event);

  const std::string fresh = read_from(own.options.console, own.console_start + own.scanned);
  own.spoke = own.spoke || !fresh.empty();
  if (const auto line = panic_line(fresh); !line.empty()) {
    if (!own.ended) own.ended = own.process->wait(milliseconds(1000));  // the rest of its last words
    throw error("the guest's kernel panicked: " + line);
  }
  // The last line may be unfinished: it is looked at again.
  if (const auto end = fresh.rfind('\n'); end != std::string::npos) own.scanned += end + 1;

  if (own.ended) {
    if (own.is_off()) return;
    if (own.shutdown_reason == "guest-panic") throw error("the guest's kernel panicked");
    if (own.shutdown_reason == "guest-shutdown") throw error("the guest powered itself off");
    if (own.shutdown_reason == "guest-reset") throw error("the guest rebooted");
    const std::string words = base::last_lines(read_from(own.log(), 0), 5);
    throw error(fmt::format("QEMU died: {}{}{}", own.ended->how(), words.empty() ? "" : ": ",
                            base::printable(words)));
  }
  if (own.shutdown_reason == "guest-panic") throw error("the guest's kernel panicked");
  if (!own.trouble.empty()) {
    if (own.full) {
      std::error_code ignored;
      throw Error(
          fmt::format("the host's file system that holds {} is full ({} free); the guest cannot go on",
                      own.options.disk.string(),
                      base::human_size(host::free_space(own.options.disk.parent_path()))))
          .hint("make room there, or use another store with --store");
    }
    throw error("the guest stands still: " + own.trouble);
  }
  const auto silence = static_cast<double>(own.options.limits.first_byte.count());
  if (!own.spoke && seconds() > silence) {
    throw error(fmt::format("the guest's console stayed silent for {}: it does not boot",
                            base::human_seconds(silence)))
        .hint("is there a boot loader or kernel for this firmware in the image?");
  }
}

void Machine::wait_off(std::chrono::seconds limit) {
  State& own = *state_;
  const double end = own.host.elapsed() + static_cast<double>(limit.count());
  own.expects_off = true;
  for (;;) {
    watch(milliseconds(200));  // throws for any other end
    if (own.is_off()) return;
    if (own.host.elapsed() > end) {
      throw error(fmt::format("the guest did not shut down within {}",
                              base::human_seconds(static_cast<double>(limit.count()))));
    }
  }
}

// Waits for the end of a migration. What fails in it shows in QEMU's words, or as its death.
void Machine::wait_migrated(std::chrono::seconds limit, const char* what) {
  State& own = *state_;
  const double end = own.host.elapsed() + static_cast<double>(limit.count());
  for (;;) {
    watch(milliseconds(20));
    const auto state = nlohmann::json::parse(own.qmp->execute("query-migrate"));
    const std::string status = state.value("status", std::string());
    if (status == "completed") return;
    if (status == "failed" || status == "cancelled") {
      const std::string why = state.value("error-desc", std::string());
      throw Error(
          fmt::format("QEMU could not {} the guest's memory{}{}", what, why.empty() ? "" : ": ", why));
    }
    if (own.host.elapsed() > end)
      throw Error(fmt::format("QEMU did not {} the guest's memory within {}", what,
                              base::human_seconds(static_cast<double>(limit.count()))));
  }
}

namespace {

// Runs `deed` beside; its error comes out of wait(). The socket's end makes it end too.
class Pump {
 public:
  explicit Pump(const std::function<void()>& deed)
      : thread_([this, deed] {
          try {
            deed();
          } catch (...) {
            failure_ = std::current_exception();
          }
        }) {}
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;
  ~Pump() {
    if (thread_.joinable()) thread_.join();
  }
  void wait() {
    thread_.join();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::exception_ptr failure_;
  std::thread thread_;  // after what it writes to
};

}  // namespace

void Machine::save(const fs::path& memory) {
  State& own = *state_;
  auto pipe = socket_pair();
  own.expects_stop = true;
  own.qmp->execute("stop");
  own.qmp->execute("migrate-set-parameters",
                   nlohmann::json({{"max-bandwidth", std::int64_t{1} << 40}}).dump());
  own.qmp->give("memory", pipe.theirs.get());
  pipe.theirs.reset();  // so that QEMU's end is the last one
  Pump pump([&] { host::compress_socket(pipe.ours.get(), memory); });
  try {
    own.qmp->execute("migrate", R"({"uri": "fd:memory"})");
    wait_migrated(own.options.limits.boot, "save");
    quit();
  } catch (...) {
    ::shutdown(pipe.ours.get(), SHUT_RDWR);
    host::check_interrupt();
    pump.wait();  // a full disk says more than what QEMU makes of it
    throw;
  }
  pump.wait();
}

void Machine::resume(const fs::path& memory, std::chrono::seconds limit) {
  State& own = *state_;
  auto pipe = socket_pair();
  own.expects_stop = true;
  own.qmp->give("memory", pipe.theirs.get());
  pipe.theirs.reset();
  Pump pump([&] {
    const base::ScopeExit end([&] { ::shutdown(pipe.ours.get(), SHUT_WR); });  // QEMU waits for it
    host::expand_to_socket(memory, pipe.ours.get());  // if QEMU does not take it all, it says why
  });
  try {
    own.qmp->execute("migrate-incoming", R"({"uri": "fd:memory"})");
    wait_migrated(limit, "load");
    own.qmp->execute("cont");
  } catch (...) {
    ::shutdown(pipe.ours.get(), SHUT_RDWR);
    host::check_interrupt();
    pump.wait();  // a file that cannot be read says more than what QEMU makes of it
    throw;
  }
  pump.wait();
  while (auto event = own.qmp->next_event(milliseconds(0))) own.note_event(*event);
  own.expects_stop = false;
}

void Machine::switch_disk(const std::string& node, const fs::path& overlay) {
  State& own = *state_;
  const std::string next = fmt::format("{}-{}", node, ++own.switches);
  const std::string current = own.switches == 1 ? node : fmt::format("{}-{}", node, own.switches - 1);
  auto added = nlohmann::json::parse(disk_node(next, overlay));
  added["backing"] = nullptr;
  own.qmp->execute("blockdev-add", added.dump());
  own.qmp->execute("blockdev-snapshot", nlohmann::json({{"node", current}, {"overlay", next}}).dump());
  own.options.disk = overlay;
}

void Machine::quit() {
  State& own = *state_;
  if (own.ended) return;
  try {
    own.qmp->execute("quit");
    own.ended = own.process->wait(milliseconds(3000));
  } catch (const Error&) {
    host::check_interrupt();
  }
  if (!own.ended) own.process->stop();
}

bool Machine::screenshot(const fs::path& png_file) {
  State& own = *state_;
  const fs::path raw = own.options.scratch / "screen.ppm";
  std::optional<Picture> picture;
  if (!own.ended) own.ended = own.process->wait(milliseconds(0));
  try {
    if (own.ended) throw Error("QEMU has ended");
    own.qmp->execute("screendump", nlohmann::json({{"filename", raw.string()}}).dump());
    picture = parse_ppm(read_from(raw, 0));
    std::error_code ignored;
    fs::remove(raw, ignored);
    if (picture && !picture->blank()) {
      own.qmp->execute("screendump",
                       nlohmann::json({{"filename", png_file.string()}, {"format", "png"}}).dump());
      return true;
    }
  } catch (const Error&) {
    host::check_interrupt();
    // A QEMU without PNG, or one that has just died: what was had so far will do.
  }
  if (!picture || picture->blank()) {
    const std::string text = plain(console());
    if (base::trim(text).empty()) return false;
    picture = render(base::last_lines(text, 40), 132);
  }
  host::write_file(png_file, png(*picture));
  return true;
}

}  // namespace kiln::image
