// QR codes in a picture, by zbar, which lives only here.
#pragma once

#include <string>
#include <vector>

#include "env/picture.hpp"

namespace kiln::env {

// What the codes in `picture` hold, whichever way up they are; those that cannot be read are left out.
std::vector<std::string> scan(const Picture& picture);

}  // namespace kiln::env
