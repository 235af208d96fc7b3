// An archive from elsewhere: no member may lead out of it.

#include "host/archive.hpp"

#include <cstdlib>

#include "fuzz/fuzz.hpp"
#include "fuzz/input_file.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  host::read_archive(input_file(bytes), [](const host::Member& member, const auto& content) {
    if (member.path.empty() || member.path.front() == '/' || member.path.starts_with("../")) std::abort();
    if (member.path.find("/../") != std::string::npos || member.path.ends_with("/..")) std::abort();
    if (member.kind == 'f' && member.size < (1U << 20)) static_cast<void>(content());
  });
}
