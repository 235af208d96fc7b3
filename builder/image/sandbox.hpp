// Commands inside a mounted layer without booting it: chroot in its own mount, PID, IPC and UTS namespaces,
// with /proc, read-only /sys, a small /dev, tmpfs on /run and /tmp, no daemons (policy-rc.d), update-grub
// diverted, and the host's network and resolver. All of that is gone before the layer is unmounted. Root
// only.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>

#include "host/host.hpp"
#include "image/system.hpp"

namespace kiln::image {

struct SandboxOptions {
  std::filesystem::path root;     // where the layer is mounted
  std::filesystem::path scratch;  // for what is mounted over the layer
  // Packages kept between builds (see DebCache), offered in /var/cache/apt/archives; empty: none are kept.
  std::filesystem::path apt_cache;
  std::chrono::seconds step_limit{1800};
  bool network = true;
};

// Destroying it kills what still runs inside and takes everything away again. Throws base::Error.
std::unique_ptr<System> open_sandbox(const host::Host& host, const SandboxOptions& options);

}  // namespace kiln::image
