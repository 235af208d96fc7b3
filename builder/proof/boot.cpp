// A cold boot of an exported image on a throw-away overlay, or one that was kept and is resumed, and the
// checks.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/secret_dir.hpp"
#include "image/disk.hpp"
#include "image/machine.hpp"
#include "image/wake.hpp"
#include "proof/checks.hpp"
#include "proof/inside.hpp"
#include "proof/verdict.hpp"

namespace kiln::proof {
namespace {

using base::Error;
using std::chrono::milliseconds;
using std::chrono::seconds;
namespace fs = std::filesystem;

constexpr const char* user = "kiln-proof";
// The script comes by stdin and is read whole, so that no command of it can eat the rest.
constexpr const char* inside_line = "sudo -n sh -c 'script=$(cat); eval \"$script\"'";
constexpr std::uint64_t extra_room = 1ULL << 30;  // the disk is larger than the image, so that growth shows
constexpr std::array firmware_code = {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"};
constexpr std::array firmware_vars = {"/usr/share/OVMF/OVMF_VARS_4M.fd", "/usr/share/OVMF/OVMF_VARS.fd"};

// What the console says when a boot has come to an end that is none; "" otherwise.
std::string dead_end(const std::string& console) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 6> ends = {{
      {"(initramfs)", "the initramfs gave up and opened a shell"},
      {"grub rescue>", "GRUB found nothing to boot"},
      {"BdsDxe: No bootable option", "the firmware found nothing to boot"},
      {"UEFI Interactive Shell", "the firmware found nothing to boot"},
      {"You are in emergency mode", "systemd went into emergency mode"},
      {"You are in rescue mode", "systemd went into rescue mode"},
  }};
  for (const auto& [sign, meaning] : ends) {
    if (console.find(sign) != std::string::npos) return std::string(meaning);
  }
  return {};
}

// Code and variables of the UEFI firmware that Debian brings; throws when they are not there.
std::pair<fs::path, fs::path> find_firmware() {
  for (std::size_t i = 0; i < firmware_code.size(); ++i) {
    std::error_code ignored;
    if (fs::exists(firmware_code[i], ignored) && fs::exists(firmware_vars[i], ignored)) {
      return {firmware_code[i], firmware_vars[i]};
    }
  }
  throw Error("there is no UEFI firmware to boot with", base::Exit::missing)
      .hint("install the package ovmf, or prove by BIOS alone with 'firmware: [bios]'");
}

class Proof {
 public:
  Proof(const host::Host& host, const BootOptions& options) : host_(host), options_(options) {}

  Verdict prove() {
    start();
    try {
      read_ports();
      look();
    } catch (Error& error) {
      // What the guest did is a verdict; what the user or the host did is not.
      if (error.exit() != base::Exit::failed) throw;
      if (host_is_at_fault()) {
        error.during(
            fmt::format("booting {}; this says nothing about the image", options_.image.filename().string()));
        throw;
      }
      fail_boot(error);
    }
    finish();
    return verdict_;
  }

  int shell(const HandOver& hand_over, const std::vector<std::string>& command) {
    start();
    require_login();
    std::vector<std::string> argv = ssh_argv();
    const std::string who = fmt::format("{}@127.0.0.1", user);
    if (command.empty()) {
      // A terminal on this side gets one on that side; else commands are read from standard input.
      argv.insert(argv.end(), {"-t", who, "exec sudo -n -i"});
    } else {
      // The words come out as they went in: ssh joins them with spaces, and a shell takes that apart.
      std::string line = "cd / && exec sudo -n -H --";
      for (const auto& word : command) line += " " + base::shell_quoted(word);
      argv.insert(argv.end(), {"-T", who, line});
    }
    const int status = hand_over(argv);
    machine_->quit();
    machine_.reset();
    tidy_up();
    return status;
  }

