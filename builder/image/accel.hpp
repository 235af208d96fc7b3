// Does KVM really run a kernel here? A /dev/kvm that opens and creates a VM proves nothing: on a host that is
// itself a guest without nested virtualisation QEMU aborts or hangs at the kernel's first lines. So a kernel
// is booted once, and the verdict kept with host, QEMU and kernel.
#pragma once

#include <filesystem>
#include <string>

#include "host/host.hpp"

namespace kiln::image {

enum class Accel { kvm, tcg };
enum class Wish { automatic, kvm, tcg };

struct AccelVerdict {
  Accel accel = Accel::tcg;
  std::string why;  // "KVM ran a kernel in 0.9 s", "no /dev/kvm", "KVM hung at the kernel's first lines; TCG
                    // is about ten times slower"
};

// Boots `kernel` under KVM for a few seconds when there is a /dev/kvm, and keeps the verdict below `state` (a
// directory, in which the trial happens, too). Wish::kvm throws base::Error (Exit::missing) when KVM does not
// run a kernel; Wish::tcg asks nothing. `kernel` empty: the verdict kept, else the host's own kernel image in
// /boot. `device` is where KVM is looked for.
AccelVerdict choose_accel(const host::Host& host, Wish wish, const std::filesystem::path& kernel,
                          const std::filesystem::path& state,
                          const std::filesystem::path& device = "/dev/kvm");

}  // namespace kiln::image
