// Builds the text whose sha256 is a step's key. Every line is one input, so that two texts can be compared by
// eye and by `kiln plan`.
//
// Format (version 1), one line each: "kiln-key 1", "stage NAME", "revision N", "option NAME = VALUE" (sorted;
// JSON), "input NAME" (of a file with its own name as JSON behind it) followed by the indented lines of
// host::tree_text, "tool PROGRAM VERSION", "fact NAME = VALUE", "parent KEY". No line says where a checkout,
// a store or a home lies.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "host/tree.hpp"

namespace kiln::stage {

class KeyWriter {
 public:
  explicit KeyWriter(const host::Host& host) : host_(host) {}
  void line(std::string_view text);
  void option(std::string_view name, std::string_view json);
  // Digests a local file or tree and remembers its nodes, so that Workspace::input() can serve the very same
  // bytes.
  void input(std::string_view name, const std::filesystem::path& path);
  // The same of a tree of which `nodes` alone count, as host::walk() gave them.
  void input(std::string_view name, const std::filesystem::path& path, std::vector<host::TreeNode> nodes);
  void tool(const std::string& program);  // name and version, by Host::tool_version
  void fact(std::string_view name, std::string_view value);
  [[nodiscard]] const std::string& text() const { return text_; }
  // For a stage whose inputs are files of this machine: to find them. What it finds enters by input().
  [[nodiscard]] const host::Host& host() const { return host_; }
  [[nodiscard]] const std::map<std::filesystem::path, std::vector<host::TreeNode>>& inputs() const {
    return inputs_;
  }

 private:
  const host::Host& host_;
  std::string text_;
  std::map<std::filesystem::path, std::vector<host::TreeNode>> inputs_;
};

}  // namespace kiln::stage