  void keep(const fs::path& folder) {
    start();
    require_login();
    settle();
    doing("keeping the settled guest");
    machine_->save(folder / "memory.zst");
    machine_.reset();
    fs::rename(options_.scratch / "proof.qcow2", folder / "disk.qcow2");
    for (const auto& name : saved_files(options_.firmware)) {
      if (fs::exists(options_.scratch / name)) fs::rename(options_.scratch / name, folder / name);
    }
    tidy_up();
  }

  std::string identity() {
    const auto info = image::disk_info(host_, options_.image);
    image::MachineOptions machine = plain_machine();
    add_devices(machine, {"DISK", "SEED", "CODE", "VARS", ""});
    std::vector<std::string> words = image::machine_words(machine);
    words.insert(words.end(), machine.devices.begin(), machine.devices.end());
    std::string text =
        fmt::format("machine {}\nqemu {}\nimage {} of {} bytes\nlogin {}\n", base::shell_line(words),
                    host_.tool_version("qemu-system-x86_64"), info.format, info.virtual_size, user);
    if (options_.firmware == profile::Firmware::uefi)
      text += fmt::format("firmware {}\n", base::sha256_file(find_firmware().first));
    return text;
  }

 private:
  // A seed with an environment is in memory only, and goes with kiln.
  fs::path seed_file() {
    if (options_.user_data.empty()) return options_.scratch / "seed.iso";
    if (!private_) private_.emplace(host_, "seed");
    return private_->path() / "seed.iso";
  }

  // Where QEMU finds what differs between two starts of the same machine.
  struct Names {
    std::string disk, seed, code, vars, forwards;
  };

  [[nodiscard]] bool resumes() const { return !options_.saved.empty(); }

  void start() {
    verdict_.resumed = resumes();
    verdict_.firmware = options_.firmware == profile::Firmware::uefi ? "uefi" : "bios";
    verdict_.accel = options_.accel == image::Accel::kvm ? "kvm" : "tcg";
    // What a step must have is looked for before anything is started.
    for (const std::string& program : tools()) {
      if (!host_.runner->find_program(program)) {
        throw Error(fmt::format("{} is missing", program), base::Exit::missing)
            .hint("'kiln doctor' names the package it is in");
      }
    }
    start_time_ = host_.elapsed();
    fs::create_directories(options_.scratch);
    auto machine = prepare();
    machine.incoming = resumes();
    doing(resumes() ? "resuming the settled guest"
                    : fmt::format("booting {} ({})", options_.image.filename().string(), verdict_.firmware));
    machine_ = image::Machine::start(host_, std::move(machine));
    if (!resumes()) return;
    machine_->resume(options_.saved / "memory.zst", options_.limits.boot);
    read_ports();
    wake();
    if (options_.on_resumed) options_.on_resumed();
  }

  // The first word to a guest that was resumed; that it is understood is the login as well.
  void wake() {
    doing("setting its clock and randomness");
    const double end = host_.elapsed() + limit() / 10;
    std::string seen = "nothing answered on port 22";
    for (;;) {
      pause(0.1);
      if (greeting(ports_[22], seconds(2)).rfind("SSH-", 0) == 0) {
        const auto wake = image::wake_script(host_.now());
        const auto text = ssh("sudo -n sh -c " + base::shell_quoted(wake.script), wake.input, 60);
        if (text.find(image::awake) != std::string::npos) break;
        seen = "its clock and randomness could not be set";
        if (!text.empty()) seen += ": " + base::printable(base::last_lines(text, 1));
      }
      if (host_.elapsed() > end) throw machine_->error("the guest was resumed, but " + seen);
    }
    verdict_.boot_seconds = machine_->seconds();
    add_boot(true, fmt::format("awake after {}", base::human_seconds(verdict_.boot_seconds)));
  }

  void require_login() {
    if (resumes()) return;  // it was the first thing done
    read_ports();
    if (log_in()) return;
    throw machine_->error("nobody can log in: " + why_outside_).hint("the console is all that can be seen");
  }

