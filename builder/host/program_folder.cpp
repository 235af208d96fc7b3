#include "host/program_folder.hpp"

namespace kiln::host {

std::filesystem::path program_folder() {
  std::error_code code;
  return std::filesystem::read_symlink("/proc/self/exe", code).parent_path();
}

}  // namespace kiln::host
