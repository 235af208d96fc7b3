// overlay: a local file tree copied into the image. See `doc` below.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/tree.hpp"
#include "profile/profile.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"
#include "target/private_key.hpp"
#include "target/users.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Copies a local tree into the image, over what is there.

    - overlay:
        tree: overlays/site         # overlays/site/etc/motd becomes /etc/motd
        into: /

Files become root:root and 0644, or 0755 when their execute bit is set; directories 0755; links stay links.
`overlay.yml` at the top of the tree says otherwise for some paths and is not copied itself. Later rules win; `*`
stands for anything within one part of a path, `**` for any number of parts:

    rules:
      - path: etc/sudoers.d/*
        mode: "0440"
      - path: home/app/**
        owner: app                  # a name from the image's own /etc/passwd, or a number
        group: app

Directories that are there already keep their owner and mode unless a rule names them. A private key in the tree is
an error: every copy of the image would share it; make keys on the machine at first boot.)";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "tree",
     .type = stage::Type::tree,
     .fallback = {},
     .required = true,
     .doc = "The local directory to copy."},
    {.name = "into",
     .type = stage::Type::text,
     .fallback = "/",
     .doc = "The directory of the image that the tree is laid over; made when it is not there.",
     .pattern = "/[^\\s]*",
     .write = "a whole path without spaces, such as /opt/app"},
}};

constexpr std::string_view rules_file = "overlay.yml";

struct Rule {
  std::string path;
  std::optional<unsigned> mode;
  std::string owner;
  std::string group;
  base::Where where;
};

std::optional<unsigned> parse_mode(std::string_view text) {
  if (text.starts_with("0o")) text.remove_prefix(2);
  if (text.size() < 3 || text.size() > 5 || (text.size() == 5 && text.front() != '0')) return std::nullopt;
  unsigned mode = 0;
  for (const char c : text) {
    if (c < '0' || c > '7') return std::nullopt;
    mode = mode * 8 + static_cast<unsigned>(c - '0');
  }
  return mode;
}

std::optional<Rule> read_rule(const profile::Node& node, std::vector<base::Error>& errors) {
  if (node.kind() != profile::Node::Kind::map) {
    errors.push_back(
        base::Error("expected a rule with 'path:' and some of owner, group, mode", base::Exit::usage)
            .at(node.where()));
    return std::nullopt;
  }
  profile::Node fields = node;
  Rule rule{.path = {}, .mode = {}, .owner = {}, .group = {}, .where = node.where()};
  const std::size_t before = errors.size();
  if (const auto path = fields.take("path")) {
    rule.path = path->as_text("path", errors).value_or("");
  } else {
    errors.push_back(base::Error("the rule names no path", base::Exit::usage)
                         .at(node.where())
                         .hint("add 'path:', relative to the tree; * and ** are allowed"));
  }
  if (const auto mode = fields.take("mode")) {
    // Read as it is written: YAML's 0440 and "0440" mean the same here.
    rule.mode = mode->kind() == profile::Node::Kind::scalar ? parse_mode(mode->scalar()) : std::nullopt;
    if (!rule.mode) {
      errors.push_back(base::Error("mode: expected octal digits", base::Exit::usage)
                           .at(mode->where())
                           .hint("write it as in \"0640\""));
    }
  }
  if (const auto owner = fields.take("owner")) rule.owner = owner->as_text("owner", errors).value_or("");
  if (const auto group = fields.take("group")) rule.group = group->as_text("group", errors).value_or("");
  fields.leftovers("rule: unknown key", {"path", "owner", "group", "mode"}, errors);
  if (errors.size() != before) return std::nullopt;
  return rule;
}

// The rules of a tree, none when it has no overlay.yml. `shown` is the path for error texts. Throws
// base::Error, base::Errors.
std::vector<Rule> read_rules(const std::filesystem::path& file, const std::string& shown) {
  std::vector<Rule> rules;
  // Of a link the key holds no more than its text.
  if (std::filesystem::is_symlink(file)) {
    throw base::Error(fmt::format("{} is a link", rules_file), base::Exit::usage)
        .at({shown, 0, 0})
        .hint("put the file itself there");
  }
  if (!std::filesystem::exists(file)) return rules;
  std::vector<base::Error> errors;
  profile::Node top = profile::Node::parse(host::read_file(file), shown, errors);
  if (errors.empty() && top.kind() != profile::Node::Kind::map) {
    errors.push_back(base::Error("expected 'rules:'", base::Exit::usage)
                         .at(top.where())
                         .hint("see `kiln stages overlay`"));
  }
  if (errors.empty()) {
    if (const auto list = top.take("rules")) {
      if (list->kind() != profile::Node::Kind::list) {
        errors.push_back(base::Error("rules: expected a list", base::Exit::usage).at(list->where()));
      } else {
        for (const profile::Node& item : list->items()) {
          if (auto rule = read_rule(item, errors)) rules.push_back(std::move(*rule));
        }
      }
    }
    top.leftovers("unknown key", {"rules"}, errors);
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return rules;
}

// A rule that fits nothing is a slip: what it was to protect would be world-readable.
void check_rules_fit(const std::vector<Rule>& rules, const std::vector<host::TreeNode>& nodes) {
  std::vector<base::Error> errors;
  for (const Rule& rule : rules) {
    const bool fits = std::any_of(nodes.begin(), nodes.end(), [&](const host::TreeNode& node) {
      return target::matches(rule.path, node.path);
    });
    if (fits) continue;
    errors.push_back(
        base::Error(fmt::format("the path '{}' fits nothing in the tree", rule.path), base::Exit::usage)
            .at(rule.where)
            .hint("paths are relative to the tree; ** stands for any number of directories"));
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
}

class Overlay : public stage::Stage {
 public:
  explicit Overlay(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} {} to {}", tense == stage::Tense::will ? "Copy" : "Copying",
                       options_.path("tree").filename().string(), options_.text("into"));
  }

  // Adds nothing to the key; mistakes in the tree are told before anything runs.
  void describe(stage::KeyWriter& /*key*/) const override {
    const std::filesystem::path tree = options_.path("tree");
    const std::vector<host::TreeNode> nodes = host::walk(tree);
    check_rules_fit(read_rules(tree / rules_file, (tree / rules_file).string()), nodes);
    target::refuse_private_keys(tree, nodes, "overlay", options_.where("tree"));
  }

  void run(stage::Workspace& work) const override {
    const std::filesystem::path tree = work.input(options_.path("tree"));
    const std::vector<Rule> rules =
        read_rules(tree / rules_file, (options_.path("tree") / rules_file).string());
    const std::vector<host::TreeNode> nodes = host::walk(tree);
    check_rules_fit(rules, nodes);
    target::refuse_private_keys(tree, nodes, "overlay", options_.where("tree"));

    image::Files& files = work.files();
    const target::Users users = target::Users::read(files);
    std::vector<host::Member> members;
    // Where each directory of the tree really lies in the image: through links, and only within it, so that
    // nothing in the archive goes through a link.
    std::map<std::string, std::string> folders;
    folders.emplace("", prepare_top(files, members));
    for (const host::TreeNode& node : nodes) {
      if (node.path.empty() || node.path == rules_file) continue;
      add(files, users, rules, tree, node, folders, members);
    }
    const std::filesystem::path tar = work.scratch() / "overlay.tar";
    host::write_archive(tar, host::Format::tar, members);
    work.observer().doing(fmt::format("copying {} files", members.size()));
    files.unpack(tar, "/");
    std::string log;
    for (const host::Member& member : members) {
      log += fmt::format("{} {:04o} {}:{} /{}\n", member.kind, member.mode, member.owner, member.group,
                         member.path);
    }
    work.log(log);
  }

 private:
  // Where `into` leads; directories that are not there yet are added to the archive.
  std::string prepare_top(image::Files& files, std::vector<host::Member>& members) const {
    const std::string top = target::resolve(files, options_.text("into"));
    std::string at;
    for (const std::string& part : base::split(top, '/')) {
      if (part.empty()) continue;
      at += "/" + part;
      const auto stat = files.find(at);
      if (!stat) {
        members.push_back(directory(at));
      } else if (stat->kind != 'd') {
        throw base::Error(fmt::format("{} is no directory in the image", at)).at(options_.where("into"));
      }
    }
    return top;
  }

  static host::Member directory(const std::string& path) {
    host::Member member;
    member.path = path.substr(1);
    member.kind = 'd';
    member.mode = 0755;
    member.owner = member.group = "0";
    return member;
  }

  void add(image::Files& files, const target::Users& users, const std::vector<Rule>& rules,
           const std::filesystem::path& tree, const host::TreeNode& node,
           std::map<std::string, std::string>& folders, std::vector<host::Member>& members) const {
    const std::size_t slash = node.path.find_last_of('/');
    const std::string above = slash == std::string::npos ? "" : node.path.substr(0, slash);
    const std::string path = target::join_path(
        folders.at(above), std::string_view(node.path).substr(slash == std::string::npos ? 0 : slash + 1));
    const auto there = files.find(path);
    if (node.kind == host::NodeKind::directory) {
      const std::string real = there && there->kind == 'l' ? target::resolve(files, path) : path;
      const auto real_there = there && there->kind == 'l' ? files.find(real) : there;
      if (there && (!real_there || real_there->kind != 'd')) {
        throw clash(path, real_there ? "no directory" : "a link that leads nowhere", "a directory", node);
      }
      folders.emplace(node.path, real);
      host::Member member = directory(real);
      if (real_there) {
        member.mode = real_there->mode;
        member.owner = std::to_string(real_there->uid);
        member.group = std::to_string(real_there->gid);
      }
      const bool ruled = apply(rules, users, node.path, member);
      if (!real_there || ruled) members.push_back(std::move(member));
      return;
    }
    if (there && there->kind == 'd') throw clash(path, "a directory", "none", node);
    host::Member member = directory(path);
    if (node.kind == host::NodeKind::link) {
      member.kind = 'l';
      member.mode = 0777;
      member.target = node.target;
      apply(rules, users, node.path, member);
      member.mode = 0777;  // a link has no mode of its own
    } else {
      member.kind = 'f';
      member.mode = node.executable ? 0755 : 0644;
      member.source = tree / node.path;
      apply(rules, users, node.path, member);
    }
    members.push_back(std::move(member));
  }

  [[nodiscard]] base::Error clash(const std::string& path, std::string_view is, std::string_view wanted,
                                  const host::TreeNode& node) const {
    return base::Error(fmt::format("{} is {} in the image and {} in the tree", path, is, wanted))
        .at({(options_.path("tree") / node.path).string(), 0, 0})
        .hint("rename one, or remove it from the image in an earlier step");
  }

  // True when a rule fits `path`; the last one wins, field by field.
  static bool apply(const std::vector<Rule>& rules, const target::Users& users, const std::string& path,
                    host::Member& member) {
    bool ruled = false;
    for (const Rule& rule : rules) {
      if (!target::matches(rule.path, path)) continue;
      ruled = true;
      if (rule.mode) member.mode = *rule.mode;
      if (!rule.owner.empty()) {
        member.owner = number(users.uid(rule.owner), "user", rule.owner, users.user_names(), rule.where);
      }
      if (!rule.group.empty()) {
        member.group = number(users.gid(rule.group), "group", rule.group, users.group_names(), rule.where);
      }
    }
    return ruled;
  }

  static std::string number(std::optional<int> id, std::string_view what, const std::string& name,
                            const std::vector<std::string>& known, const base::Where& where) {
    if (id) return std::to_string(*id);
    const std::string guess = base::did_you_mean(name, known);
    throw base::Error(fmt::format("the image has no {} '{}'", what, name))
        .at(where)
        .hint(guess.empty() ? "make it in an earlier step, or write its number"
                            : fmt::format("did you mean '{}'?", guess));
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<Overlay>(given);
}

}  // namespace

extern const stage::StageType overlay;
const stage::StageType overlay = {
    .name = "overlay",
    .summary = "A local file tree, with owners and modes",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
