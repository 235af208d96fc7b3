#include "host/io_error.hpp"

#include <cerrno>
#include <system_error>

#include "base/size.hpp"
#include "host/atomic_file.hpp"

namespace kiln::host {

std::string errno_text(int code) {
  return std::generic_category().message(code);
}

base::Error io_error(const std::string& deed, const std::filesystem::path& path, int code) {
  base::Error error("cannot " + deed + " '" + path.string() + "': " + errno_text(code));
  const std::string place = path.has_parent_path() ? path.parent_path().string() : ".";
  switch (code) {
    case ENOSPC:
    case EDQUOT:
      error.hint("the file system of '" + place + "' has " + base::human_size(free_space(path)) +
                 " free; make room or choose another place");
      break;
    case EROFS:
      error.hint("the file system of '" + place + "' is read-only; choose another place");
      break;
    case EACCES:
    case EPERM:
      error.hint("change its owner or mode, or run as the user who owns '" + place + "'");
      break;
    case EMFILE:
    case ENFILE:
      error.hint("raise the limit of open files (ulimit -n)");
      break;
    default:
      break;
  }
  return error;
}

}  // namespace kiln::host
