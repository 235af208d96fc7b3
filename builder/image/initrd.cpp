#include "image/initrd.hpp"

#include <array>
#include <fstream>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "host/archive.hpp"
#include "image/rest.hpp"

namespace kiln::image {
namespace {

// Units that have no business in a build: they would fetch, upgrade, index, seed or configure behind the
// stages' backs, or write what belongs to the first boot of the finished image. They are not masked but given
// a condition that does not hold: `systemctl enable` and `start` keep working for a stage that wants them.
constexpr std::array quiet_units = {
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "unattended-upgrades.service",
    "man-db.service",
    "man-db.timer",
    "fstrim.service",
    "fstrim.timer",
    "e2scrub_all.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "dpkg-db-backup.service",
    "dpkg-db-backup.timer",
    "motd-news.service",
    "motd-news.timer",
    "logrotate.service",
    "logrotate.timer",
    "systemd-networkd-wait-online.service",
    "NetworkManager-wait-online.service",
    "ifupdown-wait-online.service",
    "systemd-firstboot.service",
    "systemd-machine-id-commit.service",
    "systemd-random-seed.service",
    "cloud-init-local.service",
    "cloud-init.service",
    "cloud-init-main.service",
    "cloud-init-network.service",
    "cloud-config.service",
    "cloud-final.service",
    "cloud-init-hotplugd.socket",
    "snapd.service",
    "snapd.socket",
    "snapd.seeded.service",
    "snapd.refresh.timer",
    "lxd.socket",
    "lxd-containers.service",
    "ubuntu-advantage.service",
    "ua-timer.timer",
};

constexpr std::string_view unit = R"([Unit]
Description=Runs the commands of a kiln build
DefaultDependencies=no
IgnoreOnIsolate=yes

[Service]
ExecStartPre=/bin/chmod 0755 /run/kiln/agent
ExecStart=/run/kiln/agent
Restart=always
RestartSec=1
OOMScoreAdjust=-1000
)";

// What is left of the system while its disk is cut between two steps; see image/rest.hpp.
constexpr std::string_view rest = R"([Unit]
Description=The basic system alone, while a kiln build cuts the disk
Requires=sysinit.target
After=sysinit.target
AllowIsolate=yes
)";

// The build's journal stays in memory.
constexpr std::string_view journald = "[Journal]\nStorage=volatile\n";

std::string here_document(std::string_view path, std::string_view text) {
  return "    cat >" + std::string(path) + " <<'END'\n" + std::string(text) + "END\n";
}

}  // namespace

std::string param_conf() {
  // Only what klibc's small tools have: no cp, no chmod. /run may be noexec, so the agent gets a tmpfs of its
  // own below it, which moves along with it.
  std::string text = "# Sourced by the initramfs' init after each of its scripts; acts once.\n";
  text += "if [ ! -e /run/kiln ] && [ -d /run/initramfs ]; then\n  (\n    set +e\n    umask 022\n";
  text += "    mkdir -p /run/kiln /run/systemd/system/sysinit.target.wants /run/systemd/journald.conf.d\n";
  text += "    mount -t tmpfs -o nosuid,nodev,mode=0755 kiln /run/kiln\n";
  text += "    cat /kiln-agent >/run/kiln/agent\n";
  text += here_document("/run/systemd/system/kiln-agent.service", unit);
  text += "    ln -s ../kiln-agent.service /run/systemd/system/sysinit.target.wants/kiln-agent.service\n";
  text += here_document("/run/systemd/system/" + std::string(rest_target), rest);
  text += here_document("/run/systemd/journald.conf.d/zz-kiln.conf", journald);
  text += "    for unit in";
  for (const auto* name : quiet_units) text += std::string(" \\\n      ") + name;
  text += "; do\n      mkdir -p /run/systemd/system/$unit.d\n";
  text += "      echo '[Unit]' >/run/systemd/system/$unit.d/zz-kiln.conf\n";
  text +=
      "      echo 'ConditionPathExists=/run/kiln/not-in-a-build' "
      ">>/run/systemd/system/$unit.d/zz-kiln.conf\n";
  text += "    done\n";
  text += "    echo '" + std::string(placed_mark) + "' >/dev/kmsg\n";
  text += "  )\nfi\n:\n";
  return text;
}

void extend_initrd(const std::filesystem::path& initrd, std::string_view agent,
                   const std::filesystem::path& to) {
  const auto second = std::filesystem::path(to.string() + ".kiln.cpio");
  const base::ScopeExit tidy([&] {
    std::error_code ignored;
    std::filesystem::remove(second, ignored);
  });
  host::Member directory;
  directory.path = "conf";
  directory.kind = 'd';
  directory.mode = 0755;
  host::Member conf;
  conf.path = "conf/param.conf";
  conf.content = param_conf();
  host::Member program;
  program.path = "kiln-agent";
  program.mode = 0755;
  program.content = std::string(agent);
  host::write_archive(second, host::Format::cpio_newc, {directory, conf, program});

  std::ofstream joined(to, std::ios::binary | std::ios::trunc);
  std::ifstream first(initrd, std::ios::binary);
  if (!first) throw base::Error("cannot read the image's initrd").at({initrd.string()});
  if (first.peek() != std::ifstream::traits_type::eof()) joined << first.rdbuf();
  // The kernel looks for the next archive at a multiple of four, behind any number of zeros.
  const auto size = static_cast<std::size_t>(joined.tellp());
  joined << std::string((4 - size % 4) % 4, '\0');
  std::ifstream more(second, std::ios::binary);
  joined << more.rdbuf();
  joined.close();
  if (first.bad() || !more || !joined) {
    throw base::Error("cannot write the extended initrd")
        .at({to.string()})
        .hint("is there room on the file system?");
  }
}

}  // namespace kiln::image
