// A place inside the image where commands run: the sandbox (native, no systemd) or the booted guest. Commands
// run as root with PATH, HOME=/root, LANG=C.UTF-8.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/runner.hpp"

namespace kiln::image {

struct Exec {
  std::vector<std::string> argv;
  std::map<std::string, std::string> env;
  std::string input;                  // stdin, then closed
  std::filesystem::path input_file;   // local file as stdin instead
  std::filesystem::path output_file;  // stdout goes to this local file instead of the result
  std::chrono::seconds timeout{0};    // 0: the step's limit
  std::string purpose;                // "installing nginx"
};

class System {
 public:
  virtual ~System() = default;
  // Runs to the end; a status other than 0 is a result. Throws base::Error when the guest died, panicked,
  // hung or the time is up.
  virtual host::Finished run(const Exec& exec, const host::OnOutput& on_output = {}) = 0;
  // True when systemd runs there.
  [[nodiscard]] virtual bool booted() const = 0;

  // The same for both, built on run(): throws base::Error unless the status is 0 (command, how it ended, last
  // 30 lines).
  host::Finished require(const Exec& exec, const host::OnOutput& on_output = {});
  void write(const std::string& path, const std::string& content, unsigned mode = 0644);
  std::string read(const std::string& path);
  // Unpacks a local tar below `directory` (made if need be), as image::Files::unpack does.
  void unpack(const std::filesystem::path& tar, const std::string& directory);
};

}  // namespace kiln::image
