// A place inside the image where commands run: the sandbox (native, no systemd) or the booted guest. Commands
// run as root with PATH, HOME=/root, LANG=C.UTF-8.
#pragma once

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/runner.hpp"

namespace kiln::image {

// PATH of commands in the image.
inline constexpr std::string_view image_path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

// While packages are installed nothing may ask GRUB to look for the disk, for that of the build is not the
// machine's: the hooks of the kernel and of GRUB, which find these programs by name, find stand-ins that do
// nothing. They lie below /run, so none of them is on the disk, and the folder is put before image_path.
inline constexpr std::string_view stand_ins_folder = "/run/kiln-tools";
inline constexpr std::array<std::string_view, 4> stand_ins = {"update-grub", "update-grub2", "grub-install",
                                                              "grub-mkconfig"};
inline constexpr std::string_view stand_in = "#!/bin/sh\nexit 0\n";

struct Exec {
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  std::string input;                  // stdin, then closed
  std::filesystem::path input_file;   // local file as stdin instead
  std::filesystem::path output_file;  // stdout goes to this local file instead of the result
  std::chrono::seconds timeout{0};    // 0: the step's limit
  std::string purpose;                // "installing nginx"
};

// Whoever sits there, for a shell in the image.
struct Terminal {
  int in = 0, out = 2;
  std::string type = "dumb";  // as TERM has it
  int rows = 24, columns = 80;
  // Runs a command of the host's on that very terminal; returns its exit status. Throws base::Error.
  std::function<int(const host::Command& command)> hand_over;
};

class System {
 public:
  virtual ~System() = default;
  // Runs to the end; a status other than 0 is a result. Throws base::Error when the guest died, panicked,
  // hung or the time is up.
  virtual host::Finished run(const Exec& exec, const host::OnOutput& on_output = {}) = 0;
  // True when systemd runs there.
  [[nodiscard]] virtual bool booted() const = 0;
  // A shell of root's at `terminal`; returns its exit status once it has ended. No limit of time holds
  // meanwhile. Throws base::Error when there is none to be had.
  virtual int shell(const Terminal& terminal);

  // The same for both, built on run(): throws base::Error unless the status is 0 (command, how it ended, last
  // 30 lines).
  host::Finished require(const Exec& exec, const host::OnOutput& on_output = {});
  void write(const std::string& path, const std::string& content, unsigned mode = 0644);
  std::string read(const std::string& path);
  // Unpacks a local tar below `directory` (made if need be), as image::Files::unpack does.
  void unpack(const std::filesystem::path& tar, const std::string& directory);
};

// What shell() runs: a login shell on a terminal of the image's own.
std::vector<std::string> shell_command(const Terminal& terminal);

}  // namespace kiln::image
