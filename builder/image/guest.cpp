#include "image/guest.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <fstream>
#include <poll.h>
#include <set>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

#include "agent/bytes.hpp"
#include "agent/frames.hpp"
#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/terminal.hpp"
#include "image/initrd.hpp"
#include "image/machine.hpp"
#include "image/rest.hpp"
#include "image/wake.hpp"

namespace kiln::image {
namespace {

using agent::Frame;
using agent::Type;
using base::Error;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::size_t kept_output = 16U << 20;
constexpr milliseconds tick{200};

// The kernel's command line. The machine id is the same in every build and never reaches the disk, since the
// root is still read-only when systemd looks for one; systemd-machine-id-commit is kept from writing it.
constexpr std::string_view kernel_words =
    " ro console=tty0 console=ttyS0,115200 panic=-1 cloud-init=disabled mitigations=off"
    " systemd.machine_id=6b696c6e6b696c6e6b696c6e6b696c6e systemd.firstboot=off"
    " systemd.condition-first-boot=no fsck.repair=yes";

// Keeps the end of what was written.
void append_kept(std::string& kept, std::string_view bytes) {
  kept += bytes;
  if (kept.size() > 2 * kept_output) kept.erase(0, kept.size() - kept_output);
}

void trim_kept(std::string& kept) {
  if (kept.size() > kept_output) kept.erase(0, kept.size() - kept_output);
}

// Where a command's input comes from: a text or a local file, read as the agent takes it.
class Input {
 public:
  explicit Input(const Exec& exec) : text_(exec.input) {
    if (exec.input_file.empty()) return;
    file_.open(exec.input_file, std::ios::binary);
    if (!file_) throw Error("cannot read the file").at({exec.input_file.string()});
    from_file_ = true;
  }
  // At most `room` bytes; "" at the end.
  std::string next(std::size_t room) {
    if (!from_file_) {
      std::string piece(text_.substr(0, room));
      text_.remove_prefix(piece.size());
      return piece;
    }
    std::string piece(room, '\0');
    file_.read(piece.data(), static_cast<std::streamsize>(room));
    piece.resize(static_cast<std::size_t>(file_.gcount()));
    return piece;
  }

