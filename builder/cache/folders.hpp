// How what lies in a store's folders is looked at. Nothing here throws for what is not there.
#pragma once

#include <cstdint>
#include <ctime>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

namespace kiln::cache {

std::int64_t nanoseconds(const timespec& time);
// Is it a layer's name?
bool is_id(std::string_view text);
// What it takes on the disk, with all below it, in bytes.
std::uint64_t room_of(const std::filesystem::path& path);
// Sorted paths of what is in it; hidden files too.
std::vector<std::filesystem::path> children(const std::filesystem::path& folder);
// In nanoseconds since 1970; 0 when there is no such file.
std::int64_t mtime_of(const std::filesystem::path& path);
// nullopt also for a file that cannot be read or holds no object: what it describes is built again.
std::optional<nlohmann::json> read_json(const std::filesystem::path& file);

}  // namespace kiln::cache
