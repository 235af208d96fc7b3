#include "image/accel.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <vector>

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

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

Trial try_kernel(const host::Host& host, const fs::path& kernel) {
  const host::TempDir scratch({}, "kiln-kvm-");
  const auto console = scratch.path() / "console";
  host::Command command{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"};
  command.add({"-machine", "pc-q35-7.2", "-cpu", "qemu64", "-accel", "kvm", "-m", "512M", "-smp", "2"});
  command.add({"-display", "none", "-vga", "none", "-serial", "file:" + console.string()});
  command.add({"-kernel", kernel.string(), "-append", "console=ttyS0,115200 panic=-1 mitigations=off"});
  command.log = scratch.path() / "log";
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

AccelVerdict choose_accel(const host::Host& host, Wish wish, const fs::path& kernel, const fs::path& state) {
  if (wish == Wish::tcg) return {Accel::tcg, "TCG was asked for"};
  const auto refused = [&](std::string why) {
    if (wish == Wish::kvm) {
      throw Error("KVM was asked for, but " + why, base::Exit::missing)
          .hint("leave --accel at auto to build without it");
    }
    return AccelVerdict{Accel::tcg, std::move(why)};
  };
  struct stat device{};
  if (::stat("/dev/kvm", &device) != 0)
    return refused("there is no /dev/kvm; TCG is used, about ten times slower");
  if (!std::fstream("/dev/kvm", std::ios::in | std::ios::out | std::ios::binary)) {
    return refused("this user may not open /dev/kvm; TCG is used, about ten times slower");
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
  const auto before = nlohmann::json::parse(file_text(kept), nullptr, false);
  if (before.is_object() && before.value("about", nlohmann::json()) == about && before.contains("works")) {
    const std::string why = before.value("why", std::string());
    if (before["works"].get<bool>()) return {Accel::kvm, why};
    return refused(why);
  }
  const fs::path tried = kernel.empty() ? host_kernel() : kernel;
  if (tried.empty())
    return refused("there is no kernel to try KVM with yet; TCG is used, about ten times slower");

  const Trial trial = try_kernel(host, tried);
  fs::create_directories(state);
  const nlohmann::json verdict = {
      {"about", about}, {"works", trial.works}, {"why", trial.why}, {"tried", tried.string()}};
  host::write_file(kept, verdict.dump(2) + "\n");
  if (trial.works) return {Accel::kvm, trial.why};
  return refused(trial.why);
}

}  // namespace kiln::image
