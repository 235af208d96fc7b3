#include "yaml/node.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <fstream>
#include <set>
#include <sstream>
#include <unordered_map>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "base/size.hpp"
#include "base/text.hpp"

namespace kiln::yaml {

using base::Error;
using base::Exit;
using base::Where;

namespace {

constexpr std::size_t kFileLimit = 1 << 20;
constexpr std::size_t kNodeLimit = 100'000;
constexpr std::size_t kCopiedLimit = 16 << 20;  // bytes of text that aliases stand for
constexpr std::size_t kDepthLimit = 32;
constexpr std::size_t kShownText = 60;  // how much of a wrong value an error repeats

}  // namespace

struct Node::Data {
  Kind kind = Kind::null;
  Where where;
  std::string scalar;
  bool quoted = false;
  std::vector<Node> items;
  std::vector<std::pair<Node, Node>> entries;
  std::set<std::string, std::less<>> taken;

  static Data& of(const Node& node) { return *node.data_; }
};

namespace {

Error wrong(const Where& where, std::string message) {
  return Error(std::move(message), Exit::usage).at(where);
}

// Refused input, thrown through yaml-cpp's parser and turned into one entry of `errors` by parse().
struct Refused {
  Error error;
};

// How a value is named in "expected ..., got ...".
std::string got(const Node& node) {
  if (node.kind() != Node::Kind::scalar) return std::string(name_of(node.kind()));
  std::string shown = base::printable(node.scalar());
  std::replace(shown.begin(), shown.end(), '\n', ' ');
  if (shown.size() > kShownText) shown = base::printable(shown.substr(0, kShownText)) + "...";
  return fmt::format("{}'{}'", node.quoted() ? "the text " : "", shown);
}

// Length of the UTF-8 character at the start of `text`, 0 when there is none.
std::size_t utf8_length(std::string_view text) {
  for (std::size_t length = 1; length <= std::min<std::size_t>(text.size(), 4); ++length) {
    if (base::is_utf8(text.substr(0, length))) return length;
  }
  return 0;
}

// Where and what the first byte is that has no place in a text file.
std::optional<Error> not_text(std::string_view text, const std::string& file) {
  int line = 1;
  int column = 1;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool control = (byte < 0x20 && byte != '\n' && byte != '\t' && byte != '\r') || byte == 0x7f;
    const std::size_t length = control ? 0 : utf8_length(text.substr(at));
    if (length == 0) {
      return wrong({file, line, column}, fmt::format("byte 0x{:02x} is no text", byte))
          .hint("save the file as UTF-8 without control characters");
    }
    at += length;
    column = byte == '\n' ? 1 : column + 1;
    line += byte == '\n' ? 1 : 0;
  }
  return std::nullopt;
}

bool indented_by_tab(const std::string& text, int line) {
  const std::vector<std::string> lines = base::lines(text);
  if (line < 1 || static_cast<std::size_t>(line) > lines.size()) return false;
  const std::string& shown = lines[static_cast<std::size_t>(line) - 1];
  return shown.substr(0, shown.find_first_not_of(" \t")).find('\t') != std::string::npos;
}

// What people meant when yaml-cpp says so.
std::string hint_for(std::string_view message) {
  namespace msg = YAML::ErrorMsg;
  if (message == msg::END_OF_SEQ_FLOW) return "close the list with ']', or quote a text that begins with '['";
  if (message == msg::END_OF_MAP_FLOW)
    return "close the mapping with '}', or quote a text that begins with '{'";
  if (message == msg::EOF_IN_SCALAR || message == msg::DOC_IN_SCALAR) return "close the quotes";
  if (message == msg::MAP_VALUE || message == msg::MAP_KEY)
    return "quote a text that has ': ' in it, and indent the keys of one mapping alike";
  if (message == msg::UNKNOWN_TOKEN) return "quote a text that begins with a sign such as % or @";
  return "indent the keys of one mapping, and the '- ' of one list, alike";
}

// Builds our nodes from yaml-cpp's events: unlike its own tree they keep duplicate keys apart, give aliases a
// place, and a limit ends the reading before memory is spent.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string file, std::vector<Error>& errors) : file_(std::move(file)), errors_(errors) {}

