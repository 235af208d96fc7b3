#include "stage/stage_set.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <regex>
#include <stdexcept>

#include "base/size.hpp"
#include "base/text.hpp"

namespace kiln::stage {

using base::Error;
using base::Exit;
using base::Where;
using profile::Node;

namespace {

// libstdc++'s regex recurses per character: a bound keeps a hostile profile from exhausting the stack.
constexpr std::size_t kLongestMatched = 4096;

Error wrong(const Where& where, std::string message) {
  return Error(std::move(message), Exit::usage).at(where);
}

// An option's doc as a remark in brackets: " (the local directory to copy)".
std::string remark(const Option& option) {
  std::string_view doc = option.doc;
  if (doc.empty()) return {};
  if (doc.ends_with('.')) doc.remove_suffix(1);
  std::string text(doc);
  // Of a name such as NAT or URL the first letter stays as it is.
  const bool name = text.size() > 1 && text[1] >= 'A' && text[1] <= 'Z';
  if (!name && text[0] >= 'A' && text[0] <= 'Z') text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return fmt::format(" ({})", text);
}

std::string shown(std::string_view text) {
  return base::printable(text.substr(0, 80));
}

// Reads one option's value; every mistake goes to `errors`.
class Reader {
 public:
  Reader(const StageType& type, const Option& option, std::vector<Error>& errors)
      : option_(option),
        what_(fmt::format("{}: {}", type.name, option.name)),
        stage_(type.name),
        errors_(errors) {}

  // `folder` is where relative paths start; monostate when the value is no good.
  Value read(const Node& node, const std::filesystem::path& folder) {
    switch (option_.type) {
      case Type::text:
        if (auto text = one_line(node)) return std::move(*text);
        break;
      case Type::flag:
        if (auto flag = node.as_flag(what_, errors_)) return *flag;
        break;
      case Type::number:
        if (auto number = node.as_number(what_, option_.minimum, option_.maximum, errors_)) return *number;
        break;
      case Type::size:
        return size(node);
      case Type::texts:
        return list(node, [&](const Node& item) { return one_line(item); });
      case Type::file:
      case Type::tree:
        if (auto path = local(node, folder)) return std::move(*path);
        break;
      case Type::files:
        return list(node, [&](const Node& item) { return local(item, folder); });
    }
    return {};
  }

 private:
  template <typename Read>
  Value list(const Node& node, Read read_item) {
    if (node.kind() != Node::Kind::list) {
      errors_.push_back(wrong(node.where(), fmt::format("{}: expected a list", what_))
                            .hint("write each item as '- ITEM', or [ITEM, ITEM]"));
      return {};
    }
    if (option_.required && node.items().empty()) {
      errors_.push_back(wrong(node.where(), fmt::format("{}: is empty", what_)).hint("list at least one"));
      return {};
    }
    std::vector<std::string> items;
    bool good = true;
    for (const Node& item : node.items()) {
      std::optional<std::string> text = read_item(item);
      good = good && text.has_value();
      if (text) items.push_back(std::move(*text));
    }
    if (!good) return {};
    return items;
  }

  std::optional<std::string> one_line(const Node& node) {
    auto text = node.as_text(what_, errors_);
    if (!text) return std::nullopt;
    if (text->find('\n') != std::string::npos) {
      errors_.push_back(wrong(node.where(), fmt::format("{}: has to be one line", what_)));
      return std::nullopt;
    }
    if (!option_.choices.empty() &&
        std::find(option_.choices.begin(), option_.choices.end(), *text) == option_.choices.end()) {
      const std::vector<std::string> known(option_.choices.begin(), option_.choices.end());
      const std::string guess = base::did_you_mean(*text, known);
      errors_.push_back(
          wrong(node.where(), fmt::format("{}: unknown '{}'{}", what_, shown(*text),
                                          guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)))
              .hint("known are " + base::join(known, ", ")));
      return std::nullopt;
    }
    if (option_.pattern.empty()) return text;
    if (text->size() > kLongestMatched) {
      errors_.push_back(
          wrong(node.where(), fmt::format("{}: is longer than {} characters", what_, kLongestMatched)));
      return std::nullopt;
    }
    if (!std::regex_match(*text, std::regex(option_.pattern.begin(), option_.pattern.end()))) {
      errors_.push_back(
          wrong(node.where(), fmt::format("{}: '{}' will not do{}", what_, shown(*text), remark(option_)))
              .hint(option_.write.empty() ? fmt::format("it has to match {}", option_.pattern)
                                          : fmt::format("write {}", option_.write)));
      return std::nullopt;
    }
    return text;
  }

