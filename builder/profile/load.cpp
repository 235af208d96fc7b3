#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <regex>
#include <set>

#include "base/size.hpp"
#include "base/text.hpp"
#include "profile/profile.hpp"

namespace kiln::profile {

using base::Error;
using base::Exit;
using base::Where;

namespace {

const std::vector<std::string> kProfileKeys = {"name",  "description", "extends", "guest",
                                               "fresh", "steps",       "proof"};
const std::vector<std::string> kGuestKeys = {"memory", "cpus"};
const std::vector<std::string> kProofKeys = {"firmware", "memory", "cpus",  "units",
                                             "may_fail", "ports",  "files", "commands"};
const std::vector<std::string> kPortKeys = {"port", "protocol", "path", "status", "body"};
const std::vector<std::string> kFileKeys = {"path", "kind", "target", "mode", "owner", "content"};
const std::vector<std::string> kCommandKeys = {"run", "status", "output"};
const std::vector<std::string> kProtocols = {"ssh", "http", "https", "tls", "smtp", "tcp"};
const std::vector<std::string> kFileKinds = {"file", "directory", "link", "absent"};
const std::vector<std::string> kFirmwares = {"bios", "uefi"};
constexpr std::int64_t kMostCpus = 64;
constexpr std::size_t kLongestPattern = 1000;

Error wrong(const Where& where, std::string message) {
  return Error(std::move(message), Exit::usage).at(where);
}

bool is_name(std::string_view text, bool upper) {
  const auto good = [upper](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (upper && c >= 'A' && c <= 'Z');
  };
  if (text.empty() || text.size() > 64 || !good(text.front())) return false;
  return std::all_of(text.begin(), text.end(),
                     [&](char c) { return good(c) || c == '.' || c == '_' || c == '-'; });
}

// Reads one profile file over what it extends.
class Loader {
 public:
  explicit Loader(std::vector<Error>& errors) : errors_(errors) {}

  // `from` is where a file that extends this one says so.
  Profile load(const std::filesystem::path& file, const Where& from) {
    std::error_code code;
    const std::filesystem::path canonical = std::filesystem::weakly_canonical(file, code);
    if (std::find(chain_.begin(), chain_.end(), canonical) != chain_.end()) {
      fail(from, fmt::format("extends: '{}' extends itself in the end", file.string()));
      return {};
    }
    if (from.line > 0 && !std::filesystem::is_regular_file(file, code)) {
      errors_.push_back(wrong(from, fmt::format("extends: no file at '{}'", file.string()))
                            .hint("the path starts from the directory of the file that says it"));
      return {};
    }
    chain_.push_back(canonical);
    Profile profile = read(file);
    chain_.pop_back();
    return profile;
  }

 private:
  void fail(const Where& where, std::string message) { errors_.push_back(wrong(where, std::move(message))); }

  Profile read(const std::filesystem::path& file) {
    const std::size_t before = errors_.size();
    Node root = Node::read(file, errors_);
    Profile profile;
    if (root.kind() == Node::Kind::null && errors_.size() > before) return profile;
    if (root.kind() != Node::Kind::map) {
      errors_.push_back(wrong({file.string(), 1, 1}, "a profile is a mapping")
                            .hint("begin with 'description:' and 'steps:'"));
      return profile;
    }
    const bool extends = root.find("extends").has_value();
    if (auto node = root.take("extends")) {
      if (auto text = node->as_text("extends", errors_)) {
        const std::size_t before_parent = errors_.size();
        profile = load((file.parent_path() / *text).lexically_normal(), node->where());
        if (errors_.size() > before_parent) profile.all_steps = false;
      }
    }
    profile.file = file;
    read_name(root, profile);
    if (auto node = root.take("description")) {
      if (auto text = node->as_text("description", errors_)) profile.description = *text;
    }
    if (auto node = root.take("guest")) read_guest(*node, profile.guest);
    if (auto node = root.take("fresh")) read_fresh(*node, profile);
    const std::size_t before_steps = errors_.size();
    if (auto node = root.take("steps")) {
      read_steps(*node, profile, extends);
    } else if (!extends) {
      errors_.push_back(
          wrong(root.where(), "no 'steps:'").hint("list what the image is made of, base first"));
    }
    if (errors_.size() > before_steps) profile.all_steps = false;
    if (auto node = root.take("proof")) read_proof(*node, profile.proof);
    root.leftovers("unknown key", kProfileKeys, errors_);
    return profile;
  }

