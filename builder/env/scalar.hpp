// What a plain YAML value means to the programs that read the same file: cloud-init and Salt take YAML 1.1,
// where `yes` is a flag and 0123 a number.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "yaml/node.hpp"

namespace kiln::env {

// Of a scalar that is not in quotes; every other one is a text.
enum class Meaning { text, flag, number, date };

Meaning meaning(const yaml::Node& scalar);
// The flag that an unquoted `value` stands for; nullopt when it is none.
std::optional<bool> flag_of(const yaml::Node& value);
// `text` without the white space around it, Unicode's included.
std::string_view stripped(std::string_view text);
// A key or name of a file for an error: nothing that drives a terminal, one line, and not too long.
std::string shown(std::string_view text);

}  // namespace kiln::env