  // Waits for what every look inside waits for.
  void settle() {
    doing("waiting for the guest to settle");
    const std::string output = ssh(inside_line, inside_script({}, static_cast<long>(limit())), 2 * limit());
    for (const auto& check : judge({}, read_answers(output), "the look inside was not finished")) {
      if (check.name == "system has settled" && !(check.ran && check.passed))
        throw machine_->error("the guest did not settle: " + check.detail);
    }
  }

  // True when the machine stands still although the guest did nothing to make it: the host's disk is full or
  // does not read, or KVM gave up. QEMU itself says so.
  bool host_is_at_fault() {
    try {
      const auto told = nlohmann::json::parse(machine_->qmp().execute("query-status"), nullptr, false);
      const std::string status = told.is_object() ? told.value("status", "") : "";
      return status == "io-error" || status == "internal-error" || status == "paused";
    } catch (const Error&) {
      host::check_interrupt();
      return false;  // it has ended, by the guest's doing or its own
    }
  }

  void doing(std::string_view what) const {
    if (options_.on_doing) options_.on_doing(what);
  }

  [[nodiscard]] double limit() const { return static_cast<double>(options_.limits.boot.count()); }

  [[nodiscard]] image::MachineOptions plain_machine() const {
    image::MachineOptions machine;
    machine.memory = options_.proof.memory;
    machine.cpus = options_.proof.cpus;
    machine.accel = options_.accel;
    machine.limits = options_.limits;
    machine.scratch = options_.scratch;
    machine.console = options_.console;
    return machine;
  }

