// seal: takes out what one machine must not share with its copies. See `doc` below.

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"
#include "target/systemd.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Makes the image fit to be copied. The last of the image stages.

    - seal:
        remove: [/root/build-notes.txt]
        keep: [/var/log/installer]

Removes ssh host keys, the machine id, random seeds, the snakeoil certificate, docker's engine id, PostgreSQL's and
opendkim's keys and passwords, the Salt minion's id, keys and caches, cloud-init's state, network files and leases of
the build, logs, shell histories, package lists and caches, backups of the user database and everything in /tmp. What a
service needs is made again at first boot, before that service: by systemd, by the service itself, or by units that this
step adds (`kiln-ssh-keys.service`, `kiln-snakeoil.service`). Free space is discarded last, so that nothing removed remains in the disk.)";

// Whatever a part is, it is none that leads up: what is removed is what is written.
constexpr std::string_view path_pattern = "(/+(?!\\.\\.?(/|$))[^\\s/]+)+/?";
constexpr std::string_view path_words = "a whole path without '.' and '..', such as /var/lib/app/*.key";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "remove",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Further paths to remove; * stands for anything within one part.",
     .pattern = path_pattern,
     .write = path_words},
    {.name = "keep",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Paths that stay with all below them although they are on the list.",
     .pattern = path_pattern,
     .write = path_words},
}};

// Removed as they are. * stands for anything within one part of a path. Grouped by whose they are.
constexpr std::array remove_list = std::to_array<std::string_view>({
    // ssh: made again by kiln-ssh-keys.service, or by a unit of the image's own
    "/etc/ssh/ssh_host_*_key",
    "/etc/ssh/ssh_host_*_key.pub",
    // systemd: random seeds and secrets are made again at boot, the clock's stamp by timesyncd
    "/boot/efi/loader/random-seed",
    "/var/lib/random-seed",
    "/var/lib/systemd/credential.secret",
    "/var/lib/systemd/random-seed",
    "/var/lib/systemd/timers/*",
    "/var/lib/systemd/timesync/clock",
    "/var/lib/urandom/random-seed",
    // the snakeoil certificate: made again by kiln-snakeoil.service
    "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "/etc/ssl/private/ssl-cert-snakeoil.key",
    // docker: its engine makes an id where it finds none; also where the data was moved
    "/etc/docker/key.json",
    "/var/lib/docker/engine-id",
    "/volatile/docker/engine-id",
    // PostgreSQL and opendkim: keys and passwords that a state or package made
    "/etc/dkimkeys/*.private",
    "/etc/opendkim/keys/*",
    "/root/.pgpass",
    "/var/lib/postgresql/.pgpass",
    "/var/lib/postgresql/*/*/server.crt",
    "/var/lib/postgresql/*/*/server.key",
    // Salt
    "/etc/salt/minion_id",
    "/etc/salt/pki",
    "/var/cache/salt/*",
    "/var/run/salt",
    // cloud-init: a state it finds would make it think this is no new machine; seeds are configuration and
    // stay
    "/etc/netplan/50-cloud-init.yaml",
    "/etc/network/interfaces.d/50-cloud-init*",
    "/etc/systemd/network/*-cloud-init-*",
    "/etc/udev/rules.d/70-persistent-net.rules",
    "/var/lib/cloud/data",
    "/var/lib/cloud/handlers",
    "/var/lib/cloud/instance",
    "/var/lib/cloud/instances",
    "/var/lib/cloud/scripts/per-*/*.seen",
    "/var/lib/cloud/sem",
    // network of the build
    "/var/lib/NetworkManager/*",
    "/var/lib/chrony/drift",
    "/var/lib/dhclient/*",
    "/var/lib/dhcp/*",
    "/var/lib/ntp/ntp.drift",
    // packages: lists are fetched anew before the first install
    "/var/cache/apt/*.bin",
    "/var/cache/apt/archives/*.deb",
    "/var/cache/apt/archives/partial/*",
    "/var/cache/debconf/*-old",
    "/var/cache/ldconfig/aux-cache",
    "/var/lib/apt/lists/*_*",
    "/var/lib/apt/lists/auxfiles",
    "/var/lib/apt/lists/partial/*",
    "/var/lib/apt/periodic/*",
    "/var/lib/dpkg/*-old",
    // backups of the user database hold what the last edit took out
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/etc/.pwd.lock",
    "/var/backups/*",
    // people's traces
    "/home/*/.bash_history",
    "/home/*/.lesshst",
    "/home/*/.python_history",
    "/home/*/.ssh/known_hosts",
    "/home/*/.viminfo",
    "/home/*/.wget-hsts",
    "/root/.bash_history",
    "/root/.cache",
    "/root/.lesshst",
    "/root/.python_history",
    "/root/.ssh/known_hosts",
    "/root/.viminfo",
    "/root/.wget-hsts",
    "/var/mail/root",
    "/var/spool/mail/root",
    // what has no place on a disk that starts anew
    "/run/*",
    "/var/crash/*",
    "/var/lib/logrotate/status",
});

