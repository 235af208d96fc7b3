// What pins the files of others in a tree that is built on this host (Maven's): a lock of lines "SHA256
// PATH", with empty lines and comments ("# ...") between them.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "host/tree.hpp"

namespace kiln::target {

// Throws base::Errors (Exit::usage), at the lines of `file`, unless `tree` has each file that `lock` names as
// it says, and no other but what is compiled there (".class") and copies of the project's `own` files:
// nothing else says what those are.
void check_tree_lock(std::string_view lock, const std::string& file, const std::filesystem::path& tree,
                     const std::vector<host::TreeNode>& own);

}  // namespace kiln::target