  void read_fresh(const Node& node, Profile& profile) {
    std::vector<Error> ignored;
    if (const auto text = node.as_text("fresh", ignored); text && *text == "pinned") {
      profile.fresh = std::nullopt;
    } else if (const auto days = node.as_number("fresh", 0, kMostFreshDays, ignored)) {
      profile.fresh = static_cast<int>(*days);
    } else {
      errors_.push_back(
          wrong(node.where(),
                fmt::format("fresh: expected 'pinned' or a number of days from 0 to {}", kMostFreshDays))
              .hint("7 when it is not given; 'pinned' where mirrors serve the same for ever"));
    }
  }

  void read_name(Node& root, Profile& profile) {
    profile.name = profile.file.stem().string();
    Where where{profile.file.string(), 0, 0};
    if (auto node = root.take("name")) {
      where = node->where();
      const auto text = node->as_text("name", errors_);
      if (!text) return;
      profile.name = *text;
    }
    if (!is_name(profile.name, true)) {
      errors_.push_back(
          wrong(where, fmt::format("'{}' is no name for a profile", base::printable(profile.name)))
              .hint("use letters, digits, '.', '_' and '-', and begin with a letter or digit"));
    }
  }

  // `hint`: what to write, or "".
  bool is_map(const Node& node, std::string_view what, const std::string& hint = "") {
    if (node.kind() == Node::Kind::map) return true;
    errors_.push_back(
        wrong(node.where(), fmt::format("{}: expected a mapping of keys and values", what)).hint(hint));
    return false;
  }
  bool is_list(const Node& node, std::string_view what, const std::string& hint = "") {
    if (node.kind() == Node::Kind::list) return true;
    errors_.push_back(wrong(node.where(), fmt::format("{}: expected a list", what)).hint(hint));
    return false;
  }

  void read_machine(Node& node, std::string_view what, std::uint64_t& memory, int& cpus) {
    if (auto value = node.take("memory")) {
      if (auto size = value->as_size(fmt::format("{}.memory", what), errors_)) {
        if (*size < kLeastMemory || *size > kMostMemory) {
          fail(value->where(),
               fmt::format("{}.memory: expected {} to {}, got {}", what, base::human_size(kLeastMemory),
                           base::human_size(kMostMemory), base::human_size(*size)));
        } else {
          memory = *size;
        }
      }
    }
    if (auto value = node.take("cpus")) {
      if (auto number = value->as_number(fmt::format("{}.cpus", what), 1, kMostCpus, errors_)) {
        cpus = static_cast<int>(*number);
      }
    }
  }

  void read_guest(Node& node, Guest& guest) {
    if (!is_map(node, "guest")) return;
    read_machine(node, "guest", guest.memory, guest.cpus);
    node.leftovers("guest: unknown key", kGuestKeys, errors_);
  }

  // ---- steps

  struct Draft {
    Step step;
    std::optional<std::string> after;
    Where after_where;
  };

  void read_steps(const Node& list, Profile& profile, bool extends) {
    profile.steps_where = list.where();
    if (!is_list(list, "steps")) return;
    if (list.items().empty() && !extends) {
      errors_.push_back(
          wrong(list.where(), "steps: is empty").hint("list what the image is made of, base first"));
    }
    std::set<std::string> extended;
    for (const Step& step : profile.steps) extended.insert(step.id);
    std::vector<Draft> drafts;
    std::map<std::string, Where> own;  // explicit ids of this file
    for (Node entry : list.items()) {
      if (auto draft = read_step(entry, profile, extended, own, extends)) drafts.push_back(std::move(*draft));
    }
    std::set<std::string> used = extended;
    for (const auto& [id, where] : own) used.insert(id);
    for (Draft& draft : drafts) {
      if (!draft.step.id.empty()) continue;
      draft.step.id = draft.step.stage;
      for (int n = 2; used.contains(draft.step.id); ++n)
        draft.step.id = fmt::format("{}-{}", draft.step.stage, n);
      used.insert(draft.step.id);
    }
    place(std::move(drafts), profile, extended, extends);
  }

