#include "stage/key_writer.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "base/text.hpp"

namespace kiln::stage {

namespace {

// A value on one line, such that different values stay different.
std::string one_line(std::string_view value) {
  const bool plain = !value.starts_with('"') && std::none_of(value.begin(), value.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (plain) return std::string(value);
  return nlohmann::json(value).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace

void KeyWriter::line(std::string_view text) {
  if (text.find('\n') != std::string_view::npos)
    throw std::logic_error("a line of a key has no newline in it");
  text_.append(text).push_back('\n');
}

void KeyWriter::option(std::string_view name, std::string_view json) {
  line(fmt::format("option {} = {}", name, json));
}

void KeyWriter::input(std::string_view name, const std::filesystem::path& path) {
  input(name, path, host::walk(path));
}

void KeyWriter::input(std::string_view name, const std::filesystem::path& path,
                      std::vector<host::TreeNode> nodes) {
  line(fmt::format("input {}", name));
  for (const std::string& node : base::lines(host::tree_text(nodes))) line("  " + node);
  inputs_.insert_or_assign(path, std::move(nodes));
}

void KeyWriter::tool(const std::string& program) {
  line(fmt::format("tool {} {}", program, one_line(host_.tool_version(program))));
}

void KeyWriter::fact(std::string_view name, std::string_view value) {
  line(fmt::format("fact {} = {}", name, one_line(value)));
}

}  // namespace kiln::stage