 private:
  std::string_view text_;
  std::ifstream file_;
  bool from_file_ = false;
};

MachineOptions machine_options(const GuestOptions& options) {
  MachineOptions machine;
  machine.memory = options.memory;
  machine.cpus = options.cpus;
  machine.accel = options.accel;
  machine.limits = options.limits;
  machine.scratch = options.scratch;
  machine.console = options.console;
  machine.disk = options.disk;
  return machine;
}

// What differs between two starts of the same machine.
struct Names {
  std::string disk, kernel, initrd, agent, root;
};

std::vector<std::string> devices(const Names& names) {
  std::vector<std::string> words;
  const auto add = [&](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
  add({"-kernel", names.kernel, "-initrd", names.initrd});
  add({"-append", "root=" + names.root + std::string(kernel_words)});
  // The order of devices decides their addresses, and those the NIC's name: always the same.
  add({"-blockdev", disk_node("disk", names.disk)});
  add({"-device", "virtio-blk-pci,drive=disk,id=root-disk"});
  add({"-netdev", "user,id=net,ipv6=off", "-device",
       "virtio-net-pci,netdev=net,mac=52:54:00:6b:69:6c,romfile="});
  add({"-device", "virtio-serial-pci,id=serial"});
  add({"-chardev", "socket,id=agent,fd=" + names.agent});
  add({"-device", fmt::format("virtserialport,bus=serial.0,chardev=agent,name={}", agent::port_name)});
  for (int i = 1; i <= 4; ++i) {
    add({"-device", fmt::format("pcie-root-port,id=spare{0},chassis={0},slot={0}", i)});
  }
  return words;
}

class QemuGuest : public Guest {
 public:
  QemuGuest(const host::Host& host, GuestOptions options, std::function<void(std::string_view)> on_doing)
      : host_(host), options_(std::move(options)), on_doing_(std::move(on_doing)) {}

  void boot() {
    const auto initrd = built_initrd();
    extend_initrd(options_.initrd, agent::bytes(), initrd);
    doing("starting QEMU");
    start(initrd, false);
    const double end = host_.elapsed() + static_cast<double>(options_.limits.boot.count());
    wait_for_agent(end);
    settle(end);
  }

  void resume(const std::filesystem::path& memory) {
    doing("resuming the settled guest");
    start(options_.initrd, true);
    machine_->resume(memory, options_.limits.boot);
    ask(Type::wake, wake_payload(host_.now()));
  }

  void save(const std::filesystem::path& memory, const std::filesystem::path& initrd) override {
    // What the page cache holds would otherwise be in the memory only.
    Exec sync;
    sync.argv = {"sync"};
    converse(sync, {}, options_.limits.step);
    machine_->save(memory);
    std::filesystem::rename(built_initrd(), initrd);
  }

  host::Finished run(const Exec& exec, const host::OnOutput& on_output) override {
    const seconds limit = exec.timeout.count() > 0 ? exec.timeout : options_.limits.step;
    auto finished = converse(exec, on_output, limit);
    if (!finished.ok() && says_no_space(finished)) explain_no_space(finished);
    return finished;
  }

  [[nodiscard]] bool booted() const override { return true; }

  int shell(const Terminal& terminal) override {
    Exec exec;
    exec.argv = shell_command(terminal);
    exec.env = {{"TERM", terminal.type}};
    const std::uint32_t id = ++last_id_;
    send(Frame{Type::exec, id, agent::encode_command(exec.argv, environment(exec.env), "/")});
    const host::TerminalState state(terminal.in);
    state.raw();
    std::size_t room = agent::window;
    bool input_open = true;
    for (;;) {
      host::check_interrupt();
      std::optional<Frame> frame = reader_.next();
      if (!frame) {
        pollfd ways[2] = {{agent_.get(), POLLIN, 0}, {input_open && room > 0 ? terminal.in : -1, POLLIN, 0}};
        ::poll(ways, 2, static_cast<int>(tick.count()));
        if (ways[1].revents != 0) {
          std::string keys(std::min<std::size_t>(room, 4096), '\0');
          const ssize_t got = ::read(terminal.in, keys.data(), keys.size());
          if (got > 0) {
            keys.resize(static_cast<std::size_t>(got));
            room -= keys.size();
            send(Frame{Type::input, id, std::move(keys)});
          } else if (got == 0 || errno != EINTR) {  // the terminal went away
            input_open = false;
            send(Frame{Type::end_input, id, ""});
          }
        }
        if (ways[0].revents != 0)
          frame = receive();
        else
          machine_->watch(milliseconds(0));
      }
      if (!frame || frame->id != id) continue;
      switch (frame->type) {
        case Type::out:
        case Type::err:
          host::TerminalState::put(terminal.out, frame->payload);
          break;
        case Type::credit:
          room += agent::number_at(frame->payload, 0);
          break;
        case Type::failed:
          throw Error(frame->payload);
        case Type::exit_status: {
          const auto signal = static_cast<int>(agent::number_at(frame->payload, 4));
          return signal != 0 ? 128 + signal : static_cast<int>(agent::number_at(frame->payload, 0));
        }
        default:
          break;
      }
    }
  }

  std::string cut(const std::filesystem::path& overlay) override {
    ask(Type::release);  // what commands left running goes first
    const auto left = bring_to_rest(*this, [this](std::string_view what) { doing(what); });
    if (!left.empty()) return base::join(left, ", ");
    ask(Type::release);  // commands bring the resolver back
    if (const std::string why = ask(Type::freeze); !why.empty())
      return "its file systems cannot be frozen: " + base::printable(why);
    machine_->switch_disk("disk", overlay);
    options_.disk = overlay;
    ask(Type::thaw);
    return {};
  }

  void leave_rest() override {
    doing("starting services again");
    image::leave_rest(*this);
    settle(host_.elapsed() + static_cast<double>(options_.limits.boot.count()));
  }

  void shut_down() override {
    ask(Type::release);
    Exec sync;
    sync.argv = {"sync"};
    converse(sync, {}, options_.limits.step);
    std::string payload =
        agent::encode_command({"systemctl", "--no-block", "poweroff"}, environment({}), "/");
    send(Frame{Type::exec, ++last_id_, std::move(payload)});
    machine_->wait_off(options_.limits.boot);
  }

  bool screenshot(const std::filesystem::path& png) override { return machine_->screenshot(png); }

 private:
  void doing(std::string_view what) const {
    if (on_doing_) on_doing_(what);
  }

  [[nodiscard]] std::filesystem::path built_initrd() const { return options_.scratch / "initrd.build"; }

  void start(const std::filesystem::path& initrd, bool incoming) {
    auto channel = socket_pair();
    MachineOptions machine = machine_options(options_);
    machine.devices = devices({options_.disk.string(), options_.kernel.string(), initrd.string(),
                               std::to_string(channel.theirs.get()), options_.root});
    machine.inherited.push_back(std::move(channel.theirs));
    machine.incoming = incoming;
    machine_ = Machine::start(host_, std::move(machine));
    agent_ = std::move(channel.ours);
  }

  static std::map<std::string, std::string> environment(const std::map<std::string, std::string>& more) {
    std::map<std::string, std::string> env = {{"PATH", std::string(image_path)},
                                              {"HOME", "/root"},
                                              {"USER", "root"},
                                              {"LANG", "C.UTF-8"},
                                              {"TERM", "dumb"}};
    for (const auto& [name, value] : more) env[name] = value;
    return env;
  }

  void send(const Frame& frame) {
    std::string bytes = agent::encode(frame);
    std::string_view rest = bytes;
    // The agent always reads, so this waits only for a guest that is stuck; the watch finds out why.
    const double end = host_.elapsed() + 120;
    while (!rest.empty()) {
      const ssize_t put = ::send(agent_.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (put > 0) {
        rest.remove_prefix(static_cast<std::size_t>(put));
        continue;
      }
      if (put < 0 && errno != EAGAIN && errno != EINTR) {
        machine_->watch(milliseconds(2000));
        throw machine_->error(std::string("the guest's channel broke: ") + std::strerror(errno));
      }
      machine_->watch(milliseconds(10));
      if (host_.elapsed() > end) throw machine_->error("the guest takes no more input: it hangs");
    }
  }

  // The next frame, or nullopt after one tick without any. Watches the machine meanwhile.
  std::optional<Frame> receive() {
    if (auto frame = reader_.next()) return frame;
    pollfd wait{agent_.get(), POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(tick.count()));
    if (ready > 0) {
      char bytes[65536];
      const ssize_t got = ::recv(agent_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (got > 0) {
        reader_.add({bytes, static_cast<std::size_t>(got)});
        const double now = host_.elapsed();
        if (now - last_watch_ < 1) return reader_.next();
        last_watch_ = now;
        machine_->watch(milliseconds(0));
        return reader_.next();
      }
      if (got == 0) {
        machine_->watch(options_.limits.death);
        throw machine_->error("QEMU closed the guest's channel, but runs on");
      }
    }
    last_watch_ = host_.elapsed();
    machine_->watch(milliseconds(0));
    return std::nullopt;
  }

  // Sends and waits for the pong, whose payload it returns; throws when the agent does not answer.
  std::string ask(Type type, std::string payload = "") {
    const std::uint32_t id = ++last_id_;
    send(Frame{type, id, std::move(payload)});
    const double end = host_.elapsed() + 60;
    while (host_.elapsed() < end) {
      const auto frame = receive();
      if (frame && frame->type == Type::pong && frame->id == id) return frame->payload;
    }
    throw machine_->error("the guest's agent does not answer: the guest hangs");
  }

  void wait_for_agent(double end) {
    doing("booting the guest");
    // QEMU keeps the ping until the port's driver is there. A first one may fall to whoever reads the port
    // before the agent, so it is repeated.
    const std::uint32_t first = last_id_ + 1;
    double next_ping = 0;
    bool placed = false;
    double without_agent_since = 0;
    for (;;) {
      const double now = host_.elapsed();
      if (now >= next_ping) {
        send(Frame{Type::ping, ++last_id_, ""});
        next_ping = now + 10;
      }
      if (const auto frame = receive(); frame && frame->type == Type::pong && frame->id >= first) return;
      if (!placed) {
        const std::string console = machine_->console();
        placed = console.find(placed_mark) != std::string::npos;
        const bool real_root = console.find("login:") != std::string::npos;
        if (!placed && real_root && without_agent_since == 0) without_agent_since = now;
      }
      if (!placed && without_agent_since > 0 && now > without_agent_since + 5) {
        throw machine_->error("the image's initrd did not take kiln's agent in")
            .hint(
                "images whose initrd is made by initramfs-tools can be booted for a build; this one's is "
                "not");
      }
      if (now > end) {
        throw machine_->error(
            fmt::format("the guest did not finish booting within {}",
                        base::human_seconds(static_cast<double>(options_.limits.boot.count()))));
      }
    }
  }

  std::string told(const std::vector<std::string>& argv, seconds limit) {
    Exec exec;
    exec.argv = argv;
    const auto finished = converse(exec, {}, limit);
    return std::string(base::trim(finished.out));
  }

  // Waits until systemd has started all it wants and has no job left.
  void settle(double end) {
    doing("waiting for the guest to settle");
    bool can_wait = true;
    std::string state;
    for (;;) {
      const seconds left(std::max<long>(5, static_cast<long>(end - host_.elapsed())));
      Exec exec;
      exec.argv = {"systemctl", "is-system-running"};
      if (can_wait) exec.argv.emplace_back("--wait");
      host::Finished answer;
      try {
        answer = converse(exec, {}, left);
      } catch (const Error& error) {
        if (host_.elapsed() < end) throw;
        throw machine_->error(
            fmt::format("the guest did not settle within {}; waiting: {}",
                        base::human_seconds(static_cast<double>(options_.limits.boot.count())), jobs()));
      }
      state = std::string(base::trim(answer.out));
      // systemd before 240 has no --wait; one that is too young to be asked answers nothing useful.
      if (state.empty() && answer.err.find("--wait") != std::string::npos) can_wait = false;
      const bool starting = state.empty() || state == "starting" || state == "initializing" ||
                            state == "offline" || state == "unknown";
      if (!starting && jobs().empty()) break;
      if (host_.elapsed() > end) {
        throw machine_->error(
            fmt::format("the guest did not settle within {}; waiting: {}",
                        base::human_seconds(static_cast<double>(options_.limits.boot.count())), jobs()));
      }
      machine_->watch(milliseconds(500));
    }
    if (state == "degraded") {
      doing("the guest is up, with failed units: " +
            first_words(
                told({"systemctl", "list-units", "--state=failed", "--no-legend", "--plain"}, seconds(60))));
    } else if (state != "running") {
      throw machine_->error(
          "the guest came up as '" + state + "', not as a running system: " +
          first_words(
              told({"systemctl", "list-units", "--state=failed", "--no-legend", "--plain"}, seconds(60))));
    }
    make_writable();
  }

  // Without an entry in fstab the root stays read-only.
  void make_writable() {
    for (const auto& line : base::lines(told({"cat", "/proc/mounts"}, seconds(60)))) {
      const auto words = base::split(line, ' ');
      if (words.size() < 4 || words[1] != "/" || words[0] == "rootfs") continue;
      const auto flags = base::split(words[3], ',');
      if (std::find(flags.begin(), flags.end(), "ro") == flags.end()) return;
    }
    Exec remount;
    remount.argv = {"mount", "-o", "remount,rw", "/"};
    const auto finished = converse(remount, {}, seconds(60));
    if (!finished.ok()) {
      throw machine_->error("the guest's root file system cannot be written: " +
                            std::string(base::trim(finished.err)));
    }
  }

  static std::string first_words(const std::string& text) {
    std::vector<std::string> names;
    for (const auto& line : base::lines(text)) {
      for (const auto& word : base::words(line)) {
        if (word == "●" || word == "*") continue;
        names.push_back(word);
        break;
      }
    }
    return base::join(names, ", ");
  }

  std::string jobs() { return base::join(queued_units(*this), ", "); }

  host::Finished converse(const Exec& exec, const host::OnOutput& on_output, seconds limit) {
    if (exec.argv.empty()) throw Error("an empty command");
    const std::uint32_t id = ++last_id_;
    Input input(exec);
    std::ofstream local;
    if (!exec.output_file.empty()) {
      local.open(exec.output_file, std::ios::binary | std::ios::trunc);
      if (!local) throw Error("cannot write the file").at({exec.output_file.string()});
    }
    const std::string what = exec.purpose.empty() ? "the command" : exec.purpose;
    // The guest may go down at either, with the first of the input too.
    const auto named = [&](const auto& deed) {
      try {
        return deed();
      } catch (Error& error) {
        throw error.during(what + " (" + base::shell_line(exec.argv) + ")");
      }
    };
    const auto tell = [&](const Frame& frame) { named([&] { send(frame); }); };
    tell(Frame{Type::exec, id, agent::encode_command(exec.argv, environment(exec.env), "/")});

    host::Finished finished;
    std::size_t room = agent::window;
    bool input_open = true;
    double end = host_.elapsed() + static_cast<double>(limit.count());
    bool late = false;
    for (;;) {
      while (input_open && room > 0) {
        const std::string piece = input.next(std::min<std::size_t>(room, agent::piece));
        if (piece.empty()) {
          tell(Frame{Type::end_input, id, ""});
          input_open = false;
        } else {
          room -= piece.size();
          tell(Frame{Type::input, id, piece});
        }
      }
      const std::optional<Frame> frame = named([&] { return receive(); });
      if (frame && frame->id == id) {
        switch (frame->type) {
          case Type::out:
            if (local.is_open()) {
              local << frame->payload;
              break;
            }
            append_kept(finished.out, frame->payload);
            if (on_output) on_output(host::Stream::out, frame->payload);
            break;
          case Type::err:
            append_kept(finished.err, frame->payload);
            if (on_output) on_output(host::Stream::err, frame->payload);
            break;
          case Type::credit:
            room += agent::number_at(frame->payload, 0);
            break;
          case Type::failed:
            finished.exit = 127;
            finished.err = frame->payload + "\n";
            if (on_output) on_output(host::Stream::err, finished.err);
            return finished;
          case Type::exit_status:
            if (late) throw too_late(exec, finished, limit);
            finished.signal = static_cast<int>(agent::number_at(frame->payload, 4));
            finished.exit = finished.signal != 0 ? -1 : static_cast<int>(agent::number_at(frame->payload, 0));
            if (local.is_open()) {
              local.close();
              if (!local) {
                throw Error("cannot write the file").at({exec.output_file.string()}).hint("is there room?");
              }
            }
            trim_kept(finished.out);
            trim_kept(finished.err);
            return finished;
          default:
            break;
        }
      }
      if (host_.elapsed() > end) {
        if (late) throw too_late(exec, finished, limit);
        late = true;
        end = host_.elapsed() + 15;
        input_open = false;
        send(Frame{Type::cancel, id, ""});
      }
    }
  }

  [[nodiscard]] Error too_late(const Exec& exec, const host::Finished& finished, seconds limit) const {
    Error error(fmt::format("'{}' did not end within {} in the guest and was stopped",
                            base::shell_line(exec.argv),
                            base::human_seconds(static_cast<double>(limit.count()))));
    const std::string words = base::last_lines(finished.out + finished.err, 30);
    if (words.empty()) return machine_->error(error.message()).hint("raise the limit with --timeout");
    return error.hint("raise the limit with --timeout").detail(base::printable(words));
  }

  static bool says_no_space(const host::Finished& finished) {
    const auto has = [](const std::string& text) {
      const auto tail = text.size() > 65536 ? text.size() - 65536 : 0;
      return text.find("No space left on device", tail) != std::string::npos ||
             text.find("not have enough free space", tail) != std::string::npos;
    };
    return has(finished.out) || has(finished.err);
  }

  void explain_no_space(host::Finished& finished) {
    const auto rows = base::lines(told({"df", "-hP", "/"}, seconds(60)));
    if (rows.size() < 2) return;
    if (!finished.err.empty() && finished.err.back() != '\n') finished.err += '\n';
    finished.err +=
        "kiln: the image's disk is full (" + rows[1] + "); give it more room with the base stage's 'size'\n";
  }

  host::Host host_;
  GuestOptions options_;
  std::function<void(std::string_view)> on_doing_;
  host::Fd agent_;
  std::unique_ptr<Machine> machine_;
  agent::FrameReader reader_;
  std::uint32_t last_id_ = 0;
  double last_watch_ = 0;
};

}  // namespace

Limits limits_for(Accel accel) {
  Limits limits;
  if (accel == Accel::kvm) {
    limits.first_byte /= 3;
    limits.boot /= 3;
    limits.step /= 3;
  }
  return limits;
}

std::unique_ptr<Guest> Guest::boot(const host::Host& host, const GuestOptions& options,
                                   const std::function<void(std::string_view)>& on_doing) {
  auto guest = std::make_unique<QemuGuest>(host, options, on_doing);
  guest->boot();
  return guest;
}

std::unique_ptr<Guest> Guest::resume(const host::Host& host, const GuestOptions& options,
                                     const std::filesystem::path& memory,
                                     const std::function<void(std::string_view)>& on_doing) {
  auto guest = std::make_unique<QemuGuest>(host, options, on_doing);
  guest->resume(memory);
  return guest;
}

std::string Guest::identity(const host::Host& host, const GuestOptions& options) {
  std::vector<std::string> words = machine_words(machine_options(options));
  const auto more = devices({"DISK", "KERNEL", "INITRD", "AGENT", options.root});
  words.insert(words.end(), more.begin(), more.end());
  return fmt::format("machine {}\nqemu {}\nagent {}\n", base::shell_line(words),
                     host.tool_version("qemu-system-x86_64"), base::sha256(agent::bytes()));
}

}  // namespace kiln::image