  [[nodiscard]] Node root() const { return root_; }

  void OnDocumentStart(const YAML::Mark& /*mark*/) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { finish(make(mark), anchor); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check_tag(mark, tag);
    auto data = make(mark);
    data->kind = Node::Kind::scalar;
    data->scalar = value;
    data->quoted = tag == "!";
    finish(data, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      throw Refused{wrong(place(mark), "an alias inside the value it stands for would never end")};
    }
    const std::shared_ptr<Node::Data> source = found->second;
    finish(copy(*source, place(mark), open_.size()), 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    begin(mark, Node::Kind::list, anchor);
  }
  void OnSequenceEnd() override { end(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    check_tag(mark, tag);
    begin(mark, Node::Kind::map, anchor);
  }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    std::shared_ptr<Node::Data> data;
    YAML::anchor_t anchor;
    std::optional<Node> key;  // of the entry whose value comes next
    std::unordered_map<std::string, int> lines;
  };

  [[nodiscard]] Where place(const YAML::Mark& mark) const { return {file_, mark.line + 1, mark.column + 1}; }

  void check_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw Refused{wrong(place(mark), fmt::format("tag '{}' is not understood", base::printable(tag)))
                      .hint("leave it out")};
  }

  void count(const Where& where) {
    if (++nodes_ > kNodeLimit) {
      throw Refused{wrong(where, fmt::format("more than {} values when its aliases are followed", kNodeLimit))
                        .hint("write out what is meant")};
    }
  }
  void check_depth(const Where& where, std::size_t depth) const {
    if (depth > kDepthLimit) {
      throw Refused{wrong(where, fmt::format("nested more than {} levels deep", kDepthLimit))};
    }
  }

  std::shared_ptr<Node::Data> make(const YAML::Mark& mark) {
    auto data = std::make_shared<Node::Data>();
    data->where = place(mark);
    count(data->where);
    return data;
  }

  // Aliased values are copied, so that what is taken of one use does not count for another.
  std::shared_ptr<Node::Data> copy(const Node::Data& source, const Where& where, std::size_t depth) {
    count(where);
    copied_ += source.scalar.size();
    if (copied_ > kCopiedLimit) {
      throw Refused{wrong(where, fmt::format("more than {} of text when its aliases are followed",
                                             base::human_size(kCopiedLimit)))
                        .hint("write out what is meant")};
    }
    auto data = std::make_shared<Node::Data>(source);
    if (source.kind == Node::Kind::scalar || source.kind == Node::Kind::null) return data;
    check_depth(where, depth + 1);
    for (Node& item : data->items) item = Node(copy(Node::Data::of(item), where, depth + 1));
    for (auto& [key, value] : data->entries) {
      count(where);
      value = Node(copy(Node::Data::of(value), where, depth + 1));
    }
    return data;
  }

  void begin(const YAML::Mark& mark, Node::Kind kind, YAML::anchor_t anchor) {
    auto data = make(mark);
    data->kind = kind;
    check_depth(data->where, open_.size() + 1);
    open_.push_back({std::move(data), anchor, std::nullopt, {}});
  }

  void end() {
    Open done = std::move(open_.back());
    open_.pop_back();
    finish(done.data, done.anchor);
  }

  void finish(const std::shared_ptr<Node::Data>& data, YAML::anchor_t anchor) {
    if (anchor != 0) anchors_[anchor] = data;
    const Node node(data);
    if (open_.empty()) {
      root_ = node;
      return;
    }
    Open& parent = open_.back();
    if (parent.data->kind == Node::Kind::list) {
      parent.data->items.push_back(node);
    } else if (!parent.key) {
      parent.key = node;
    } else {
      entry(parent, *parent.key, node);
      parent.key.reset();
    }
  }