  std::optional<Draft> read_step(Node& entry, Profile& profile, std::set<std::string>& extended,
                                 std::map<std::string, Where>& own, bool extends) {
    if (entry.kind() != Node::Kind::map) {
      errors_.push_back(
          wrong(entry.where(), "a step is a mapping").hint("write '- STAGE:' with its options below"));
      return std::nullopt;
    }
    if (entry.find("remove")) {
      remove(entry, profile, extended, extends);
      return std::nullopt;
    }
    Draft draft;
    draft.step.where = entry.where();
    if (auto node = entry.take("id")) {
      const auto id = node->as_text("id", errors_);
      if (!id) return std::nullopt;
      if (!is_name(*id, false)) {
        errors_.push_back(
            wrong(node->where(), fmt::format("id: '{}' is no id", base::printable(*id)))
                .hint("use lower-case letters, digits, '.', '_' and '-', and begin with a letter or digit"));
        return std::nullopt;
      }
      const auto [first, fresh] = own.emplace(*id, node->where());
      if (!fresh) {
        fail(node->where(),
             fmt::format("id: '{}' is there twice, first in line {}", *id, first->second.line));
        return std::nullopt;
      }
      draft.step.id = *id;
    }
    if (auto node = entry.take("after")) {
      draft.after = node->as_text("after", errors_);
      draft.after_where = node->where();
    }
    for (const auto& [key, value] : entry.entries()) {
      if (key.scalar() == "id" || key.scalar() == "after") continue;
      if (!draft.step.stage.empty()) {
        errors_.push_back(wrong(key.where(), fmt::format("a step has one stage, but here are '{}' and '{}'",
                                                         draft.step.stage, base::printable(key.scalar())))
                              .hint("begin another step with '- ', or indent an option below its stage"));
        return std::nullopt;
      }
      draft.step.stage = key.scalar();
      draft.step.options = value;
      if (value.kind() == Node::Kind::scalar || value.kind() == Node::Kind::list) {
        errors_.push_back(wrong(value.where(), fmt::format("{}: expected a mapping of options",
                                                           base::printable(key.scalar())))
                              .hint("write each as 'NAME: VALUE' below the stage"));
        return std::nullopt;
      }
    }
    if (draft.step.stage.empty()) {
      errors_.push_back(
          wrong(entry.where(), "a step names its stage").hint("write '- STAGE:' with its options below"));
      return std::nullopt;
    }
    return draft;
  }

  void remove(Node& entry, Profile& profile, std::set<std::string>& extended, bool extends) {
    auto node = entry.take("remove");
    entry.leftovers("remove: unknown key", {"remove"}, errors_);
    const auto id = node->as_text("remove", errors_);
    if (!id) return;
    if (!extends) {
      errors_.push_back(
          wrong(node->where(), "remove: this profile extends no other").hint("delete the step itself"));
      return;
    }
    if (!extended.contains(*id)) {
      unknown_id(node->where(), "remove", *id, extended);
      return;
    }
    std::erase_if(profile.steps, [&](const Step& step) { return step.id == *id; });
    extended.erase(*id);
  }

  void unknown_id(const Where& where, std::string_view what, const std::string& id,
                  const std::set<std::string>& ids) {
    const std::vector<std::string> known(ids.begin(), ids.end());
    const std::string guess = base::did_you_mean(id, known);
    Error error = wrong(where, fmt::format("{}: no step has the id '{}'{}", what, base::printable(id),
                                           guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)));
    if (guess.empty() && !known.empty()) error.hint("known are " + base::join(known, ", "));
    errors_.push_back(std::move(error));
  }

