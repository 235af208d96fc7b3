// A path opened as if a directory were the root of everything: neither "..", nor an absolute link, nor one of
// /proc leads out. For whatever kiln does on the host with files of an image, which are made by others.
#pragma once

#include <cstdint>
#include <filesystem>

#include "host/fd.hpp"

namespace kiln::image {

// `flags` as for open(2), without O_CREAT; `resolve` adds RESOLVE_* of openat2(2). An empty descriptor, with
// errno, when it cannot be opened.
host::Fd open_rooted(const host::Fd& root, const std::filesystem::path& path, int flags,
                     std::uint64_t resolve = 0);

}  // namespace kiln::image