  void entry(Open& parent, const Node& key, const Node& value) {
    if (key.kind() != Node::Kind::scalar) {
      errors_.push_back(wrong(key.where(), fmt::format("a key has to be a plain word, got {}", got(key))));
      return;
    }
    if (key.scalar() == "<<" && !key.quoted()) {
      errors_.push_back(
          wrong(key.where(), "merge keys ('<<') are not supported").hint("write the values out"));
      return;
    }
    const auto [first, fresh] = parent.lines.emplace(key.scalar(), key.where().line);
    if (!fresh) {
      errors_.push_back(wrong(key.where(), fmt::format("key '{}' is there twice, first in line {}",
                                                       base::printable(key.scalar()), first->second))
                            .hint("keep one of them"));
      return;
    }
    parent.data->entries.emplace_back(key, value);
  }

  std::string file_;
  std::vector<Error>& errors_;
  std::vector<Open> open_;
  std::unordered_map<YAML::anchor_t, std::shared_ptr<Node::Data>> anchors_;
  std::size_t nodes_ = 0;
  std::size_t copied_ = 0;
  Node root_;
};

}  // namespace

Node::Node() : data_(std::make_shared<Data>()) {}
Node::Node(std::shared_ptr<Data> data) : data_(std::move(data)) {}

Node Node::parse(const std::string& text, const std::string& file, std::vector<Error>& errors) {
  if (text.size() > kFileLimit) {
    errors.push_back(wrong({file, 0, 0}, fmt::format("is larger than {}", base::human_size(kFileLimit))));
    return {};
  }
  if (auto error = not_text(text, file)) {
    errors.push_back(std::move(*error));
    return {};
  }
  Builder builder(file, errors);
  try {
    std::istringstream in(text);
    YAML::Parser parser(in);
    parser.HandleNextDocument(builder);
    Node root = builder.root();
    Builder rest(file, errors);
    if (parser.HandleNextDocument(rest)) {
      errors.push_back(wrong(rest.root().where(), "a second document begins")
                           .hint("one file is one document; remove the '---'"));
      return {};
    }
    return root;
  } catch (const Refused& refused) {
    errors.push_back(refused.error);
  } catch (const YAML::Exception& exception) {
    Where where{file, exception.mark.line + 1, exception.mark.column + 1};
    if (exception.mark.is_null()) where = {file, 0, 0};
    errors.push_back(indented_by_tab(text, where.line)
                         ? wrong(where, "a tab cannot indent").hint("use spaces")
                         : wrong(where, fmt::format("no valid YAML: {}", base::printable(exception.msg)))
                               .hint(hint_for(exception.msg)));
  }
  return {};
}

Node Node::read(const std::filesystem::path& file, std::vector<Error>& errors) {
  const std::string shown = file.string();
  std::error_code code;
  const auto status = std::filesystem::status(file, code);
  if (!std::filesystem::exists(status)) {
    errors.push_back(wrong({shown, 0, 0}, "no such file").hint("check the path"));
    return {};
  }
  if (!std::filesystem::is_regular_file(status)) {
    errors.push_back(wrong({shown, 0, 0}, "is not a file"));
    return {};
  }
  std::ifstream in(file, std::ios::binary);
  // One byte beyond the limit is enough for parse() to refuse it.
  std::string text(kFileLimit + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!in.is_open() || in.bad()) {
    errors.push_back(wrong({shown, 0, 0}, "cannot be read").hint("check its permissions"));
    return {};
  }
  text.resize(static_cast<std::size_t>(in.gcount()));
  return parse(text, shown, errors);
}

Node::Kind Node::kind() const {
  return data_->kind;
}
const Where& Node::where() const {
  return data_->where;
}
const std::string& Node::file() const {
  return data_->where.file;
}
const std::string& Node::scalar() const {
  return data_->scalar;
}
bool Node::quoted() const {
  return data_->quoted;
}
std::size_t Node::size() const {
  return data_->kind == Kind::map ? data_->entries.size() : data_->items.size();
}
const std::vector<Node>& Node::items() const {
  return data_->items;
}
const std::vector<std::pair<Node, Node>>& Node::entries() const {
  return data_->entries;
}

std::optional<Node> Node::take(std::string_view key) {
  auto found = find(key);
  if (found) data_->taken.emplace(key);
  return found;
}

