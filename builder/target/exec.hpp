// An image::Exec in one expression.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "image/system.hpp"

namespace kiln::target {

inline image::Exec exec(std::vector<std::string> argv, std::string purpose,
                        std::map<std::string, std::string> env = {}) {
  image::Exec result;
  result.argv = std::move(argv);
  result.purpose = std::move(purpose);
  result.env = std::move(env);
  return result;
}

}  // namespace kiln::target
