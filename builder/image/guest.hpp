// A booted guest. QEMU lives only here (and in accel). The image's own kernel and initrd are booted directly;
// the agent comes in by a second archive behind the initrd and lives in /run, so nothing is written to the
// disk for its sake. The destructor kills the whole process group.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "host/host.hpp"
#include "image/accel.hpp"
#include "image/system.hpp"

namespace kiln::image {

struct Limits {  // engine rule 13; defaults under TCG, a third of it with KVM
  std::chrono::seconds death{5};
  std::chrono::seconds first_byte{60};
  std::chrono::seconds boot{600};
  std::chrono::seconds step{1800};
};
Limits limits_for(Accel accel);

struct GuestOptions {
  std::filesystem::path disk;    // qcow2, written to
  std::filesystem::path kernel;  // local copies of the image's own
  std::filesystem::path initrd;
  std::string root = "LABEL=cloudimg-rootfs";
  std::uint64_t memory = 2ULL << 30;
  int cpus = 2;
  Accel accel = Accel::tcg;
  Limits limits;
  std::filesystem::path scratch;  // appended initrd
  std::filesystem::path console;  // log of the serial console, appended
};

class Guest : public System {
 public:
  // Boots and waits until the agent answers and the system has settled (no queued job). Throws base::Error
  // with the last 30 console lines when QEMU dies, the kernel panics, or a limit passes. `on_doing` hears
  // what is being waited for.
  static std::unique_ptr<Guest> boot(const host::Host& host, const GuestOptions& options,
                                     const std::function<void(std::string_view)>& on_doing = {});
  // The guest that `save` left, on the disk `options` names (a copy of the saved one), with the kernel and
  // initrd it was booted by. Its clock and its randomness are of now. Throws base::Error.
  static std::unique_ptr<Guest> resume(const host::Host& host, const GuestOptions& options,
                                       const std::filesystem::path& memory,
                                       const std::function<void(std::string_view)>& on_doing = {});
  // What a saved guest and whoever resumes it have to agree on, one fact a line: the machine, its devices,
  // the accelerator, QEMU's version, the agent.
  static std::string identity(const host::Host& host, const GuestOptions& options);
  // Leaves the guest's memory in `memory` and the initrd it was booted by in `initrd`; the guest has ended
  // then.
  virtual void save(const std::filesystem::path& memory, const std::filesystem::path& initrd) = 0;
  // Brings the guest to rest and lets it write to `overlay` from now on, whose backing file the disk becomes:
  // that is then as after a clean shutdown (engine rule 12). Returns "", or why the guest does not come to
  // rest; it writes to its old disk then, and can be shut down. Commands may be run again behind
  // leave_rest() alone. Throws base::Error when the guest is of no use any more.
  virtual std::string cut(const std::filesystem::path& overlay) = 0;
  // Starts again what a boot starts, and waits until it has settled; throws base::Error like boot().
  virtual void leave_rest() = 0;
  // Clean shutdown: all is on the disk when it returns. Throws base::Error when it takes longer than a boot
  // may.
  virtual void shut_down() = 0;
  // Picture of the display as PNG; false when the guest shows none.
  virtual bool screenshot(const std::filesystem::path& png) = 0;
};

}  // namespace kiln::image
