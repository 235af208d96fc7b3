#include "env/flatten.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "base/text.hpp"
#include "env/name.hpp"
#include "env/scalar.hpp"

namespace kiln::env {

using base::Error;
using base::Where;
using yaml::Node;

namespace {

// A file of a mebibyte may hold one long key over a hundred thousand values.
constexpr std::size_t kLongestName = 512;

struct Entry {
  std::string path;   // the keys as written, which lines are sorted by
  std::string name;   // what the shell gets, with the part of the prefix that belongs to it
  std::string value;  // not yet quoted
  Where where;
};

// As flatyaml always wrote it: plain words stay bare, a quote of the text gets double quotes around it.
std::string quoted(std::string_view text) {
  if (base::is_plain_word(text)) return std::string(text);
  constexpr std::pair<char, std::string_view> quote[] = {{'\'', "'\"'\"'"}};
  return "'" + base::replace_each(text, quote) + "'";
}

// The end of `prefix` that the name goes on from: "APP_" of "export APP_".
std::string_view name_part(std::string_view prefix) {
  std::size_t begin = prefix.size();
  while (begin > 0 && is_name("_" + std::string(1, prefix[begin - 1]))) --begin;
  return prefix.substr(begin);
}

class Flattener {
 public:
  explicit Flattener(const FlattenOptions& options)
      : options_(options), name_prefix_(name_part(options.prefix)) {}

  void add(const std::string& key, const Node& value) {
    const std::size_t begin = entries_.size();
    visit(key, value);
    sort_from(begin);
  }

  void add_all(const Node& root) {
    for (const auto& [key, value] : root.entries()) visit(key.scalar(), value);
    sort_from(0);
  }

  void missing(std::string_view key, const Node& root) {
    std::vector<std::string> known;
    for (const auto& [name, value] : root.entries()) known.push_back(name.scalar());
    const std::string guess = base::did_you_mean(key, known);
    fail({root.file(), 0, 0},
         fmt::format("there is no key '{}'{}", shown(key),
                     guess.empty() ? "" : fmt::format(", did you mean '{}'?", shown(guess))));
  }

  Flat result() && {
    std::map<std::string_view, const Entry*> first;
    std::map<std::string_view, int> count;
    for (const Entry& entry : entries_) {
      first.emplace(entry.name, &entry);
      ++count[entry.name];
    }
    Flat flat;
    for (const Entry& entry : entries_) {
      if (count[entry.name] == 1) {
        flat.lines += options_.prefix + entry.name.substr(name_prefix_.size()) + options_.assign +
                      entry.value + options_.postfix + '\n';
      } else if (first[entry.name] != &entry) {
        // None of them is written: which one the file means nobody can tell.
        fail(entry.where,
             fmt::format("'{}' and '{}' (line {}) have the same name {}", shown(first[entry.name]->path),
                         shown(entry.path), first[entry.name]->where.line, shown(entry.name)));
      }
    }
    flat.errors = std::move(errors_);
    return flat;
  }

 private:
  void fail(Where where, std::string message) {
    errors_.push_back(Error(std::move(message)).at(std::move(where)));
  }

  void sort_from(std::size_t begin) {
    std::stable_sort(entries_.begin() + static_cast<std::ptrdiff_t>(begin), entries_.end(),
                     [](const Entry& a, const Entry& b) { return a.path < b.path; });
  }

  void visit(const std::string& path, const Node& value) {
    if (path.size() > kLongestName) {
      fail(value.where(),
           fmt::format("'{}' is no name: it is longer than {} characters", shown(path), kLongestName));
      return;
    }
    switch (value.kind()) {
      case Node::Kind::map:
        for (const auto& [key, below] : value.entries()) visit(joined(path, key.scalar()), below);
        return;
      case Node::Kind::list:
        for (std::size_t i = 0; i < value.items().size(); ++i)
          visit(joined(path, std::to_string(i)), value.items()[i]);
        leaf(joined(path, "len"), std::to_string(value.items().size()), value.where());
        return;
      case Node::Kind::null:
        leaf(path, "", value.where());
        return;
      case Node::Kind::scalar:
        scalar(path, value);
        return;
    }
  }

  [[nodiscard]] std::string joined(const std::string& path, const std::string& key) const {
    return path + options_.combine + key;
  }

  void scalar(const std::string& path, const Node& value) {
    if (const auto flag = flag_of(value)) {
      leaf(path, *flag ? "true" : "false", value.where());
    } else if (value.scalar().find('\0') != std::string::npos) {
      fail(value.where(),
           fmt::format("the value of '{}' has a NUL in it, which no shell can hold", shown(path)));
    } else {
      leaf(path, quoted(stripped(value.scalar())), value.where());
    }
  }

  void leaf(const std::string& path, std::string value, const Where& where) {
    std::string name = std::string(name_prefix_) + base::upper(path);
    if (!is_name(name)) {
      fail(where, fmt::format("'{}' is no name for a shell: only letters, digits and '_' are, no digit first",
                              shown(path)));
    } else if (is_reserved(name)) {
      fail(where, fmt::format("'{}' is not handed on: the shell or the loader has a use of its own for {}",
                              shown(path), name));
    } else {
      entries_.push_back({path, std::move(name), std::move(value), where});
    }
  }

  const FlattenOptions& options_;
  std::string_view name_prefix_;
  std::vector<Entry> entries_;
  std::vector<Error> errors_;
};

// What is asked for, each once, without the blanks around it.
std::vector<std::string> asked(std::string_view keys) {
  std::vector<std::string> result;
  for (const std::string& piece : base::split(keys, ',')) {
    const std::string key(base::trim(piece));
    if (std::find(result.begin(), result.end(), key) == result.end()) result.push_back(key);
  }
  return result;
}

}  // namespace

Flat flatten(const Node& root, std::string_view keys, const FlattenOptions& options) {
  Flattener flattener(options);
  const std::vector<std::string> wanted = asked(keys);
  const bool all = std::find(wanted.begin(), wanted.end(), ".") != wanted.end();
  if (all) flattener.add_all(root);
  for (const std::string& key : wanted) {
    if (key == ".") continue;
    const auto value = root.find(key);
    if (!value) {
      flattener.missing(key, root);
    } else if (!all) {
      flattener.add(key, *value);
    }
  }
  return std::move(flattener).result();
}

}  // namespace kiln::env
