#include "stage/option.hpp"

#include <fmt/format.h>
#include <stdexcept>
#include <utility>

namespace kiln::stage {

namespace {

// The value of `name` as a T, an empty one when it has none; anything else is a stage that does not know its
// own table.
template <typename T>
const T& get(const std::map<std::string, Value, std::less<>>& values, std::string_view name) {
  static const T empty{};
  const auto found = values.find(name);
  if (found == values.end()) throw std::logic_error(fmt::format("option '{}' is not in the table", name));
  if (std::holds_alternative<std::monostate>(found->second)) return empty;
  const T* value = std::get_if<T>(&found->second);
  if (value == nullptr) throw std::logic_error(fmt::format("option '{}' is of another type", name));
  return *value;
}

}  // namespace

void Options::set(std::string name, Value value, base::Where where) {
  places_.insert_or_assign(name, std::move(where));
  values_.insert_or_assign(std::move(name), std::move(value));
}

bool Options::has(std::string_view name) const {
  const auto found = values_.find(name);
  return found != values_.end() && !std::holds_alternative<std::monostate>(found->second);
}

const std::string& Options::text(std::string_view name) const {
  return get<std::string>(values_, name);
}
bool Options::flag(std::string_view name) const {
  return get<bool>(values_, name);
}
std::int64_t Options::number(std::string_view name) const {
  return get<std::int64_t>(values_, name);
}
const std::vector<std::string>& Options::texts(std::string_view name) const {
  return get<std::vector<std::string>>(values_, name);
}
std::filesystem::path Options::path(std::string_view name) const {
  return text(name);
}
std::vector<std::filesystem::path> Options::paths(std::string_view name) const {
  const std::vector<std::string>& all = texts(name);
  return {all.begin(), all.end()};
}

const base::Where& Options::where(std::string_view name) const {
  const auto found = places_.find(name);
  return found == places_.end() ? step : found->second;
}

}  // namespace kiln::stage
