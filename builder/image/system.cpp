#include "image/system.hpp"

#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::image {

int System::shell(const Terminal& /*terminal*/) {
  throw base::Error("no shell can be opened there");
}

std::vector<std::string> shell_command(const Terminal& terminal) {
  // script makes the terminal: what comes from kiln is a pipe, or a terminal that is not the image's. The
  // size of a pipe is not known to it, and it would not echo.
  const std::string inner = fmt::format(
      "stty echo rows {} columns {} 2>/dev/null; cd /root; command -v bash >/dev/null && exec bash -l; exec "
      "sh -l",
      terminal.rows, terminal.columns);
  return {"sh", "-c",
          R"(command -v script >/dev/null && exec script -q -e -c "$1" /dev/null; cd /root; exec sh -i)",
          "kiln-shell", inner};
}

host::Finished System::require(const Exec& exec, const host::OnOutput& on_output) {
  host::Finished finished = run(exec, on_output);
  if (finished.ok()) return finished;
  const std::string what = exec.purpose.empty() ? exec.argv.front() : exec.purpose;
  const std::string& told = base::trim(finished.err).empty() ? finished.out : finished.err;
  std::string detail = "image$ " + base::printable(base::shell_line(exec.argv));
  if (!base::trim(told).empty()) detail += "\n" + base::printable(base::last_lines(told, 30));
  throw base::Error(what + " failed: " + finished.how()).detail(std::move(detail));
}

void System::write(const std::string& path, const std::string& content, unsigned mode) {
  // install(1) replaces the file as a whole and sets the mode before the name is there.
  Exec exec;
  exec.argv = {"install", "-D", "-m", fmt::format("{:o}", mode), "-T", "/dev/stdin", path};
  exec.input = content;
  exec.purpose = "writing " + path + " in the image";
  require(exec);
}

std::string System::read(const std::string& path) {
  Exec exec;
  exec.argv = {"cat", "--", path};
  exec.purpose = "reading " + path + " in the image";
  return require(exec).out;
}

void System::unpack(const std::filesystem::path& tar, const std::string& directory) {
  Exec folder;
  folder.argv = {"mkdir", "-p", "--", directory};
  folder.purpose = "making " + directory + " in the image";
  require(folder);
  Exec exec;
  // A link to a directory (/lib on a merged system) stays one when the archive has a directory of that name.
  exec.argv = {"tar",
               "--extract",
               "--preserve-permissions",
               "--numeric-owner",
               "--keep-directory-symlink",
               "--directory",
               directory,
               "--file",
               "-"};
  exec.input_file = tar;
  exec.purpose = "unpacking into " + directory + " in the image";
  require(exec);
}

}  // namespace kiln::image
