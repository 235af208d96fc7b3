// A YAML file as assignments: each line of output is NAME=WORD and nothing a shell would run.
#include "env/flatten.hpp"

#include <cstdlib>

#include "env/name.hpp"
#include "fuzz/fuzz.hpp"

namespace {

// What is left of `text` behind one shell word of bare and quoted pieces that mean nothing to a shell; ends
// the program when there is anything else.
std::string_view behind_word(std::string_view text) {
  constexpr std::string_view bare =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
  while (!text.empty() && text.front() != '\n') {
    if (text.starts_with("\"'\"")) {
      text.remove_prefix(3);
    } else if (text.front() == '\'') {
      const std::size_t end = text.find('\'', 1);
      if (end == std::string_view::npos) std::abort();
      text.remove_prefix(end + 1);
    } else if (bare.find(text.front()) != std::string_view::npos) {
      text.remove_prefix(1);
    } else {
      std::abort();
    }
  }
  return text;
}

}  // namespace

void kiln::fuzz::read(std::string_view bytes) {
  std::vector<base::Error> errors;
  const yaml::Node root = yaml::Node::parse(std::string(bytes), "input.yml", errors);
  const env::Flat flat = env::flatten(root, ".", {});
  for (std::string_view rest = flat.lines; !rest.empty();) {
    const std::size_t equals = rest.find('=');
    if (equals == std::string_view::npos) std::abort();
    const std::string_view name = rest.substr(0, equals);
    if (!env::is_name(name) || env::is_reserved(name)) std::abort();
    rest = behind_word(rest.substr(equals + 1));
    if (rest.empty() || rest.find('\0') != std::string_view::npos) std::abort();
    rest.remove_prefix(1);
  }
  for (const auto& error : flat.errors) static_cast<void>(error.what());
}
