// A YAML value with its place in the file. yaml-cpp lives only behind this header.
//
// A mapping is consumed by take(); what nobody took is an unknown key, found by leftovers(). Refused while
// reading, each with its place: duplicate keys, tags, an alias inside its own anchor, aliases that blow up to
// more than 100,000 values or 16 MiB of text (YAML bombs), nesting over 32, files over 1 MiB, bytes that are
// no text.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.hpp"

namespace kiln::yaml {

class Node {
 public:
  enum class Kind { null, scalar, list, map };

  // Parses `text` as one YAML document; `file` is what places show. Duplicate keys go to `errors` and the
  // first of them counts. After an error of syntax, and when a limit is passed, the result is null.
  static Node parse(const std::string& text, const std::string& file, std::vector<base::Error>& errors);
  // The same of a file; one that cannot be read is an error, too.
  static Node read(const std::filesystem::path& file, std::vector<base::Error>& errors);

  [[nodiscard]] Kind kind() const;
  [[nodiscard]] const base::Where& where() const;
  // The file that wrote this value; relative paths in it start from that file's directory.
  [[nodiscard]] const std::string& file() const;
  [[nodiscard]] const std::string& scalar() const;  // as written, without quotes
  [[nodiscard]] bool quoted() const;                // "yes" in quotes is a text, never a flag
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] const std::vector<Node>& items() const;                     // of a list
  [[nodiscard]] const std::vector<std::pair<Node, Node>>& entries() const;  // of a map, in file order
  // The value of `key`, which is then no leftover.
  std::optional<Node> take(std::string_view key);
  [[nodiscard]] std::optional<Node> find(std::string_view key) const;
  // An error for each key that was not taken, with a guess at what was meant out of `known`. `what` begins
  // the message: "guest: unknown key" gives "guest: unknown key 'memry', did you mean 'memory'?".
  void leftovers(std::string_view what, const std::vector<std::string>& known,
                 std::vector<base::Error>& errors) const;

  // Typed readings. On a wrong type they add an error ("memory: expected a size such as 10G, got a list") and
  // return nullopt. A quoted value is a text, and a size, but never a flag or a number.
  std::optional<std::string> as_text(std::string_view what, std::vector<base::Error>& errors) const;
  std::optional<bool> as_flag(std::string_view what, std::vector<base::Error>& errors) const;
  std::optional<std::int64_t> as_number(std::string_view what, std::int64_t min, std::int64_t max,
                                        std::vector<base::Error>& errors) const;
  std::optional<std::uint64_t> as_size(std::string_view what, std::vector<base::Error>& errors) const;
  std::optional<std::vector<std::string>> as_texts(std::string_view what,
                                                   std::vector<base::Error>& errors) const;

  // Default-constructed: null without a place.
  Node();
  struct Data;
  explicit Node(std::shared_ptr<Data> data);

 private:
  std::shared_ptr<Data> data_;
};

// How errors call a value of that kind: "a list".
std::string_view name_of(Node::Kind kind);

}  // namespace kiln::yaml
