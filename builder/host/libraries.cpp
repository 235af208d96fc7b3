#include "host/libraries.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::host {

namespace fs = std::filesystem;
using base::Error;

namespace {

// Where the ABI of amd64 has it, whatever the distribution.
constexpr const char* kLoader = "/lib64/ld-linux-x86-64.so.2";

fs::path real(const fs::path& path) {
  std::error_code code;
  fs::path found = fs::canonical(path, code);
  return code ? path : found;
}

}  // namespace

Loaded parse_list(std::string_view list, const fs::path& loader) {
  Loaded loaded{loader, {}};
  for (const std::string& line : base::lines(list)) {
    const std::string_view words = base::trim(line);
    const std::size_t arrow = words.find(" => ");
    if (arrow == std::string_view::npos) continue;  // the kernel's own, or the loader
    const std::string name(words.substr(0, arrow));
    const std::string_view found = words.substr(arrow + 4);
    if (!found.starts_with('/')) throw Error(fmt::format("the library '{}' is not found", name));
    // The loader under the name by which libraries ask for it.
    if (name.starts_with('/') || name.starts_with("ld-linux")) continue;
    loaded.libraries[name] = std::string(found.substr(0, found.rfind(" (")));
  }
  return loaded;
}

Loaded loaded_with(const fs::path& program, const Host& host) {
  Command command{kLoader, "--glibc-hwcaps-mask", "none", "--list", program.string()};
  for (const char* name : {"LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT"}) command.env[name] = std::nullopt;
  command.purpose = fmt::format("asking for the libraries of {}", program.string());
  const Finished done = host.runner->run(command);
  if (!done.ok())
    throw Error(fmt::format("'{}' is no dynamically linked program: the loader ended with {}",
                            program.string(), done.how()))
        .detail(base::printable(base::last_lines(done.err, 5)));
  Loaded loaded = parse_list(done.out, real(kLoader));
  for (auto& [name, file] : loaded.libraries) file = real(file);
  return loaded;
}

}  // namespace kiln::host
