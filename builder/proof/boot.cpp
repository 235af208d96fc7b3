// A cold boot of an exported image on a throw-away overlay, and the checks.

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
#include "image/disk.hpp"
#include "image/machine.hpp"
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

  int shell(const HandOver& hand_over) {
    start();
    read_ports();
    if (!log_in())
      throw machine_->error("nobody can log in: " + why_outside_).hint("the console is all that can be seen");
    std::vector<std::string> argv = ssh_argv();
    // A terminal on this side gets one on that side; else commands are read from standard input.
    argv.insert(argv.end(), {"-t", fmt::format("{}@127.0.0.1", user), "exec sudo -n -i"});
    const int status = hand_over(argv);
    machine_->quit();
    machine_.reset();
    tidy_up();
    return status;
  }

 private:
  void start() {
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
    doing(fmt::format("booting {} ({})", options_.image.filename().string(), verdict_.firmware));
    machine_ = image::Machine::start(host_, std::move(machine));
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

  image::MachineOptions prepare() {
    const auto info = image::disk_info(host_, options_.image);
    if (!options_.layer) image::require_self_contained(info, fmt::format("'{}'", options_.image.string()));
    const auto overlay = options_.scratch / "proof.qcow2";
    std::error_code ignored;
    fs::remove(overlay, ignored);
    host::require(*host_.runner, {"qemu-img", "create", "-q", "-f", "qcow2", "-F", info.format, "-b",
                                  fs::absolute(options_.image).string(), overlay.string(),
                                  std::to_string(info.virtual_size + extra_room)});
    make_seed();

    image::MachineOptions machine;
    machine.memory = options_.proof.memory;
    machine.cpus = options_.proof.cpus;
    machine.accel = options_.accel;
    machine.limits = options_.limits;
    machine.scratch = options_.scratch;
    machine.console = options_.console;
    machine.disk = overlay;
    const auto add = [&](std::initializer_list<std::string> words) {
      machine.devices.insert(machine.devices.end(), words);
    };
    if (options_.firmware == profile::Firmware::uefi) {
      const auto [code, vars] = find_firmware();
      const auto own_vars = options_.scratch / "uefi-vars.fd";
      fs::copy_file(vars, own_vars, fs::copy_options::overwrite_existing);
      add({"-drive", "if=pflash,format=raw,unit=0,readonly=on,file=" + code.string()});
      add({"-drive", "if=pflash,format=raw,unit=1,file=" + image::option_path(own_vars)});
    }
    add({"-drive", "if=none,id=disk,format=qcow2,cache=unsafe,aio=threads,discard=unmap,file=" +
                       image::option_path(overlay)});
    add({"-device", "virtio-blk-pci,drive=disk,bootindex=1"});
    add({"-drive",
         "if=none,id=seed,format=raw,readonly=on,file=" + image::option_path(options_.scratch / "seed.iso")});
    add({"-device", "virtio-blk-pci,drive=seed"});
    // The system chooses each host port, so that two proofs side by side do not meet.
    std::string network = "user,id=net,ipv6=off";
    std::vector<int> ports = {22};
    for (const auto& check : options_.proof.ports) ports.push_back(check.port);
    std::sort(ports.begin(), ports.end());
    ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
    for (const int port : ports) network += fmt::format(",hostfwd=tcp:127.0.0.1:0-:{}", port);
    // Not the MAC of build guests: an image that is pinned to that one is found out.
    add({"-netdev", network, "-device", "virtio-net-pci,netdev=net,mac=52:54:00:70:72:66,romfile="});
    return machine;
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
    host::Member data;
    data.path = "user-data";
    // JSON is YAML, and quotes what must be.
    const nlohmann::json config = {{"users",
                                    {{{"name", user},
                                      {"shell", "/bin/sh"},
                                      {"lock_passwd", true},
                                      {"sudo", "ALL=(ALL) NOPASSWD:ALL"},
                                      {"ssh_authorized_keys", {public_key}}}}}};
    data.content = "#cloud-config\n" + config.dump(1) + "\n";
    host::write_archive(options_.scratch / "seed.iso", host::Format::iso9660, {meta, data}, "cidata");
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
    const bool inside = log_in();
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
    // The script comes by stdin and is read whole, so that no command of it can eat the rest.
    const std::string output = ssh("sudo -n sh -c 'script=$(cat); eval \"$script\"'",
                                   inside_script(options_.proof, static_cast<long>(limit())), patience);
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

  void add_boot(bool passed, const std::string& detail) {
    CheckResult result;
    result.kind = "boot";
    result.name = "boots by " + verdict_.firmware;
    result.passed = passed;
    result.detail = detail;
    result.seconds = machine_->seconds();
    verdict_.checks.insert(verdict_.checks.begin(), result);
  }

  // A boot that had succeeded and then failed has not succeeded.
  void fail_boot(const Error& error) {
    std::erase_if(verdict_.checks, [&](const CheckResult& check) {
      return check.kind == "boot" && check.name == "boots by " + verdict_.firmware;
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
    verdict_.proven = !verdict_.checks.empty() && (verdict_.inside || !has_inside_checks(options_.proof)) &&
                      std::all_of(verdict_.checks.begin(), verdict_.checks.end(),
                                  [](const CheckResult& check) { return check.ran && check.passed; });
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
  std::unique_ptr<image::Machine> machine_;
};

}  // namespace

std::set<std::string> tools() {
  return {"qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen"};
}

Verdict prove(const host::Host& host, const BootOptions& options) {
  return Proof(host, options).prove();
}

int shell(const host::Host& host, const BootOptions& options, const HandOver& hand_over) {
  return Proof(host, options).shell(hand_over);
}

void require_firmware(profile::Firmware firmware) {
  if (firmware == profile::Firmware::uefi) find_firmware();
}

}  // namespace kiln::proof
