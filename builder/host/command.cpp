#include "host/command.hpp"

#include <fmt/format.h>
#include <string.h>

#include "base/text.hpp"

namespace kiln::host {

std::string Command::text() const {
  std::string line;
  if (!cwd.empty()) line += "cd " + base::shell_word(cwd.string()) + " && ";
  if (clear_env) {
    line += "env -i ";
    for (const auto& [name, value] : env) {
      if (value) line += fmt::format("{0}=\"${0}\" ", name);
    }
  } else if (!env.empty()) {
    line += "env ";
    for (const auto& [name, value] : env) {
      line += value ? base::shell_word(name + "=" + *value) + " " : "-u " + base::shell_word(name) + " ";
    }
  }
  return line + base::shell_line(argv);
}

std::string Finished::how() const {
  if (signal == 0) return fmt::format("exit status {}", exit);
  const char* name = ::sigdescr_np(signal);
  return fmt::format("killed by signal {} ({})", signal, name == nullptr ? "unknown" : name);
}

}  // namespace kiln::host