  void add_devices(image::MachineOptions& machine, const Names& names) const {
    const auto add = [&](std::initializer_list<std::string> words) {
      machine.devices.insert(machine.devices.end(), words);
    };
    if (options_.firmware == profile::Firmware::uefi) {
      add({"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + names.code});
      add({"-drive", "if=pflash,format=raw,unit=1,file=" + names.vars});
    }
    add({"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,aio=threads,discard=unmap,file=" + names.disk});
    add({"-device", "virtio-blk-pci,drive=disk,bootindex=1"});
    add({"-drive", "if=none,id=seed,format=raw,readonly=on,file=" + names.seed});
    add({"-device", "virtio-blk-pci,drive=seed"});
    // Not the MAC of build guests: an image that is pinned to that one is found out.
    add({"-netdev", "user,id=net,ipv6=off" + names.forwards, "-device",
         "virtio-net-pci,netdev=net,mac=52:54:00:70:72:66,romfile="});
  }

  image::MachineOptions prepare() {
    const auto info = image::disk_info(host_, options_.image);
    if (!options_.layer) image::require_self_contained(info, fmt::format("'{}'", options_.image.string()));
    const auto overlay = options_.scratch / "proof.qcow2";
    const std::string image = fs::absolute(options_.image).string();
    std::error_code ignored;
    fs::remove(overlay, ignored);
    if (resumes()) {
      take_saved(overlay, info.format, image);
    } else {
      host::require(*host_.runner, {"qemu-img", "create", "-q", "-f", "qcow2", "-F", info.format, "-b", image,
                                    overlay.string(), std::to_string(info.virtual_size + extra_room)});
      make_seed();
    }
    image::MachineOptions machine = plain_machine();
    machine.disk = overlay;
    Names names{image::option_path(overlay), image::option_path(seed_file()), "", "", ""};
    if (options_.firmware == profile::Firmware::uefi) {
      const auto [code, vars] = find_firmware();
      const auto own_vars = options_.scratch / "uefi-vars.fd";
      if (!resumes()) fs::copy_file(vars, own_vars, fs::copy_options::overwrite_existing);
      names.code = image::option_path(code);
      names.vars = image::option_path(own_vars);
    }
    // The system chooses each host port, so that two proofs side by side do not meet.
    std::vector<int> ports = {22};
    for (const auto& check : options_.proof.ports) ports.push_back(check.port);
    std::sort(ports.begin(), ports.end());
    ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
    for (const int port : ports) names.forwards += fmt::format(",hostfwd=tcp:127.0.0.1:0-:{}", port);
    add_devices(machine, names);
    return machine;
  }

  // What was kept stays as it is: the guest writes to copies. The image may have moved since.
  void take_saved(const fs::path& overlay, const std::string& format, const std::string& image) {
    for (const auto& name : saved_files(options_.firmware)) {
      if (name == "memory.zst") continue;  // read where it lies
      const auto to = name == "disk.qcow2" ? overlay : options_.scratch / name;
      std::error_code ignored;
      fs::remove(to, ignored);
      host::copy_sparse(options_.saved / name, to);
      fs::permissions(to, fs::perms::owner_read | fs::perms::owner_write);
    }
    host::require(*host_.runner,
                  {"qemu-img", "rebase", "-q", "-u", "-F", format, "-b", image, overlay.string()});
  }

  // A NoCloud seed with a key that is used once: nothing of it is in the image.
  void make_seed() {
    const auto key = options_.scratch / "key";
    std::error_code ignored;
    fs::remove(key, ignored);
    fs::remove(key.string() + ".pub", ignored);
    host::require(*host_.runner,
                  {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", user, "-f", key.string()});
    const std::string public_key(base::trim(host::read_file(key.string() + ".pub")));
    host::Member meta;
    meta.path = "meta-data";
    meta.content = fmt::format("instance-id: kiln-proof-{}\n", base::random_hex(8));
    // cloud-init reads both; what the user says goes before what a vendor says, and the login is no part of
    // it.
    const bool given = !options_.user_data.empty();
    host::Member data;
    data.path = given ? "vendor-data" : "user-data";
    // JSON is YAML, and quotes what must be.
    const nlohmann::json config = {{"users",
                                    {{{"name", user},
                                      {"shell", "/bin/sh"},
                                      {"lock_passwd", true},
                                      {"sudo", "ALL=(ALL) NOPASSWD:ALL"},
                                      {"ssh_authorized_keys", {public_key}}}}}};
    data.content = "#cloud-config\n" + config.dump(1) + "\n";
    std::vector<host::Member> members = {meta, data};
    if (given) {
      members.emplace_back();
      members.back().path = "user-data";
      members.back().content = options_.user_data;
    }
    host::write_archive(seed_file(), host::Format::iso9660, members, "cidata");
  }

  void read_ports() {
    const std::string text = machine_->qmp().human("info usernet");
    for (const auto& [guest, host] : image::forwarded_ports(text)) ports_[guest] = host;
    if (ports_[22] == 0) throw Error("QEMU does not say which port leads to the guest").detail(text);
  }

  // Waits without looking away from the machine.
  void pause(double duration) {
    const double end = host_.elapsed() + duration;
    do {
      machine_->watch(milliseconds(200));
      if (const auto end_sign = dead_end(machine_->console()); !end_sign.empty()) {
        throw machine_->error("the image does not boot: " + end_sign);
      }
    } while (host_.elapsed() < end);
  }

  void look() {
    const bool inside = resumes() || log_in();
    verdict_.inside = inside;
    if (inside) {
      look_inside();
    } else {
      for (const auto& check : judge(options_.proof, {}, why_outside_)) {
        // Nobody asked for what every inside look brings along.
        const bool asked = check.kind == "file" || check.kind == "command" ||
                           (check.kind == "unit" && check.name != "no failed unit");
        if (asked) verdict_.checks.push_back(check);
      }
    }
    look_outside(inside);
  }

  // True when the one-time key opened the guest. False when the guest is up and does not take it, which is
  // what an image without cloud-init or ssh does.
  bool log_in() {
    doing("waiting for ssh");
    const double end = host_.elapsed() + limit();
    // From a login prompt on, cloud-init gets a fifth of the boot's time to let us in.
    double prompt_at = 0;
    std::string seen = "nothing answered on port 22";
    for (;;) {
      pause(0.5);
      if (greeting(ports_[22], seconds(2)).rfind("SSH-", 0) == 0) {
        seen = "ssh answered, but did not take the key of the seed";
        if (const auto text = ssh("echo kiln-answer", "", 60);
            text.find("kiln-answer") != std::string::npos) {
          verdict_.boot_seconds = machine_->seconds();
          add_boot(true, fmt::format("ssh after {}", base::human_seconds(verdict_.boot_seconds)));
          return true;
        }
      }
      const double now = host_.elapsed();
      if (prompt_at == 0 && machine_->console().find("login:") != std::string::npos) {
        prompt_at = now;
        verdict_.boot_seconds = machine_->seconds();
      }
      if (prompt_at != 0 && now - prompt_at > limit() / 5) {
        why_outside_ = "not looked at: " + seen + "; is there cloud-init in the image, and an ssh server?";
        add_boot(true,
                 fmt::format("login prompt after {}; {}", base::human_seconds(verdict_.boot_seconds), seen));
        return false;
      }
      if (now > end) {
        throw machine_->error(fmt::format("the image did not come up within {}: {}, and no login prompt came",
                                          base::human_seconds(limit()), seen));
      }
    }
  }

  // How the guest is logged in to with the seed's key; nothing of the user's own ssh comes into it.
  std::vector<std::string> ssh_argv() {
    std::vector<std::string> argv = {
        "ssh", "-F", "none", "-i", (options_.scratch / "key").string(), "-p", std::to_string(ports_[22])};
    for (const char* option :
         {"StrictHostKeyChecking=no", "GlobalKnownHostsFile=/dev/null", "UserKnownHostsFile=/dev/null",
          "BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "LogLevel=ERROR", "ConnectTimeout=40",
          "ServerAliveInterval=30"}) {
      argv.insert(argv.end(), {"-o", option});
    }
    return argv;
  }

  // Runs one command line in the guest and returns what it said; "" when the login failed. The line is ours,
  // never the profile's.
  std::string ssh(const std::string& line, const std::string& input, double patience) {
    const auto log = options_.scratch / "ssh.log";
    std::error_code ignored;
    fs::remove(log, ignored);
    host::Command command(ssh_argv());
    command.add({"-T", fmt::format("{}@127.0.0.1", user), line});
    command.input = input;
    command.log = log;
    command.purpose = "looking into the booted image";
    auto process = host_.runner->start(command);
    const double end = host_.elapsed() + patience;
    while (!process->wait(milliseconds(100))) {
      pause(0);
      if (host_.elapsed() > end) {
        process->stop();
        break;
      }
    }
    return fs::exists(log, ignored) ? host::read_file(log) : "";
  }

  void look_inside() {
    doing("looking inside");
    const double start = host_.elapsed();
    const double patience = 2 * limit() + 150.0 * static_cast<double>(options_.proof.commands.size());
    const std::string output =
        ssh(inside_line, inside_script(options_.proof, static_cast<long>(limit())), patience);
    const auto answers = read_answers(output);
    std::string missing = "the look inside was not finished";
    if (answers.count("end") == 0) {
      std::vector<std::string> words;
      for (const auto& text : base::lines(output)) {
        if (text.rfind("kiln-answer", 0) != 0) words.push_back(text);
      }
      if (!words.empty()) missing += ": " + base::printable(words.back());
    }
    auto checks = judge(options_.proof, answers, missing);
    if (!checks.empty()) checks.front().seconds = host_.elapsed() - start;
    verdict_.checks.insert(verdict_.checks.end(), checks.begin(), checks.end());
  }

  void look_outside(bool inside) {
    // After the look inside all has settled; without it services may still be starting.
    const double end = host_.elapsed() + (inside ? limit() / 20 : limit() / 3);
    for (const auto& check : options_.proof.ports) {
      doing("looking at " + port_name(check));
      CheckResult result;
      result.kind = "port";
      result.name = port_name(check);
      const double start = host_.elapsed();
      for (;;) {
        const PortAnswer answer = ask_port(check, ports_[check.port], seconds(20));
        result.passed = answer.passed;
        result.detail = answer.detail;
        if (answer.passed || host_.elapsed() > end) break;
        pause(1);
      }
      result.seconds = host_.elapsed() - start;
      verdict_.checks.push_back(result);
    }
  }

  [[nodiscard]] std::string boot_name() const {
    return (resumes() ? "resumes after a boot by " : "boots by ") + verdict_.firmware;
  }

  void add_boot(bool passed, const std::string& detail) {
    CheckResult result;
    result.kind = "boot";
    result.name = boot_name();
    result.passed = passed;
    result.detail = detail;
    result.seconds = machine_->seconds();
    verdict_.checks.insert(verdict_.checks.begin(), result);
  }

  // A boot that had succeeded and then failed has not succeeded.
  void fail_boot(const Error& error) {
    std::erase_if(verdict_.checks, [&](const CheckResult& check) {
      return check.kind == "boot" && check.name == boot_name();
    });
    add_boot(false, error.what());
    // What was not reached has not run.
    const auto known = [&](const std::string& kind, const std::string& name) {
      return std::any_of(verdict_.checks.begin(), verdict_.checks.end(),
                         [&](const CheckResult& check) { return check.kind == kind && check.name == name; });
    };
    auto rest = judge(options_.proof, {}, "the image did not stay up");
    for (const auto& check : options_.proof.ports) {
      CheckResult result;
      result.kind = "port";
      result.name = port_name(check);
      result.ran = false;
      result.detail = "the image did not stay up";
      rest.push_back(result);
    }
    for (const auto& check : rest) {
      if (check.kind != "boot" && !known(check.kind, check.name)) verdict_.checks.push_back(check);
    }
  }

  void finish() {
    bool shown = false;
    try {
      shown = machine_->screenshot(options_.screen);
    } catch (const Error&) {
      host::check_interrupt();
    }
    if (!shown) {
      std::error_code ignored;
      fs::remove(options_.screen, ignored);  // no picture is better than one of another boot
    }
    machine_->quit();
    machine_.reset();
    tidy_up();
    verdict_.seconds = host_.elapsed() - start_time_;
    verdict_.passed = !verdict_.checks.empty() && (verdict_.inside || !has_inside_checks(options_.proof)) &&
                      std::all_of(verdict_.checks.begin(), verdict_.checks.end(),
                                  [](const CheckResult& check) { return check.ran && check.passed; });
    // Something was put in: that the image would do without is not shown.
    verdict_.proven = verdict_.passed && !verdict_.resumed && options_.user_data.empty();
  }

  void tidy_up() const {
    for (const char* name : {"proof.qcow2", "seed.iso", "key", "key.pub", "uefi-vars.fd", "ssh.log"}) {
      std::error_code ignored;
      fs::remove(options_.scratch / name, ignored);
    }
  }

  const host::Host& host_;
  const BootOptions& options_;
  Verdict verdict_;
  std::map<int, int> ports_;  // of the guest -> of the host
  std::string why_outside_;
  double start_time_ = 0;
  std::optional<host::SecretDir> private_;
  std::unique_ptr<image::Machine> machine_;
};

}  // namespace

std::set<std::string> tools() {
  return {"qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen"};
}

Verdict prove(const host::Host& host, const BootOptions& options) {
  return Proof(host, options).prove();
}

int shell(const host::Host& host, const BootOptions& options, const HandOver& hand_over,
          const std::vector<std::string>& command) {
  return Proof(host, options).shell(hand_over, command);
}

void keep(const host::Host& host, const BootOptions& options, const fs::path& folder) {
  Proof(host, options).keep(folder);
}

std::vector<std::string> saved_files(profile::Firmware firmware) {
  std::vector<std::string> names = {"disk.qcow2", "memory.zst", "seed.iso", "key"};
  if (firmware == profile::Firmware::uefi) names.emplace_back("uefi-vars.fd");
  return names;
}

std::string saved_identity(const host::Host& host, const BootOptions& options) {
  return Proof(host, options).identity();
}

void require_firmware(profile::Firmware firmware) {
  if (firmware == profile::Firmware::uefi) find_firmware();
}

}  // namespace kiln::proof
