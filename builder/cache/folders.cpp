#include "cache/folders.hpp"

#include <algorithm>
#include <string>
#include <sys/stat.h>

#include "base/error.hpp"
#include "host/atomic_file.hpp"

namespace kiln::cache {

namespace fs = std::filesystem;
using nlohmann::json;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

bool is_id(std::string_view text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::uint64_t room_of(const fs::path& path) {
  struct stat status{};
  if (::lstat(path.c_str(), &status) != 0) return 0;
  std::uint64_t bytes = static_cast<std::uint64_t>(status.st_blocks) * 512;
  if (S_ISDIR(status.st_mode)) {
    std::error_code ignored;
    for (const auto& item : fs::directory_iterator(path, ignored)) bytes += room_of(item.path());
  }
  return bytes;
}

std::vector<fs::path> children(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator(folder, ignored)) found.push_back(item.path());
  std::sort(found.begin(), found.end());
  return found;
}

std::int64_t mtime_of(const fs::path& path) {
  struct stat status{};
  return ::lstat(path.c_str(), &status) == 0 ? nanoseconds(status.st_mtim) : 0;
}

std::optional<json> read_json(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return std::nullopt;
  try {
    json value = json::parse(host::read_file(file), nullptr, false);
    if (value.is_object()) return value;
  } catch (const base::Error&) {
    return std::nullopt;  // unreadable is as good as absent: what it describes is built again
  }
  return std::nullopt;
}

}  // namespace kiln::cache