  Value size(const Node& node) {
    const auto bytes = node.as_size(what_, errors_);
    if (!bytes) return {};
    const auto least = static_cast<std::uint64_t>(option_.minimum);
    const auto most = static_cast<std::uint64_t>(option_.maximum);
    if (*bytes < least || *bytes > most) {
      const std::string range =
          option_.maximum == INT64_MAX
              ? fmt::format("at least {}", base::human_size(least))
              : fmt::format("{} to {}", base::human_size(least), base::human_size(most));
      errors_.push_back(wrong(
          node.where(), fmt::format("{}: expected {}, got {}", what_, range, base::human_size(*bytes))));
      return {};
    }
    return static_cast<std::int64_t>(*bytes);
  }

  std::optional<std::string> local(const Node& node, const std::filesystem::path& folder) {
    const auto text = one_line(node);
    if (!text) return std::nullopt;
    const bool tree = option_.type == Type::tree;
    const std::string_view kind = tree ? "directory" : "file";
    std::filesystem::path path = std::filesystem::absolute(folder / *text).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();  // "salt/" and "salt" are one path
    std::error_code code;
    const auto status = std::filesystem::status(path, code);
    if (text->empty() || !std::filesystem::exists(status)) {
      errors_.push_back(
          wrong(node.where(), fmt::format("{}: no {} at '{}'", stage_, kind, shown(*text)))
              .hint(option_.type == Type::files
                        ? fmt::format("list paths that exist in '{}:', relative to the file that says it",
                                      option_.name)
                        : fmt::format("set '{}:' to its path", option_.name)));
      return std::nullopt;
    }
    if (tree ? !std::filesystem::is_directory(status) : !std::filesystem::is_regular_file(status)) {
      errors_.push_back(wrong(node.where(), fmt::format("{}: '{}' is no {}", stage_, shown(*text), kind))
                            .hint(fmt::format("set '{}:' to a {}", option_.name, kind)));
      return std::nullopt;
    }
    return path.string();
  }

  const Option& option_;
  std::string what_;
  std::string_view stage_;
  std::vector<Error>& errors_;
};

std::filesystem::path folder_of(const std::string& file) {
  return std::filesystem::path(file).parent_path();
}

Value fallback(const StageType& type, const Option& option, const Where& step) {
  std::vector<Error> errors;
  const Node node = Node::parse(std::string(option.fallback), "", errors);
  Value value;
  if (errors.empty()) value = Reader(type, option, errors).read(node, folder_of(step.file));
  // A default that its own table refuses is a bug of the stage, unless it is a path: those may be missing.
  if (!errors.empty() && option.type != Type::file && option.type != Type::tree &&
      option.type != Type::files) {
    throw std::logic_error(fmt::format("default of option '{}' of stage '{}': {}", option.name, type.name,
                                       errors.front().message()));
  }
  return value;
}

}  // namespace

const StageType* StageSet::find(std::string_view name) const {
  const auto found =
      std::find_if(types_.begin(), types_.end(), [&](const StageType* type) { return type->name == name; });
  return found == types_.end() ? nullptr : *found;
}

std::vector<std::string> StageSet::names() const {
  std::vector<std::string> names;
  names.reserve(types_.size());
  for (const StageType* type : types_) names.emplace_back(type->name);
  return names;
}

Options parse_options(const StageType& type, Node node, const Where& step, std::vector<Error>& errors) {
  Options options;
  options.step = step;
  std::vector<std::string> known;
  for (const Option& option : type.options) {
    known.emplace_back(option.name);
    const auto given = node.take(option.name);
    if (!given) {
      options.set(std::string(option.name), {}, step);
      if (option.required) {
        errors.push_back(
            wrong(step, fmt::format("{}: needs '{}:'{}", type.name, option.name, remark(option))));
      } else if (!option.fallback.empty()) {
        options.set(std::string(option.name), fallback(type, option, step), step);
      }
      continue;
    }
    if (option.secret && type.reuse == Reuse::cache) {
      errors.push_back(
          wrong(given->where(), fmt::format("{}: '{}' is a secret, and a layer of this stage would keep it",
                                            type.name, option.name))
              .hint("leave it out here and give it to the running machine by its env.yml"));
      continue;
    }
    options.set(std::string(option.name), Reader(type, option, errors).read(*given, folder_of(given->file())),
                given->where());
  }
  node.leftovers(fmt::format("{}: unknown option", type.name), known, errors);
  return options;
}

}  // namespace kiln::stage