  void place(std::vector<Draft> drafts, Profile& profile, const std::set<std::string>& extended,
             bool extends) {
    std::map<std::string, std::string> last_after;  // several steps after one keep their order
    for (Draft& draft : drafts) {
      Step step = std::move(draft.step);
      if (extended.contains(step.id)) {
        if (draft.after) {
          errors_.push_back(
              wrong(draft.after_where,
                    fmt::format("after: a step that replaces '{}' takes its place", step.id))
                  .hint("leave out 'after', or 'remove' the extended step and give this one another id"));
        }
        const auto old = std::find_if(profile.steps.begin(), profile.steps.end(),
                                      [&](const Step& other) { return other.id == step.id; });
        step.appended = old->appended;
        *old = std::move(step);
        continue;
      }
      if (!draft.after) {
        step.appended = extends;
        profile.steps.push_back(std::move(step));
        continue;
      }
      const auto last = last_after.find(*draft.after);
      const std::string& anchor = last == last_after.end() ? *draft.after : last->second;
      const auto found = std::find_if(profile.steps.begin(), profile.steps.end(),
                                      [&](const Step& other) { return other.id == anchor; });
      if (found == profile.steps.end()) {
        std::set<std::string> ids;
        for (const Step& other : profile.steps) ids.insert(other.id);
        unknown_id(draft.after_where, "after", *draft.after, ids);
        continue;
      }
      step.appended = found->appended;
      last_after[*draft.after] = step.id;
      profile.steps.insert(found + 1, std::move(step));
    }
  }

  // ---- proof

  std::optional<std::string> choice(const Node& node, std::string_view what,
                                    const std::vector<std::string>& known) {
    auto text = node.as_text(what, errors_);
    if (!text || std::find(known.begin(), known.end(), *text) != known.end()) return text;
    const std::string guess = base::did_you_mean(*text, known);
    errors_.push_back(
        wrong(node.where(), fmt::format("{}: unknown '{}'{}", what, base::printable(*text),
                                        guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)))
            .hint("known are " + base::join(known, ", ")));
    return std::nullopt;
  }

  std::string pattern(const Node& node, std::string_view what) {
    const auto text = node.as_text(what, errors_);
    if (!text) return {};
    if (text->size() > kLongestPattern) {
      fail(node.where(),
           fmt::format("{}: a regular expression of more than {} characters", what, kLongestPattern));
      return {};
    }
    try {
      static_cast<void>(std::regex(*text));
    } catch (const std::regex_error&) {
      errors_.push_back(
          wrong(node.where(), fmt::format("{}: '{}' is no regular expression", what, base::printable(*text)))
              .hint("put a backslash before a character that is meant as it stands"));
      return {};
    }
    return *text;
  }

  void read_proof(Node& node, Proof& proof) {
    if (!is_map(node, "proof")) return;
    if (auto list = node.take("firmware"); list && is_list(*list, "proof.firmware")) {
      std::vector<Firmware> firmware;
      for (const Node& item : list->items()) {
        const auto text = choice(item, "proof.firmware", kFirmwares);
        if (!text) continue;
        const Firmware one = *text == "uefi" ? Firmware::uefi : Firmware::bios;
        if (std::find(firmware.begin(), firmware.end(), one) == firmware.end()) firmware.push_back(one);
      }
      if (list->items().empty()) {
        errors_.push_back(
            wrong(list->where(), "proof.firmware: is empty").hint("write [bios], [uefi] or [bios, uefi]"));
      }
      proof.firmware = std::move(firmware);
    }
    read_machine(node, "proof", proof.memory, proof.cpus);
    read_units(node, "units", proof.units);
    read_units(node, "may_fail", proof.may_fail);
    add<PortCheck>(
        node, "ports", "{port: 22, protocol: ssh}", proof.ports,
        [&](Node& entry) { return read_port(entry); },
        [](const PortCheck& a, const PortCheck& b) { return a.port == b.port && a.path == b.path; });
    add<FileCheck>(
        node, "files", "{path: /etc/hostname, kind: file}", proof.files,
        [&](Node& entry) { return read_file(entry); },
        [](const FileCheck& a, const FileCheck& b) { return a.path == b.path; });
    add<CommandCheck>(
        node, "commands", "{run: [systemctl, is-enabled, nginx]}", proof.commands,
        [&](Node& entry) { return read_command(entry); },
        [](const CommandCheck& a, const CommandCheck& b) { return a.run == b.run; });
    node.leftovers("proof: unknown key", kProofKeys, errors_);
  }

