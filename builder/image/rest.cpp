#include "image/rest.hpp"

#include <chrono>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/text.hpp"

namespace kiln::image {
namespace {

// At jobs, 0.3 s and a command or two apart: more than the 90 s that systemd gives a service.
constexpr int looks = 300;

host::Finished ask(System& guest, std::vector<std::string> argv, const char* purpose) {
  Exec exec;
  exec.argv = std::move(argv);
  exec.purpose = purpose;
  return guest.run(exec);
}

// What runs on although no more than the basic system was asked for, and has no part in the cut: a shutdown
// would stop it and take its private /tmp away.
std::vector<std::string> running_on(System& guest) {
  static const std::set<std::string> needed = {"systemd-journald.service", "systemd-udevd.service",
                                               "kiln-agent.service"};
  std::vector<std::string> services;
  const auto units =
      ask(guest, {"systemctl", "list-units", "--type=service", "--state=running", "--no-legend", "--plain"},
          "looking for services that run on");
  for (const auto& line : base::lines(units.out)) {
    const auto unit = base::words(line);
    if (!unit.empty() && !needed.contains(unit[0])) services.push_back(unit[0]);
  }
  return services;
}

// Numbers of the devices below what is mounted from a disk, as stat prints them.
std::set<std::string> disk_devices(System& guest) {
  std::vector<std::string> argv = {"stat", "-c", "%d", "--"};
  for (const auto& line : base::lines(ask(guest, {"cat", "/proc/mounts"}, "looking at mounts").out)) {
    const auto mount = base::words(line);
    // Names with a space or such are octal there: those are not looked at.
    if (mount.size() > 2 && mount[0].starts_with("/dev/")) argv.push_back(mount[1]);
  }
  const auto numbers = base::lines(ask(guest, std::move(argv), "looking at mounts").out);
  return {numbers.begin(), numbers.end()};
}

// Processes that hold a file of the disk that has no name any more, open or mapped; what one of them is. A
// process or descriptor that goes while it is looked at is no news, so the tools' status is not either.
std::map<std::string, std::string> holders(System& guest, const std::set<std::string>& devices) {
  std::vector<std::string> argv = {"find", "-L"};
  for (const auto& pid :
       base::lines(ask(guest, {"find", "/proc", "-mindepth", "1", "-maxdepth", "1", "-name", "[0-9]*"},
                       "listing processes")
                       .out)) {
    argv.push_back(pid + "/fd");
    argv.push_back(pid + "/map_files");
  }
  for (const char* word :
       {"-mindepth", "1", "-maxdepth", "1", "-type", "f", "-links", "0", "-printf", "%D %p\n"})
    argv.emplace_back(word);
  std::map<std::string, std::string> all;
  for (const auto& line : base::lines(ask(guest, std::move(argv), "looking for deleted files in use").out)) {
    const auto found = base::words(line);
    if (found.size() != 2 || !devices.contains(found[0])) continue;
    const auto path = base::split(found[1], '/');  // "", proc, pid, ...
    if (path.size() < 4 || all.contains(path[2])) continue;
    all[path[2]] =
        std::string(base::trim(ask(guest, {"cat", "/proc/" + path[2] + "/comm"}, "naming a process").out));
  }
  return all;
}

// The service a process belongs to; "" for none.
std::string service_of(System& guest, const std::string& pid) {
  for (const auto& line :
       base::lines(ask(guest, {"cat", "/proc/" + pid + "/cgroup"}, "finding a process's service").out)) {
    if (!line.starts_with("0::") && line.find(":name=systemd:") == std::string::npos) continue;
    for (const auto& part : base::split(line, '/'))
      if (part.ends_with(".service")) return part;
  }
  return {};
}

}  // namespace

std::vector<std::string> bring_to_rest(System& guest, const std::function<void(std::string_view)>& on_doing) {
  on_doing("stopping services");
  const auto stopped =
      ask(guest, {"systemctl", "isolate", std::string(rest_target)}, "stopping services before a cut");
  if (!stopped.ok())
    return {"services do not stop: " + std::string(base::trim(base::last_lines(stopped.err, 1)))};
  // isolate waits for what it starts, not for what it stops.
  for (int look = 0;; ++look) {
    const auto units = queued_units(guest);
    if (units.empty()) break;
    if (look == looks) return {"these do not stop: " + base::join(units, ", ")};
    ask(guest, {"sleep", "0.3"}, "waiting for services to stop");
  }
  if (auto services = running_on(guest); !services.empty()) {
    std::vector<std::string> argv = {"systemctl", "stop"};
    argv.insert(argv.end(), services.begin(), services.end());
    ask(guest, std::move(argv), "stopping services before a cut");
  }

  const auto devices = disk_devices(guest);
  std::map<std::string, std::string> left;
  // What is replaced while it runs goes on with the old file: systemd itself, the journal, udev.
  constexpr int rounds = 2;
  for (int round = 0; round <= rounds; ++round) {
    left = holders(guest, devices);
    if (left.empty() || round == rounds) break;
    on_doing("renewing processes that hold deleted files");
    std::set<std::string> services;
    for (const auto& [pid, name] : left) {
      if (pid == "1")
        ask(guest, {"systemctl", "daemon-reexec"}, "renewing systemd");
      else if (auto service = service_of(guest, pid); !service.empty())
        services.insert(std::move(service));
    }
    for (const auto& service : services) ask(guest, {"systemctl", "restart", service}, "renewing a service");
  }
  std::vector<std::string> why;
  why.reserve(left.size());
  for (const auto& [pid, name] : left)
    why.push_back(fmt::format("{} (process {}) holds a deleted file", name, pid));
  return why;
}

void leave_rest(System& guest) {
  // What does not start is told by the state of the system, as after a boot.
  ask(guest, {"systemctl", "isolate", "default.target"}, "starting services after a cut");
}

std::vector<std::string> queued_units(System& guest) {
  std::vector<std::string> units;
  Exec list;
  list.argv = {"systemctl", "list-jobs", "--no-legend", "--plain"};
  list.purpose = "looking at systemd's jobs";
  list.timeout = std::chrono::seconds(60);
  for (const auto& line : base::lines(guest.run(list).out)) {
    // "90 nginx.service stop running"; without jobs old versions say "No jobs running."
    const auto job = base::words(line);
    if (job.size() >= 3 && job[1].find('.') != std::string::npos) units.push_back(job[1]);
  }
  return units;
}

}  // namespace kiln::image
