// OpenPGP in ASCII (RFC 4880, section 6), as much of it as finds damage. GnuPG passes over a block that it
// cannot read, and who reads its answer alone does not see that one is missing.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::env {

struct ArmoredBlock {
  std::string text;      // from its BEGIN line to its END line
  int line = 0;          // of the first, from 1
  std::size_t keys = 0;  // primary keys in it, public and secret
};

// The blocks in a text that has nothing else but empty lines and lines that begin with '#'. Throws
// base::Error (Exit::usage), its place without a file, where one is not whole: no END line, no base64,
// another checksum, a packet that ends too early.
std::vector<ArmoredBlock> armored_blocks(std::string_view text);

// `bytes` as one block; `title` is what it is: "PGP PRIVATE KEY BLOCK".
std::string armored(std::string_view title, std::string_view bytes);

}  // namespace kiln::env
