// An environment file, read: its text and its values.
#pragma once

#include <cstddef>
#include <filesystem>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "yaml/node.hpp"

namespace kiln::env {

// Bytes of the longest file that is read.
inline constexpr std::size_t kLongest = std::size_t{1} << 20U;

struct Source {
  std::string text;
  std::string name;  // what errors show
};

// The text of `file`, or of standard input when it is empty or "-". Throws base::Error (Exit::usage).
Source read_source(const std::filesystem::path& file);
// The values of `source`; what is wrong with its YAML goes to `errors`, and then the result may be null.
yaml::Node parse(const Source& source, std::vector<base::Error>& errors);
// The same; throws base::Errors.
yaml::Node values_of(const Source& source);
// The value at a path such as {"appliance", "domain"}; nullopt when there is none, or it is null.
std::optional<yaml::Node> value_at(const yaml::Node& root, std::initializer_list<std::string_view> path);

}  // namespace kiln::env