constexpr std::string_view logs = "/var/log";
constexpr std::string_view snakeoil = "/etc/ssl/certs/ssl-cert-snakeoil.pem";
constexpr std::string_view unit_folder = "/etc/systemd/system";

// Both run between sysinit.target (the disk is writable, cloud-init has set the host name and made the host
// keys it was told to make) and basic.target, which every ordinary service waits for.
constexpr std::string_view ssh_keys_unit = R"([Unit]
Description=Make the ssh host keys of this machine
ConditionPathExistsGlob=!/etc/ssh/ssh_host_*_key
DefaultDependencies=no
After=sysinit.target
Before=basic.target ssh.service ssh.socket sshd.service shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/ssh-keygen -A

[Install]
WantedBy=basic.target
)";

constexpr std::string_view snakeoil_unit = R"([Unit]
Description=Make the self-signed certificate of this machine
ConditionPathExists=!/etc/ssl/private/ssl-cert-snakeoil.key
DefaultDependencies=no
After=sysinit.target
Before=basic.target shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/make-ssl-cert generate-default-snakeoil

[Install]
WantedBy=basic.target
)";

class Seal : public stage::Stage {
 public:
  explicit Seal(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Seal the image" : "Sealing the image";
  }

  void run(stage::Workspace& work) const override {
    image::Files& files = work.files();
    const bool had_snakeoil = files.find(std::string(snakeoil)).has_value();
    work.observer().doing("removing identities and traces of the build");
    remove_snakeoil_links(work, files);
    for (const std::string_view pattern : remove_list) remove(work, files, std::string(pattern));
    remove_all_in(work, files, "/tmp");
    remove_all_in(work, files, "/var/tmp");
    for (const std::string& pattern : options_.texts("remove")) {
      if (remove(work, files, pattern) == 0) {
        work.observer().warn(fmt::format("seal: nothing to remove at '{}'", pattern));
      }
    }
    empty_machine_id(work, files);
    if (!kept(std::string(logs)) && files.find(std::string(logs)))
      empty_logs(work, files, std::string(logs), 0);

    target::Systemd systemd(files);
    if (systemd.find("ssh.service") || systemd.find("sshd.service")) {
      if (const std::string own = host_key_unit(files, systemd); own.empty()) {
        add_unit(work, files, systemd, "kiln-ssh-keys.service", ssh_keys_unit);
      } else {
        work.log("ssh host keys are made by the image's own " + own + "\n");
      }
    }
    if (had_snakeoil && !kept(std::string(snakeoil))) {
      add_unit(work, files, systemd, "kiln-snakeoil.service", snakeoil_unit);
    }
    work.observer().doing("discarding free space");
    files.discard_free();
  }

 private:
  // Also for what lies below a path that is kept.
  [[nodiscard]] bool kept(const std::string& path) const {
    const std::vector<std::string>& keep = options_.texts("keep");
    return std::any_of(keep.begin(), keep.end(), [&](const std::string& pattern) {
      return target::matches(pattern, path) || target::matches(pattern + "/**", path);
    });
  }

  // True when `path` is above something that is kept, so that it cannot go as a whole.
  [[nodiscard]] bool holds_kept(image::Files& files, const std::string& path) const {
    for (const std::string& pattern : options_.texts("keep")) {
      for (const std::string& found : target::expand(files, pattern)) {
        if (found.starts_with(path + "/")) return true;
      }
    }
    return false;
  }

  void remove_one(stage::Workspace& work, image::Files& files, const std::string& path) const {
    if (kept(path)) return;
    if (holds_kept(files, path)) {
      remove_all_in(work, files, path);
      return;
    }
    files.remove(path);
    work.log("removed " + path + "\n");
  }

  // How many paths fitted.
  std::size_t remove(stage::Workspace& work, image::Files& files, const std::string& pattern) const {
    const std::vector<std::string> found = target::expand(files, pattern);
    for (const std::string& path : found) remove_one(work, files, path);
    return found.size();
  }

  void remove_all_in(stage::Workspace& work, image::Files& files, const std::string& folder) const {
    const auto stat = files.find(folder);
    if (!stat || stat->kind != 'd') return;
    for (const std::string& name : files.list(folder)) {
      remove_one(work, files, target::join_path(folder, name));
    }
  }