  void read_units(Node& node, std::string_view key, std::vector<std::string>& units) {
    auto list = node.take(key);
    if (!list) return;
    const std::string what = fmt::format("proof.{}", key);
    const auto texts = list->as_texts(what, errors_);
    if (!texts) return;
    for (std::size_t i = 0; i < texts->size(); ++i) {
      const std::string& unit = (*texts)[i];
      const bool good =
          !unit.empty() && unit.front() != '-' && std::all_of(unit.begin(), unit.end(), [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                   std::string_view("@:._\\-").find(c) != std::string_view::npos;
          });
      if (!good) {
        errors_.push_back(wrong(list->items()[i].where(),
                                fmt::format("{}: '{}' is no name of a unit", what, base::printable(unit)))
                              .hint("write it as systemctl shows it, such as nginx.service"));
      } else if (std::find(units.begin(), units.end(), unit) == units.end()) {
        units.push_back(unit);
      }
    }
  }

  // Adds the entries of a list below `proof`, each such as `example`; those that are `same` as extended ones
  // replace them.
  template <typename Check, typename Read, typename Same>
  void add(Node& proof, std::string_view key, std::string_view example, std::vector<Check>& checks, Read read,
           Same same) {
    auto list = proof.take(key);
    const std::string what = fmt::format("proof.{}", key);
    const std::string hint = fmt::format("write '- {}'", example);
    if (!list || !is_list(*list, what, hint)) return;
    std::vector<Check> own;
    for (Node entry : list->items()) {
      if (!is_map(entry, what, hint)) continue;
      if (std::optional<Check> check = read(entry)) own.push_back(std::move(*check));
    }
    std::erase_if(checks, [&](const Check& old) {
      return std::any_of(own.begin(), own.end(), [&](const Check& fresh) { return same(old, fresh); });
    });
    checks.insert(checks.end(), std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()));
  }

  // A required key of `entry`; its absence is an error.
  std::optional<Node> need(Node& entry, std::string_view what, std::string_view key,
                           const std::string& hint = "") {
    auto node = entry.take(key);
    if (!node) errors_.push_back(wrong(entry.where(), fmt::format("{}: needs '{}'", what, key)).hint(hint));
    return node;
  }

  // Complains about a key that means nothing beside another one's value.
  void only_with(Node& entry, std::string_view what, std::string_view key, bool allowed,
                 std::string_view when) {
    const auto node = entry.find(key);
    if (node && !allowed)
      fail(node->where(), fmt::format("{}: '{}' means something with {} only", what, key, when));
  }

  std::optional<PortCheck> read_port(Node& entry) {
    constexpr std::string_view kWhat = "proof.ports";
    PortCheck check;
    check.where = entry.where();
    const std::size_t before = errors_.size();
    if (auto node = need(entry, kWhat, "port")) {
      if (auto number = node->as_number("proof.ports.port", 1, 65535, errors_))
        check.port = static_cast<int>(*number);
    }
    if (auto node = need(entry, kWhat, "protocol", "known are " + base::join(kProtocols, ", "))) {
      if (auto text = choice(*node, "proof.ports.protocol", kProtocols)) {
        check.protocol = *text;
        const bool web = check.protocol == "http" || check.protocol == "https";
        for (const char* key : {"path", "status", "body"})
          only_with(entry, kWhat, key, web, "http and https");
      }
    }
    if (auto node = entry.take("path")) {
      if (auto text = node->as_text("proof.ports.path", errors_)) {
        check.path = *text;
        if (!text->starts_with('/')) fail(node->where(), "proof.ports.path: has to begin with '/'");
      }
    }
    if (auto node = entry.take("status")) {
      if (auto number = node->as_number("proof.ports.status", 100, 599, errors_))
        check.status = static_cast<int>(*number);
    }
    if (auto node = entry.take("body")) check.body = pattern(*node, "proof.ports.body");
    entry.leftovers("proof.ports: unknown key", kPortKeys, errors_);
    if (errors_.size() > before) return std::nullopt;
    return check;
  }

  std::optional<FileCheck> read_file(Node& entry) {
    constexpr std::string_view kWhat = "proof.files";
    FileCheck check;
    check.where = entry.where();
    const std::size_t before = errors_.size();
    if (auto node = need(entry, kWhat, "path")) {
      if (auto text = node->as_text("proof.files.path", errors_)) {
        check.path = *text;
        if (!text->starts_with('/'))
          fail(node->where(), "proof.files.path: has to begin with '/', the root of the image");
      }
    }
    if (auto node = entry.take("kind")) {
      if (auto text = choice(*node, "proof.files.kind", kFileKinds)) check.kind = *text;
    }
    only_with(entry, kWhat, "target", check.kind == "link", "kind: link");
    only_with(entry, kWhat, "content", check.kind == "file", "kind: file");
    only_with(entry, kWhat, "mode", check.kind == "file" || check.kind == "directory",
              "kind: file or directory");
    only_with(entry, kWhat, "owner", check.kind != "absent", "a path that exists");
    if (auto node = entry.take("target"))
      check.target = node->as_text("proof.files.target", errors_).value_or("");
    if (auto node = entry.take("mode")) {
      if (auto text = node->as_text("proof.files.mode", errors_)) {
        check.mode = *text;
        const bool octal =
            text->size() >= 3 && text->size() <= 4 &&
            std::all_of(text->begin(), text->end(), [](char c) { return c >= '0' && c <= '7'; });
        if (!octal) {
          fail(node->where(), fmt::format("proof.files.mode: expected an octal mode such as 0644, got '{}'",
                                          base::printable(*text)));
        }
      }
    }
    if (auto node = entry.take("owner"))
      check.owner = node->as_text("proof.files.owner", errors_).value_or("");
    if (auto node = entry.take("content")) check.content = pattern(*node, "proof.files.content");
    entry.leftovers("proof.files: unknown key", kFileKeys, errors_);
    if (errors_.size() > before) return std::nullopt;
    return check;
  }

  std::optional<CommandCheck> read_command(Node& entry) {
    CommandCheck check;
    check.where = entry.where();
    const std::size_t before = errors_.size();
    if (auto node = need(entry, "proof.commands", "run")) {
      if (node->kind() == Node::Kind::scalar) {
        errors_.push_back(
            wrong(node->where(), "proof.commands.run: expected a list of words, got one text")
                .hint("write [systemctl, is-enabled, nginx], or [sh, -c, '...'] where a shell is meant"));
      } else if (auto words = node->as_texts("proof.commands.run", errors_)) {
        check.run = std::move(*words);
        if (check.run.empty()) fail(node->where(), "proof.commands.run: is empty");
      }
    }
    if (auto node = entry.take("status")) {
      if (auto number = node->as_number("proof.commands.status", 0, 255, errors_))
        check.status = static_cast<int>(*number);
    }
    if (auto node = entry.take("output")) check.output = pattern(*node, "proof.commands.output");
    entry.leftovers("proof.commands: unknown key", kCommandKeys, errors_);
    if (errors_.size() > before) return std::nullopt;
    return check;
  }

  std::vector<Error>& errors_;
  std::vector<std::filesystem::path> chain_;  // files being read, outermost first
};

}  // namespace

