// What this host can do, and what to do about what it cannot: one row a thing, each with its next step.
#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <set>
#include <string_view>
#include <unistd.h>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"
#include "cache/store.hpp"
#include "cli/verbs.hpp"
#include "engine/machines.hpp"
#include "engine/publish.hpp"
#include "engine/tools.hpp"
#include "host/atomic_file.hpp"
#include "proof/verdict.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;

enum class State { ok, worse, missing };  // worse: kiln builds, but slower or less

struct Row {
  State state;
  std::string what, found, fix;
};

constexpr std::uint64_t kRoom = 10ULL << 30;  // an appliance's layers, its export and the packages

// What a stage asks for only where a profile says so.
constexpr std::array<std::pair<const char*, std::string_view>, 3> kSomeNeed = {{
    {"buildah", "docker_images builds Dockerfiles with it"},
    {"mvn", "docker_images builds Maven's projects with it"},
    {"skopeo", "docker_images asks registries with it"},
}};

const char* word(State state) {
  return state == State::ok ? "ok" : state == State::worse ? "worse" : "missing";
}

bool readable(const fs::path& path) {
  return ::access(path.c_str(), R_OK) == 0;
}

std::string user_name(int uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(static_cast<uid_t>(uid), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr)
    return std::to_string(uid);
  return found->pw_name;
}

Row tool(const host::Host& host, const std::string& program, bool needed, std::string_view purpose) {
  if (const auto path = host.runner->find_program(program))
    return {State::ok, program, host.tool_version(program), ""};
  const auto package = engine::debian_package(program);
  return {needed ? State::missing : State::worse, program, fmt::format("not there: {}", purpose),
          package.empty() ? "put it on PATH" : fmt::format("sudo apt-get install {}", package)};
}

void tools(const Invocation& call, std::vector<Row>& rows) {
  std::set<std::string> needed = proof::tools();
  for (const auto* type : call.stages.all())
    for (const auto program : type->tools) needed.emplace(program);
  std::set<std::string> native;
  if (call.host.root)
    native = {"hostname", "nsenter", "qemu-storage-daemon", "unshare"};
  else
    needed.insert({"newuidmap", "newgidmap"});
  for (const auto& program : needed) rows.push_back(tool(call.host, program, true, "a build needs it"));
  for (const auto& program : native)
    if (!needed.contains(program))
      rows.push_back(tool(call.host, program, true, "mounting and entering layers needs it"));
  for (const auto& [program, purpose] : kSomeNeed) rows.push_back(tool(call.host, program, false, purpose));
}

Row device(const fs::path& path, const std::string& module) {
  std::error_code ignored;
  if (fs::exists(path, ignored)) return {State::ok, path.string(), "there", ""};
  return {State::missing, path.string(), "not there: layers cannot be mounted",
          fmt::format("modprobe {}, or build with --rootless", module)};
}

Row subordinate_ids(const host::Host& host, const fs::path& file, const char* option) {
  const auto user = user_name(host.uid);
  if (readable(file))
    for (const auto& line : base::lines(host::read_file(file))) {
      const auto parts = base::split(line, ':');
      if (parts.size() == 3 && (parts[0] == user || parts[0] == std::to_string(host.uid)))
        return {State::ok, file.string(), fmt::format("{} from {}", parts[2], parts[1]), ""};
    }
  return {State::missing, file.string(),
          fmt::format("no range for {}: its own ids alone make no system", user),
          fmt::format("sudo usermod {} 100000-165535 {}", option, user)};
}

Row kernel(bool root) {
  std::error_code ignored;
  bool some = false;
  for (const auto& item : fs::directory_iterator("/boot", ignored)) {
    const std::string name = item.path().filename();
    if (!name.starts_with("vmlinuz-")) continue;
    some = true;
    if (readable(item.path())) return {State::ok, "kernel in /boot", item.path().string(), ""};
  }
  // Root mounts layers instead, and needs libguestfs for nothing but --rootless.
  const auto state = root ? State::worse : State::missing;
  if (some)
    return {state, "kernel in /boot", "may not be read, and libguestfs boots one",
            "sudo chmod a+r /boot/vmlinuz-*"};
  return {state, "kernel in /boot", "there is none, and libguestfs boots one",
          "sudo apt-get install linux-image-cloud-amd64"};
}

