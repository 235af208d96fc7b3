// A running QEMU: started, watched, photographed, ended. What is in it and how one talks to it is its user's
// affair (a build guest, a proof boot). The destructor kills it.
//
// Its control socket and any other channel are socket pairs QEMU inherits, so no path is too long, nothing is
// left behind, and a dead QEMU is an end of file.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "image/accel.hpp"
#include "image/guest.hpp"
#include "image/qmp.hpp"

namespace kiln::image {

// The one machine that every build guest is, on every host (engine rule 5): a versioned type and a CPU model
// that TCG can do. What programs see of it ends up in an image, so both are part of a key.
inline constexpr std::string_view machine_type = "pc-q35-7.2";
inline constexpr std::string_view cpu_model = "qemu64";

struct MachineOptions {
  std::uint64_t memory = 2ULL << 30;
  int cpus = 2;
  Accel accel = Accel::tcg;
  Limits limits;
  std::filesystem::path scratch;
  std::filesystem::path console;     // log of the serial console, appended
  std::filesystem::path disk;        // named when the host's file system is full
  std::vector<std::string> devices;  // argv beyond the machine itself
  std::vector<host::Fd> inherited;   // QEMU's ends of channels named in `devices`
  bool incoming = false;             // waits for resume() instead of starting
};

// What the guest sees of the machine itself: QEMU's words without devices and channels.
std::vector<std::string> machine_words(const MachineOptions& options);

// Two connected sockets.
struct SocketPair {
  host::Fd ours, theirs;
};
SocketPair socket_pair();

// A path as part of an option of QEMU's, where a comma would begin the next one.
std::string option_path(const std::filesystem::path& path);

// A qcow2 at `file` as the block node `node`, in JSON: for -blockdev and for QMP alike, so that a disk added
// later is opened as the first one was.
std::string disk_node(const std::string& node, const std::filesystem::path& file);

// The TCP ports of the host's 127.0.0.1 out of "info usernet", by the guest's port; each 0 in a hostfwd shows
// there as the port the system chose.
std::vector<std::pair<int, int>> forwarded_ports(std::string_view info_usernet);

// What a console says about a kernel panic, "" when it tells of none: the line that begins with "Kernel
// panic".
std::string panic_line(std::string_view console);

// A console's text for people: without carriage returns, colours and cursor moves.
std::string plain(std::string_view console);

class Machine {
 public:
  // Throws base::Error when QEMU is missing or does not start, with its own words.
  static std::unique_ptr<Machine> start(const host::Host& host, MachineOptions options);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Qmp& qmp();
  // Waits up to `patience` while all is well. Throws base::Error when QEMU died, the kernel panicked, the
  // guest powered itself off or rebooted, the machine was paused by a full disk of the host, or nothing at
  // all came from the console in time.
  void watch(std::chrono::milliseconds patience);
  // Waits until the guest has powered itself off; throws like watch() for any other end, and when `limit`
  // passes.
  void wait_off(std::chrono::seconds limit);
  // Stops the guest and leaves its memory in `memory`, compressed; QEMU has ended when it returns, and the
  // disk is as that memory knows it. Throws base::Error; then the machine is of no use either.
  void save(const std::filesystem::path& memory);
  // The opposite, for a machine started as `incoming` with the same words, devices and disk: the guest runs
  // when it returns. Throws base::Error within `limit`.
  void resume(const std::filesystem::path& memory, std::chrono::seconds limit);
  // Whatever the guest writes goes to `overlay` from now on, a qcow2 whose backing file is named but not
  // opened: the disk so far, node `node` of `devices`, stays in its place, read-only and whole if the guest
  // was at rest. Throws base::Error when QEMU refuses.
  void switch_disk(const std::string& node, const std::filesystem::path& overlay);
  // Ends it now, without a word to the guest.
  void quit();

  // All the console said since start.
  [[nodiscard]] std::string console() const;
  // `message` with the last 30 console lines as detail.
  [[nodiscard]] base::Error error(const std::string& message) const;
  // True when a picture could be had; a blank display is rendered from the console's text.
  bool screenshot(const std::filesystem::path& png);
  [[nodiscard]] double seconds() const;  // since start

 private:
  struct State;
  void wait_migrated(std::chrono::seconds limit, const char* what);
  explicit Machine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace kiln::image
