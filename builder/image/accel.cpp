#include "image/accel.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"
#include "image/machine.hpp"

namespace kiln::image {
namespace {

using base::Error;
using std::chrono::milliseconds;
namespace fs = std::filesystem;

// A kernel under a KVM that works prints its first lines within a second; one under a KVM that lies never
// does, or QEMU aborts at once.
constexpr double patience = 8;
// Without a root file system the kernel panics at its end, which is the longest road it can go.
constexpr std::array proofs = {"Unable to mount root fs", "No working init found",
                               "VFS: Cannot open root device"};

std::string stamp(const fs::path& file) {
  struct stat state{};
  if (::stat(file.c_str(), &state) != 0) return "absent";
  return fmt::format("{} {} {}", file.string(), state.st_size, state.st_mtim.tv_sec);
}

std::string file_text(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// Newest kernel image of the host, "" when it has none that can be read.
fs::path host_kernel() {
  std::vector<fs::path> found;
  std::error_code failure;
  for (const auto& entry : fs::directory_iterator("/boot", failure)) {
    const bool readable = std::ifstream(entry.path()).good();
    if (entry.path().filename().string().rfind("vmlinuz", 0) == 0 && readable) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found.empty() ? fs::path() : found.back();
}

struct Trial {
  bool works = false;
  std::string why;
};

// Where a kernel is tried: one folder below the state's, held by one kiln at a time and emptied by the next,
// so that one which is killed leaves nothing that adds up. QEMU itself dies with kiln: the Runner sees to it.
class TrialFolder {
 public:
  explicit TrialFolder(fs::path path) : path_(std::move(path)) {
    fs::create_directories(path_);
    lock_ = host::Fd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock_) throw host::io_error("open", path_, errno);
    // Another kiln's trial ends within `patience`.
    while (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno != EWOULDBLOCK && errno != EINTR) throw host::io_error("lock", path_, errno);
      host::check_interrupt();
      std::this_thread::sleep_for(milliseconds(50));
    }
    empty();
  }
  TrialFolder(const TrialFolder&) = delete;
  TrialFolder& operator=(const TrialFolder&) = delete;
  ~TrialFolder() { empty(); }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  void empty() const noexcept {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(path_, ignored)) fs::remove_all(entry.path(), ignored);
  }

  fs::path path_;
  host::Fd lock_;
};

Trial try_kernel(const host::Host& host, const fs::path& kernel, const fs::path& scratch) {
  const auto console = scratch / "console";
  host::Command command{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"};
  command.add({"-machine", std::string(machine_type), "-cpu", std::string(cpu_model), "-accel", "kvm", "-m",
               "512M", "-smp", "2"});
  command.add({"-display", "none", "-vga", "none", "-serial", "file:" + console.string()});
  command.add({"-kernel", kernel.string(), "-append", "console=ttyS0,115200 panic=-1 mitigations=off"});
  command.log = scratch / "log";
  command.purpose = "trying KVM";
  const double start = host.elapsed();
  auto process = host.runner->start(command);
  std::optional<host::Finished> ended;
  while (!ended && host.elapsed() - start < patience) ended = process->wait(milliseconds(100));
  const double took = host.elapsed() - start;
  process->stop();
  const std::string text = file_text(console);
  const bool booted = std::any_of(proofs.begin(), proofs.end(),
                                  [&](const char* proof) { return text.find(proof) != std::string::npos; });
  if (booted) return {true, fmt::format("KVM ran a kernel in {}", base::human_seconds(took))};
  const std::string slow = "; TCG is used, about ten times slower";
  if (!ended && text.empty())
    return {false, fmt::format("KVM ran nothing in {}{}", base::human_seconds(took), slow)};
  if (!ended) {
    return {false, fmt::format("KVM hung at line {} of a kernel's start{}", base::lines(text).size(), slow)};
  }
  const std::string words(base::trim(base::last_lines(base::printable(file_text(command.log)), 1)));
  return {false, fmt::format("KVM does not run a kernel (QEMU: {}{}{}){}", ended->how(),
                             words.empty() ? "" : ", ", words, slow)};
}

}  // namespace

AccelVerdict choose_accel(const host::Host& host, Wish wish, const fs::path& kernel, const fs::path& state,
                          const fs::path& device) {
  if (wish == Wish::tcg) return {Accel::tcg, "TCG was asked for"};
  const auto refused = [&](std::string why) {
    if (wish == Wish::kvm) {
      throw Error("KVM was asked for, but " + why, base::Exit::missing)
          .hint("leave --accel at auto to build without it");
    }
    return AccelVerdict{Accel::tcg, std::move(why)};
  };
  if (std::error_code ignored; !fs::exists(device, ignored))
    return refused(fmt::format("there is no {}; TCG is used, about ten times slower", device.string()));
  if (!std::fstream(device, std::ios::in | std::ios::out | std::ios::binary)) {
    return refused(
        fmt::format("this user may not open {}; TCG is used, about ten times slower", device.string()));
  }
  const auto qemu = host.runner->find_program("qemu-system-x86_64");
  if (!qemu) {
    throw Error("qemu-system-x86_64 is missing", base::Exit::missing)
        .hint("install the package qemu-system-x86");
  }

  // The verdict holds for this boot of this host, this QEMU and this kernel of the host.
  std::string boot_id(base::trim(file_text("/proc/sys/kernel/random/boot_id")));
  const nlohmann::json about = {
      {"boot", boot_id}, {"qemu", stamp(*qemu)}, {"version", host.tool_version("qemu-system-x86_64")}};
  const fs::path kept = state / "kvm.json";
  const auto told_before = [&]() -> std::optional<Trial> {
    const auto before = nlohmann::json::parse(file_text(kept), nullptr, false);
    if (!before.is_object() || before.value("about", nlohmann::json()) != about) return std::nullopt;
    if (!before.contains("works") || !before["works"].is_boolean()) return std::nullopt;
    return Trial{before["works"].get<bool>(), before.value("why", std::string())};
  };
  const auto verdict_of = [&](const Trial& trial) {
    return trial.works ? AccelVerdict{Accel::kvm, trial.why} : refused(trial.why);
  };
  if (const auto known = told_before()) return verdict_of(*known);
  const fs::path tried = kernel.empty() ? host_kernel() : kernel;
  if (tried.empty())
    return refused("there is no kernel to try KVM with yet; TCG is used, about ten times slower");

  const TrialFolder folder(state / "trial");
  // While this waited another kiln may have found out.
  if (const auto known = told_before()) return verdict_of(*known);
  const Trial trial = try_kernel(host, tried, folder.path());
  const nlohmann::json verdict = {
      {"about", about}, {"works", trial.works}, {"why", trial.why}, {"tried", tried.string()}};
  host::write_file(kept, verdict.dump(2) + "\n");
  return verdict_of(trial);
}

}  // namespace kiln::image
