#include "env/read.hpp"

#include "host/atomic_file.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

// yaml::Node takes kLongest: one byte more is enough for it to refuse the rest.
constexpr std::size_t kMost = kLongest + 1;

}  // namespace

Source read_source(const std::filesystem::path& file) {
  if (file.empty() || file == "-") return {host::read_input(kMost), "standard input"};
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status))
    throw Error("no such file", Exit::usage).at({file.string(), 0, 0}).hint("check the path");
  if (std::filesystem::is_directory(status))
    throw Error("is a directory, not a file", Exit::usage).at({file.string(), 0, 0});
  try {
    return {host::read_file(file, kMost), file.string()};
  } catch (const Error& error) {
    throw Error(error.message(), Exit::usage).hint(error.hint_text());
  }
}

yaml::Node parse(const Source& source, std::vector<Error>& errors) {
  yaml::Node root = yaml::Node::parse(source.text, source.name, errors);
  if (!errors.empty()) return root;
  if (root.kind() != yaml::Node::Kind::map && root.kind() != yaml::Node::Kind::null)
    errors.push_back(Error("the file is no mapping of keys to values", Exit::usage)
                         .at(root.where())
                         .hint("write 'key: value' lines"));
  return root;
}

yaml::Node values_of(const Source& source) {
  std::vector<Error> errors;
  yaml::Node root = parse(source, errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return root;
}

std::optional<yaml::Node> value_at(const yaml::Node& root, std::initializer_list<std::string_view> path) {
  std::optional<yaml::Node> node = root;
  for (const std::string_view key : path) {
    if (node->kind() != yaml::Node::Kind::map) return std::nullopt;
    node = node->find(key);
    if (!node || node->kind() == yaml::Node::Kind::null) return std::nullopt;
  }
  return node;
}

}  // namespace kiln::env