std::optional<Node> Node::find(std::string_view key) const {
  for (const auto& [name, value] : data_->entries) {
    if (name.scalar() == key) return value;
  }
  return std::nullopt;
}

void Node::leftovers(std::string_view what, const std::vector<std::string>& known,
                     std::vector<Error>& errors) const {
  for (const auto& [key, value] : data_->entries) {
    if (data_->taken.contains(key.scalar())) continue;
    const std::string guess = base::did_you_mean(key.scalar(), known);
    std::string message = fmt::format("{} {}", what, got(key));
    if (!guess.empty()) message += fmt::format(", did you mean '{}'?", guess);
    Error error = wrong(key.where(), std::move(message));
    if (guess.empty()) {
      error.hint(known.empty() ? "none is expected here" : "known are " + base::join(known, ", "));
    }
    errors.push_back(std::move(error));
  }
}

std::optional<std::string> Node::as_text(std::string_view what, std::vector<Error>& errors) const {
  if (kind() != Kind::scalar) {
    errors.push_back(wrong(where(), fmt::format("{}: expected a text, got {}", what, got(*this))));
    return std::nullopt;
  }
  const bool control = std::any_of(scalar().begin(), scalar().end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
  });
  if (control) {
    errors.push_back(wrong(where(), fmt::format("{}: control characters have no place in a text", what)));
    return std::nullopt;
  }
  return scalar();
}

std::optional<bool> Node::as_flag(std::string_view what, std::vector<Error>& errors) const {
  if (kind() == Kind::scalar && !quoted()) {
    if (scalar() == "true") return true;
    if (scalar() == "false") return false;
  }
  errors.push_back(wrong(where(), fmt::format("{}: expected true or false, got {}", what, got(*this))));
  return std::nullopt;
}

std::optional<std::int64_t> Node::as_number(std::string_view what, std::int64_t min, std::int64_t max,
                                            std::vector<Error>& errors) const {
  std::int64_t value = 0;
  const std::string& text = scalar();
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, value);
  const bool digits = kind() == Kind::scalar && !quoted() && stopped == end && !text.empty();
  if (!digits || (code != std::errc() && code != std::errc::result_out_of_range)) {
    errors.push_back(wrong(where(), fmt::format("{}: expected a whole number, got {}", what, got(*this))));
    return std::nullopt;
  }
  if (code == std::errc::result_out_of_range || value < min || value > max) {
    const std::string range =
        max == INT64_MAX ? fmt::format("{} or more", min) : fmt::format("{} to {}", min, max);
    errors.push_back(
        wrong(where(), fmt::format("{}: expected a number from {}, got {}", what, range, got(*this))));
    return std::nullopt;
  }
  return value;
}

std::optional<std::uint64_t> Node::as_size(std::string_view what, std::vector<Error>& errors) const {
  if (kind() == Kind::scalar) {
    if (const auto size = base::parse_size(scalar())) return size;
  }
  errors.push_back(wrong(where(), fmt::format("{}: expected a size such as 10G, got {}", what, got(*this))));
  return std::nullopt;
}

std::optional<std::vector<std::string>> Node::as_texts(std::string_view what,
                                                       std::vector<Error>& errors) const {
  if (kind() != Kind::list) {
    errors.push_back(wrong(where(), fmt::format("{}: expected a list of texts, got {}", what, got(*this))));
    return std::nullopt;
  }
  std::vector<std::string> texts;
  bool good = true;
  for (const Node& item : items()) {
    if (auto text = item.as_text(what, errors)) {
      texts.push_back(std::move(*text));
    } else {
      good = false;
    }
  }
  if (!good) return std::nullopt;
  return texts;
}

std::string_view name_of(Node::Kind kind) {
  switch (kind) {
    case Node::Kind::null:
      return "nothing";
    case Node::Kind::list:
      return "a list";
    case Node::Kind::map:
      return "a mapping";
    case Node::Kind::scalar:
      break;
  }
  return "a text";
}

}  // namespace kiln::yaml
