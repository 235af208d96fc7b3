#include "target/tree_lock.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::target {

namespace fs = std::filesystem;

void check_tree_lock(std::string_view lock, const std::string& file, const fs::path& tree,
                     const std::vector<host::TreeNode>& own) {
  std::vector<base::Error> errors;
  const auto wrong = [&](int line, const std::string& what, std::string hint) {
    errors.push_back(
        base::Error(what, base::Exit::usage).at({file, line, line == 0 ? 0 : 1}).hint(std::move(hint)));
  };
  constexpr const char* changed = "if it was meant to change, write its new digest";
  std::set<std::string> named;
  int number = 0;
  for (const std::string& line : base::lines(lock)) {
    ++number;
    const std::string_view text = base::trim(line);
    if (text.empty() || text.front() == '#') continue;
    const std::string sum(text.substr(0, text.find(' ')));
    const fs::path path = fs::path(base::trim(text.substr(sum.size()))).lexically_normal();
    if (!base::is_sha256(sum) || path.empty() || path.is_absolute() || *path.begin() == "..") {
      wrong(number, "expected \"SHA256  PATH\" of a file in the tree", "write it as `sha256sum` prints it");
      continue;
    }
    named.insert(path.string());
    if (!fs::is_regular_file(fs::symlink_status(tree / path)))
      wrong(number, fmt::format("the tree has no file '{}'", path.string()), changed);
    else if (const std::string is = base::sha256_file(tree / path); is != sum)
      wrong(number, fmt::format("'{}' has the sha256 {}, not {}", path.string(), is, sum), changed);
  }
  std::set<std::string> contents;
  for (const host::TreeNode& node : own)
    if (node.kind == host::NodeKind::file) contents.insert(node.sha256);
  for (const host::TreeNode& node : host::walk(tree)) {
    if (node.kind != host::NodeKind::file || node.path.ends_with(".class") || named.contains(node.path) ||
        contents.contains(node.sha256))
      continue;
    wrong(0, fmt::format("the tree has '{}', which no line names", node.path),
          fmt::format("if it was meant to be there, write \"{}  {}\"", node.sha256, node.path));
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
}

}  // namespace kiln::target
