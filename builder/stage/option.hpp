// The option table of a stage: from one list come parsing, the JSON Schema, the documentation and the key
// lines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/error.hpp"

namespace kiln::stage {

enum class Type {
  text,    // one line
  flag,    // true or false
  number,  // integer within [minimum, maximum]
  size,    // bytes, written 512M or 10G
  texts,   // list of one-line texts
  file,    // path of a local file, relative to the profile that wrote it; its content is part of the key
  tree,    // path of a local directory; its content is part of the key
  files,   // list of local files
};

struct Option {
  std::string_view name;
  Type type = Type::text;
  std::string_view fallback;  // default as one would write it in YAML; "" = none
  bool required = false;
  std::string_view doc;      // one sentence
  std::int64_t minimum = 0;  // of number and size
  std::int64_t maximum = INT64_MAX;
  // Written out, so that a row of a table may leave them out without a warning.
  // NOLINTBEGIN(readability-redundant-member-init)
  std::span<const std::string_view> choices = {};  // of text
  // ECMAScript regular expression that a text, or each text of a list, matches whole.
  std::string_view pattern = {};
  // The same for people, behind "write": "lower-case letters and digits, such as bookworm".
  std::string_view write = {};
  // Of a file: the option that says its sha256. The file is not read for the key, for it is big and its
  // digest is in the key already; the stage copies it and checks the copy.
  std::string_view pinned_by = {};
  // NOLINTEND(readability-redundant-member-init)
  bool secret = false;  // must not be used in a cached stage (rule 7 of the engine)
};

// A row of the tables of stages that fetch a file from where it is published.
inline constexpr Option published_sha256 = {
    .name = "sha256",
    .type = Type::text,
    .fallback = {},
    .required = true,
    .doc = "Digest of the file as it is published.",
    .pattern = "[0-9a-f]{64}",
    .write = "64 lower-case hexadecimal digits, as `sha256sum` prints them"};

// What a profile wrote for the options of one step: typed, checked, defaults filled in.
using Value = std::variant<std::monostate, bool, std::int64_t, std::string, std::vector<std::string>>;

class Options {
 public:
  void set(std::string name, Value value, base::Where where);
  // False for an option without a value and without a default.
  [[nodiscard]] bool has(std::string_view name) const;
  // Each gives an empty value (false, 0, "", {}) for an option that has none, and throws std::logic_error
  // when the stage asks for a name or type that is not in its table: a bug, not a user error.
  [[nodiscard]] const std::string& text(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] std::int64_t number(std::string_view name) const;  // also sizes, in bytes
  [[nodiscard]] const std::vector<std::string>& texts(std::string_view name) const;
  [[nodiscard]] std::filesystem::path path(std::string_view name) const;  // absolute
  [[nodiscard]] std::vector<std::filesystem::path> paths(std::string_view name) const;
  // Where the profile wrote it (or the step, for a default), for errors of meaning.
  [[nodiscard]] const base::Where& where(std::string_view name) const;
  [[nodiscard]] const std::map<std::string, Value, std::less<>>& all() const { return values_; }
  base::Where step;  // where the step begins

 private:
  std::map<std::string, Value, std::less<>> values_;
  std::map<std::string, base::Where, std::less<>> places_;
};

}  // namespace kiln::stage
