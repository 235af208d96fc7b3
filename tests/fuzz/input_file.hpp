// For readers that want a file: the same one for each input, since an fsync for each would be most of the
// time.
#pragma once

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <string_view>
#include <unistd.h>

#include "host/fd.hpp"
#include "host/temp_dir.hpp"

namespace kiln::fuzz {

inline const std::filesystem::path& input_file(std::string_view bytes) {
  static const host::TempDir folder({}, "kiln-fuzz-");
  static const std::filesystem::path file = folder.path() / "input.yml";
  static const host::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), bytes.data(), bytes.size(), 0) < 0) std::abort();
  return file;
}

}  // namespace kiln::fuzz
