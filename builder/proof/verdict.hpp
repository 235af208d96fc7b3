// The proof: a cold boot of the very file that is to be published, looked at from outside and through a
// one-time ssh key. Nothing is written to the image.
#pragma once

#include <filesystem>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "host/host.hpp"
#include "image/accel.hpp"
#include "image/guest.hpp"
#include "profile/profile.hpp"

namespace kiln::proof {

struct CheckResult {
  std::string kind;  // unit, port, file, command, boot
  std::string name;  // "port 443 https"
  bool passed = false;
  bool ran = true;     // false: could not be looked at; never counts as passed
  std::string detail;  // what was seen, or why it did not run
  double seconds = 0;
};

struct Verdict {
  bool passed = false;  // it came up and every check ran and passed
  // It passed in a boot from cold. A guest resumed from saved memory proves nothing of how the image boots,
  // so it never does (engine rule 17).
  bool proven = false;
  bool inside =
      false;  // checks inside the guest ran (an image without cloud-init gets those from outside only)
  bool resumed = false;     // from saved memory
  std::string firmware;     // bios, uefi
  std::string accel;        // kvm, tcg
  double boot_seconds = 0;  // to ssh
  double seconds = 0;
  std::vector<CheckResult> checks;
  std::string image_sha256;
  [[nodiscard]] std::string json() const;
  static Verdict from_json(const std::string& text);
};
// The first check that failed or did not run, and how many others, in a line. Returns "no check was run"
// where none did.
std::string failure(const std::vector<Verdict>& verdicts);

struct BootOptions {
  std::filesystem::path image;
  profile::Proof proof;
  profile::Firmware firmware = profile::Firmware::bios;
  image::Accel accel = image::Accel::tcg;
  image::Limits limits;
  std::filesystem::path scratch;  // throw-away overlay, seed, key
  std::filesystem::path console;  // console.log to write
  std::filesystem::path screen;   // screen.png to write
  std::function<void(std::string_view)> on_doing;
  bool layer = false;  // `image` is one of the store's and may stand on others; else it must stand alone
  // Where keep() left a guest of this image and machine: resumed instead of booting. Empty: a cold boot.
  std::filesystem::path saved;
  // Hears when a resumed guest is of use: what is thrown before that is about `saved`, not about the image.
  std::function<void()> on_resumed;
  // What the guest's cloud-init gets for user-data, an environment say; empty: nothing but kiln's own login.
  std::string user_data;
};

// Programs of the host that booting an image and asking it from outside takes.
std::set<std::string> tools();

// Boots and checks. A failed check is a verdict; base::Error only when the machine could not be run at all
// (missing tool, interrupt, unreadable image, the host's full disk). A panic, hang or dead guest is a failed
// "boot" check with the last 30 console lines.
Verdict prove(const host::Host& host, const BootOptions& options);

// Boots like prove(), logs in as root by the one-time key and calls `hand_over` with the argv of an ssh that
// is to get the user's terminal (or standard input): it runs `command`, or a shell when that is empty. The
// machine and all it wrote are gone afterwards. Returns what `hand_over` did: that ssh's exit status. Throws
// base::Error when nobody can log in.
using HandOver = std::function<int(const std::vector<std::string>& argv)>;
int shell(const host::Host& host, const BootOptions& options, const HandOver& hand_over,
          const std::vector<std::string>& command = {});

// Boots like prove(), waits until the guest has settled and leaves it, memory and disk and what opens it, in
// `folder` as the files of saved_files(). Throws base::Error when it does not come up, does not settle, or
// nobody can log in: then there is nothing to resume.
void keep(const host::Host& host, const BootOptions& options, const std::filesystem::path& folder);
std::vector<std::string> saved_files(profile::Firmware firmware);
// What a saved guest and whoever resumes it have to agree on beside the image's bytes, one fact a line. Ports
// are not in it: the guest does not see which of the host's lead to it.
std::string saved_identity(const host::Host& host, const BootOptions& options);

// Throws base::Error (Exit::missing) when this host lacks what a boot by `firmware` needs.
void require_firmware(profile::Firmware firmware);

// Raised when a check gets stricter or a new one comes: verdicts of before are no longer proof.
inline constexpr int checks_revision = 1;

// JUnit XML of one or more verdicts of `image`.
std::string junit(const std::string& suite, const std::vector<Verdict>& verdicts);

}  // namespace kiln::proof