  // openssl finds certificates by links named after their hash; this one would lead nowhere, and tell the old
  // host's name by its hash.
  void remove_snakeoil_links(stage::Workspace& work, image::Files& files) const {
    constexpr std::string_view folder = "/etc/ssl/certs";
    if (kept(std::string(snakeoil)) || !files.find(std::string(folder))) return;
    for (const std::string& name : files.list(std::string(folder))) {
      const std::string path = target::join_path(std::string(folder), name);
      const auto stat = files.find(path);
      if (!stat || stat->kind != 'l') continue;
      if (stat->target == snakeoil || stat->target == "ssl-cert-snakeoil.pem") remove_one(work, files, path);
    }
  }

  // An empty file, not a missing one: systemd makes the id at boot, and does not take the boot for the first
  // of an unconfigured system, which would enable what was disabled.
  void empty_machine_id(stage::Workspace& work, image::Files& files) const {
    constexpr const char* etc = "/etc/machine-id";
    constexpr const char* dbus = "/var/lib/dbus/machine-id";
    if (files.find(etc) && !kept(etc)) {
      files.write(etc, "", {.mode = 0444});
      work.log(std::string("emptied ") + etc + "\n");
    }
    if (files.find(dbus) && !kept(dbus)) {
      files.link(dbus, etc);
      work.log(std::string("linked ") + dbus + "\n");
    }
  }

  // Journals and rotated logs go; others are emptied, since daemons expect some with their owner and mode.
  void empty_logs(stage::Workspace& work, image::Files& files, const std::string& folder, int depth) const {
    constexpr int deepest = 16;
    if (depth > deepest) return;
    for (const std::string& name : files.list(folder)) {
      const std::string path = target::join_path(folder, name);
      const auto stat = files.find(path);
      if (!stat || kept(path)) continue;
      if (stat->kind == 'd' && folder == logs && name == "journal") {
        remove_all_in(work, files, path);
      } else if (stat->kind == 'd') {
        empty_logs(work, files, path, depth + 1);
      } else if (stat->kind == 'f' && rotated(name)) {
        remove_one(work, files, path);
      } else if (stat->kind == 'f' && stat->size > 0) {
        files.write(path, "", {.mode = stat->mode, .uid = stat->uid, .gid = stat->gid});
        work.log("emptied " + path + "\n");
      }
    }
  }

  // "syslog.1", "dpkg.log.2.gz", "messages-20240131", "log.old".
  static bool rotated(std::string_view name) {
    for (const std::string_view suffix : {".gz", ".xz", ".zst", ".bz2", ".old"}) {
      if (name.ends_with(suffix)) return true;
    }
    const std::size_t end = name.find_last_not_of("0123456789");
    return end != std::string_view::npos && end + 1 < name.size() && (name[end] == '.' || name[end] == '-');
  }

  // The name of an enabled unit, other than ours, that makes host keys before sshd starts; "" when there is
  // none.
  static std::string host_key_unit(image::Files& files, target::Systemd& systemd) {
    for (const std::string& name : systemd.names()) {
      if (name == "kiln-ssh-keys.service" || !name.ends_with(".service")) continue;
      const bool named =
          name.find("hostkey") != std::string::npos || name.find("host-key") != std::string::npos ||
          name.find("sshd-keygen") != std::string::npos || name.find("ssh-keygen") != std::string::npos;
      const auto unit = systemd.find(name);
      if (!unit || unit->masked) continue;
      const auto stat = files.find(unit->path);
      if (!stat || stat->kind != 'f') continue;
      const std::string text = files.read(unit->path);
      const bool before_sshd =
          text.find("ssh.service") != std::string::npos || text.find("sshd.service") != std::string::npos;
      if (!before_sshd || (!named && text.find("ssh-keygen") == std::string::npos)) continue;
      if (!target::expand(files, "/etc/systemd/system/*.wants/" + unit->name).empty() ||
          !target::expand(files, "/etc/systemd/system/*.requires/" + unit->name).empty() ||
          !target::expand(files, "/lib/systemd/system/*.wants/" + unit->name).empty()) {
        return unit->name;
      }
    }
    return {};
  }

  static void add_unit(stage::Workspace& work, image::Files& files, target::Systemd& systemd,
                       const std::string& name, std::string_view text) {
    target::make_directories(files, std::string(unit_folder));
    files.write(target::join_path(std::string(unit_folder), name), std::string(text), {.mode = 0644});
    systemd.enable(name);
    work.log("added " + name + "\n");
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<Seal>(given);
}

}  // namespace

extern const stage::StageType seal;
const stage::StageType seal = {
    .name = "seal",
    .summary = "Removes identities, secrets and traces of the build; the last image step",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 2,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
