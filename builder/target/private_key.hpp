// Private keys have no place in an image: every copy of it would share them (engine rule 7).
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "host/tree.hpp"

namespace kiln::target {

// True when `text` holds the body of a private key: PEM (PKCS#1, PKCS#8, EC, OpenSSH, encrypted ones too), an
// armored OpenPGP secret key, PuTTY's or age's format; also indented as in YAML or with \n spelled out as in
// JSON. A mere mention of the first line, as in a script that looks for keys, is none.
bool has_private_key(std::string_view text);

// Reads every file of a tree. Throws base::Error (Exit::usage) naming the files that hold a private key and
// the way out; `what` says what the tree is for ("overlay"), `where` the profile names it.
void refuse_private_keys(const std::filesystem::path& root, const std::vector<host::TreeNode>& nodes,
                         std::string_view what, const base::Where& where);

}  // namespace kiln::target
