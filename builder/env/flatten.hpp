// A YAML file as assignments that a shell can eval, whatever stands in the file.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "yaml/node.hpp"

namespace kiln::env {

struct FlattenOptions {
  // Around each line: {prefix}{NAME}{assign}{value}{postfix}. Those are the caller's own words and not
  // quoted.
  std::string prefix;
  std::string postfix;
  std::string combine = "_";  // between the keys that make a name
  std::string assign = "=";
};

struct Flat {
  std::string lines;
  // What has no line: a key that is missing, no name, reserved or there twice, a value that no shell can
  // hold. None says a value.
  std::vector<base::Error> errors;
};

// The values of `keys`, top keys of `root` with commas between them, "." for all. A null `root` has no keys.
Flat flatten(const yaml::Node& root, std::string_view keys, const FlattenOptions& options);

}  // namespace kiln::env
