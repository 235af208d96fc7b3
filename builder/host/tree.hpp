// A sorted walk over a local file tree and its digest: what a path option means to a key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiln::host {

enum class NodeKind { file, directory, link };

struct TreeNode {
  std::string path;  // relative to the root, '/'-separated, no leading "./"; "" for a root that is a file
  NodeKind kind = NodeKind::file;
  bool executable = false;  // modes are taken as 0755 or 0644 by this bit: umask and checkout do not matter
  std::uint64_t size = 0;
  std::string sha256;  // of a file's content
  std::string target;  // of a link
};

// All below `root` (or `root` itself when it is a file), sorted by path bytes. Devices, sockets and fifos,
// and names with newlines, are errors. Version control folders (.git) and editors' droppings (*~, .*.swp) are
// left out. Throws base::Error naming the path.
std::vector<TreeNode> walk(const std::filesystem::path& root);

// One line a node: "file 0644 <sha256> <path>", "dir <path>", "link <target> <path>"; paths and targets
// JSON-quoted.
std::string tree_text(const std::vector<TreeNode>& nodes);

// Copies what `nodes` lists from `root` to `to` (new), and throws base::Error when a file's content is no
// longer what its digest says.
void snapshot(const std::filesystem::path& root, const std::vector<TreeNode>& nodes,
              const std::filesystem::path& to);

}  // namespace kiln::host
