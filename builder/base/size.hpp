// Sizes in bytes as people write them: 512M, 10G, 2 GiB. Units are powers of 1024, as qemu-img reads them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::base {

// Bytes; nullopt when `text` is not a size (bad number, unknown unit, overflow, negative).
std::optional<std::uint64_t> parse_size(std::string_view text);
// "1.4 GiB", "23 MiB", "812 B".
std::string human_size(std::uint64_t bytes);
// "0.4 s", "34 s", "3 min 20 s".
std::string human_seconds(double seconds);

}  // namespace kiln::base
