// QR codes in a picture, by zbar and ZXing, which live only here.
#pragma once

#include <string>
#include <vector>

#include "env/picture.hpp"

namespace kiln::env {

// What the codes in `picture` hold, as zbar reads them, whichever way up they are; those that cannot be read
// are left out.
std::vector<std::string> scan(const Picture& picture);
// The same by ZXing, which finds the corners and the threshold in other ways: of noisy pages at 150 dpi each
// of the two reads codes that the other does not.
std::vector<std::string> scan_otherwise(const Picture& picture);

}  // namespace kiln::env