Row firmware() {
  for (const auto* file : {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"})
    if (readable(file)) return {State::ok, "UEFI firmware", file, ""};
  return {State::worse, "UEFI firmware", "not there: images are proven by BIOS only",
          "sudo apt-get install ovmf"};
}

Row keyring() {
  for (const auto* file :
       {"/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"})
    if (readable(file)) return {State::ok, "archive keyring", file, ""};
  return {State::missing, "archive keyring", "not there: the archive's signature cannot be verified",
          "sudo apt-get install debian-archive-keyring"};
}

Row room(const fs::path& store) {
  const auto at = engine::mount_point(store);
  std::error_code error;
  const auto space = fs::space(at, error);
  if (error) return {State::missing, "room for the store", error.message(), "give another with --store DIR"};
  const auto found =
      fmt::format("{} free on the file system at {}", base::human_size(space.available), at.string());
  if (space.available < (2ULL << 30))
    return {State::missing, "room for the store", found, "make room, or give another with --store DIR"};
  if (space.available < kRoom)
    return {State::worse, "room for the store", found,
            fmt::format("an appliance wants {}", base::human_size(kRoom))};
  return {State::ok, "room for the store", found, ""};
}

// Also says whether KVM runs a kernel, which is tried and kept in the store.
void store_rows(const Invocation& call, std::vector<Row>& rows) {
  try {
    const cache::Store store(call.host, call.store);
    rows.push_back({store.writable() ? State::ok : State::missing, "store",
                    call.store.string() + (store.writable() ? "" : " cannot be written"),
                    store.writable() ? "" : "give another with --store DIR"});
    const auto machines = engine::real_machines(call.host, store.root() / "machine");
    const auto verdict = machines->choose_accel(call.accel, {});
    rows.push_back({verdict.accel == image::Accel::kvm ? State::ok : State::worse, "KVM", verdict.why,
                    verdict.accel == image::Accel::kvm ? "" : "kiln works without it, only slower"});
  } catch (const base::Error& error) {
    if (error.exit() == base::Exit::interrupted || error.exit() == base::Exit::terminated) throw;
    rows.push_back({State::missing, "store and KVM", error.message(), error.hint_text()});
  }
}

}  // namespace

int doctor(const Invocation& call) {
  std::vector<Row> rows;
  rows.push_back({call.host.root ? State::ok : State::worse, "root",
                  call.host.root
                      ? "layers are mounted, packages installed natively"
                      : "not root: layers are edited by libguestfs, packages installed in the guest",
                  call.host.root ? "" : "run as root or with sudo where minutes matter"});
  tools(call, rows);
  if (call.host.root) {
    rows.push_back(device("/dev/loop-control", "loop"));
    rows.push_back(device("/dev/fuse", "fuse"));
  } else {
    rows.push_back(subordinate_ids(call.host, "/etc/subuid", "--add-subuids"));
    rows.push_back(subordinate_ids(call.host, "/etc/subgid", "--add-subgids"));
  }
  rows.push_back(kernel(call.host.root));
  rows.push_back(firmware());
  rows.push_back(keyring());
  rows.push_back(room(call.store));
  store_rows(call, rows);

  const bool ok =
      std::none_of(rows.begin(), rows.end(), [](const Row& row) { return row.state == State::missing; });
  if (call.json) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& row : rows)
      list.push_back(
          {{"state", word(row.state)}, {"what", row.what}, {"found", row.found}, {"fix", row.fix}});
    const nlohmann::json result = {{"ok", ok}, {"rows", list}};
    call.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  } else {
    std::size_t width = 0;
    for (const auto& row : rows) width = std::max(width, row.what.size());
    for (const auto& row : rows) {
      call.out << base::printable(
                      fmt::format("{:<8} {:<{}}  {}", word(row.state), row.what, width, row.found))
               << '\n';
      if (!row.fix.empty()) call.out << fmt::format("{:<8} {:<{}}  -> {}\n", "", "", width, row.fix);
    }
    call.out << (ok ? "This host can bake.\n" : "Something a build needs is missing.\n");
  }
  call.out.flush();
  return static_cast<int>(ok ? base::Exit::done : base::Exit::missing);
}

}  // namespace kiln::cli