std::filesystem::path find_profile(const std::string& name, const std::filesystem::path& share) {
  std::filesystem::path path(name);
  if (name.find('/') != std::string::npos || path.extension() == ".yml" || path.extension() == ".yaml") {
    return path;
  }
  std::vector<std::string> known;
  std::vector<std::filesystem::path> folders = {"profiles"};
  if (!share.empty()) folders.push_back(share / "profiles");
  std::error_code code;
  for (const std::filesystem::path& folder : folders) {
    std::filesystem::path file = folder / (name + ".yml");
    if (std::filesystem::is_regular_file(file, code)) return file;
    for (const auto& entry : std::filesystem::directory_iterator(folder, code)) {
      if (entry.path().extension() == ".yml") known.push_back(entry.path().stem().string());
    }
  }
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  const std::string guess = base::did_you_mean(name, known);
  Error error(fmt::format("no profile '{}'{}", base::printable(name),
                          guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
              Exit::usage);
  if (std::filesystem::is_regular_file(name + ".yml", code)) {
    error.hint(fmt::format("a file of this folder is named by its path: ./{}.yml", name));
  } else if (!known.empty()) {
    error.hint(fmt::format("known are {}; a path has a '/' or ends in .yml", base::join(known, ", ")));
  } else {
    error.hint(fmt::format("looked in {}",
                           share.empty() ? "./profiles" : "./profiles and " + folders.back().string()));
  }
  throw error;
}

Profile load(const std::filesystem::path& file, std::vector<Error>& errors) {
  return Loader(errors).load(file, {});
}

}  // namespace kiln::profile
