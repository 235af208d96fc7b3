#include "target/users.hpp"

#include <charconv>

#include "base/text.hpp"

namespace kiln::target {
namespace {

std::optional<int> number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// Both files have the name in front and the number in the third field.
std::map<std::string, int, std::less<>> table(std::string_view text) {
  std::map<std::string, int, std::less<>> result;
  for (const std::string& line : base::lines(text)) {
    const std::vector<std::string> fields = base::split(line, ':');
    if (fields.size() < 3 || fields[0].empty()) continue;
    if (const std::optional<int> id = number(fields[2])) result.emplace(fields[0], *id);
  }
  return result;
}

std::optional<int> look_up(const std::map<std::string, int, std::less<>>& from, std::string_view name) {
  if (const auto found = from.find(name); found != from.end()) return found->second;
  return number(name);
}

std::vector<std::string> names(const std::map<std::string, int, std::less<>>& of) {
  std::vector<std::string> result;
  result.reserve(of.size());
  for (const auto& [name, id] : of) result.push_back(name);
  return result;
}

}  // namespace

Users::Users(std::string_view passwd, std::string_view group)
    : users_(table(passwd)), groups_(table(group)) {}

Users Users::read(image::Files& files) {
  const auto text = [&](const char* path) { return files.find(path) ? files.read(path) : std::string(); };
  return {text("/etc/passwd"), text("/etc/group")};
}

std::optional<int> Users::uid(std::string_view name) const {
  return look_up(users_, name);
}
std::optional<int> Users::gid(std::string_view name) const {
  return look_up(groups_, name);
}
std::vector<std::string> Users::user_names() const {
  return names(users_);
}
std::vector<std::string> Users::group_names() const {
  return names(groups_);
}

}  // namespace kiln::target
