// The seed disk that configures a booting machine, by xorriso.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "host/host.hpp"

namespace kiln::env {

// An ISO with the volume id cidata, Joliet and Rock Ridge, of files by name: the same bytes for the same
// files and `date`. Their content is put in afterwards: xorriso, which takes only files with a name, sees
// others of the same size. Throws base::Error, Exit::missing when there is no xorriso.
std::string seed_iso(const std::map<std::string, std::string>& files, std::int64_t date,
                     const host::Host& host);

}  // namespace kiln::env
