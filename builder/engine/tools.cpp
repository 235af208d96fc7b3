#include "engine/tools.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::engine {
namespace {

constexpr std::array<std::pair<std::string_view, std::string_view>, 37> kPackages = {{
    {"apt-get", "apt"},
    {"buildah", "buildah"},
    {"chroot", "coreutils"},
    {"cp", "coreutils"},
    {"debugfs", "e2fsprogs"},
    {"e2fsck", "e2fsprogs"},
    {"gpg", "gpg"},
    {"gpg-agent", "gpg-agent"},
    {"grub-mkimage", "grub-common"},
    {"hostname", "hostname"},
    {"mcopy", "mtools"},
    {"mdir", "mtools"},
    {"mke2fs", "e2fsprogs"},
    {"mkfs.vfat", "dosfstools"},
    {"mmd", "mtools"},
    {"mmdebstrap", "mmdebstrap"},
    {"mount", "mount"},
    {"mtype", "mtools"},
    {"mvn", "maven"},
    {"newuidmap", "uidmap"},
    {"newgidmap", "uidmap"},
    {"nsenter", "util-linux"},
    {"pdftoppm", "poppler-utils"},
    {"python3", "python3"},
    {"pip3", "python3-pip"},
    {"qemu-img", "qemu-utils"},
    {"qemu-storage-daemon", "qemu-system-common"},
    {"qemu-system-x86_64", "qemu-system-x86"},
    {"resize2fs", "e2fsprogs"},
    {"sfdisk", "fdisk"},
    {"skopeo", "skopeo"},
    {"ssh", "openssh-client"},
    {"ssh-keygen", "openssh-client"},
    {"tar", "tar"},
    {"unshare", "util-linux"},
    {"xorriso", "xorriso"},
    {"zstd", "zstd"},
}};

}  // namespace

std::string_view debian_package(std::string_view program) {
  const auto* found =
      std::find_if(kPackages.begin(), kPackages.end(), [&](const auto& row) { return row.first == program; });
  return found == kPackages.end() ? std::string_view() : found->second;
}

void require_tools(const host::Host& host, const std::set<std::string>& programs) {
  std::vector<std::string> missing;
  std::set<std::string> packages;
  for (const auto& program : programs) {
    if (host.runner->find_program(program)) continue;
    const auto package = debian_package(program);
    missing.push_back(package.empty() ? program : fmt::format("{} (package {})", program, package));
    if (!package.empty()) packages.emplace(package);
  }
  if (missing.empty()) return;
  const std::vector<std::string> list(packages.begin(), packages.end());
  throw base::Error(fmt::format("{} of this host {} missing: {}", missing.size() == 1 ? "a tool" : "tools",
                                missing.size() == 1 ? "is" : "are", base::join(missing, ", ")),
                    base::Exit::missing)
      .hint(list.empty() ? std::string("put them on PATH")
                         : fmt::format("install them with: sudo apt-get install {}", base::join(list, " ")));
}

}  // namespace kiln::engine
