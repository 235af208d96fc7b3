// salt_highstate: a Salt state tree applied in the booted guest. See `doc` below.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <set>

#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/tree.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/apt.hpp"
#include "target/exec.hpp"
#include "target/paths.hpp"
#include "target/private_key.hpp"
#include "target/salt.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Applies a Salt highstate inside the booted guest, without a master.

    - salt_highstate:
        tree: overlays/ecs/salt     # has top.sls
        pillar: overlays/ecs/pillar

The trees stay in the image at INTO/salt and INTO/pillar, and /etc/salt/minion.d/kiln.conf names them, so that
`salt-call --local state.highstate` does the same again in the finished image. Salt itself must be there: see
`salt_install`.

A failed state fails the build: the error names each one's id, function, file and comment. All results are kept as
salt.json beside the layer's log, and packages that the states still had to install are named, since they are
installed faster by a `packages` step. Neither tree may hold a private key. Modules of the tree's own (`_modules` and
the like) are found when their file's name contains the name they are called by.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "tree",
     .type = stage::Type::tree,
     .fallback = {},
     .required = true,
     .doc = "The state tree; has top.sls."},
    {.name = "pillar", .type = stage::Type::tree, .fallback = {}, .doc = "The pillar tree; has top.sls."},
    {.name = "into",
     .type = stage::Type::text,
     .fallback = "/srv",
     .doc = "Where the trees lie in the image: INTO/salt and INTO/pillar, replaced when they are there.",
     .pattern = "(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+",
     .write = "a whole path of letters, digits, '.', '_' and '-', such as /srv"},
    {.name = "minion_id",
     .type = stage::Type::text,
     .fallback = "appliance",
     .doc = "The name by which top files match this machine, the same in build and in use.",
     .pattern = "[A-Za-z0-9][A-Za-z0-9._-]*",
     .write = "letters, digits, '.', '_' and '-', such as appliance"},
}};

constexpr std::string_view config = "/etc/salt/minion.d/kiln.conf";

void check_tree(const std::filesystem::path& tree, const std::string& shown, std::string_view what,
                const base::Where& where) {
  if (!std::filesystem::exists(tree / "top.sls")) {
    throw base::Error(fmt::format("{} has no top.sls, so no {} would be applied", shown, what),
                      base::Exit::usage)
        .at(where)
        .hint("write one that says which of its files are for which machine");
  }
  target::refuse_private_keys(tree, host::walk(tree), fmt::format("{} tree", what), where);
}

class SaltHighstate : public stage::Stage {
 public:
  explicit SaltHighstate(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} the highstate of {}", tense == stage::Tense::will ? "Apply" : "Applying",
                       options_.path("tree").filename().string());
  }

  // Adds nothing to the key; mistakes in the trees are told before anything runs.
  void describe(stage::KeyWriter& /*key*/) const override {
    check(options_.path("tree"), options_.has("pillar") ? options_.path("pillar") : std::filesystem::path());
  }

  void run(stage::Workspace& work) const override {
    const std::filesystem::path tree = work.input(options_.path("tree"));
    const std::filesystem::path pillar =
        options_.has("pillar") ? work.input(options_.path("pillar")) : std::filesystem::path();
    check(tree, pillar);

    image::System& guest = work.guest(import_salt);
    const std::string python = interpreter(guest);
    if (python.empty()) {
      throw base::Error("the image has no salt-call")
          .at(options_.step)
          .hint("add a salt_install step before this one");
    }
    place(work, guest, tree, pillar);
    apply(work, guest, python, tree);
  }

 private:
  void check(const std::filesystem::path& tree, const std::filesystem::path& pillar) const {
    check_tree(tree, options_.path("tree").string(), "state", options_.where("tree"));
    if (!pillar.empty())
      check_tree(pillar, options_.path("pillar").string(), "pillar", options_.where("pillar"));
  }

  // Where the trees lie in the image.
  [[nodiscard]] std::string states() const { return options_.text("into") + "/salt"; }
  [[nodiscard]] std::string pillars() const { return options_.text("into") + "/pillar"; }

  static void add_tree(const std::filesystem::path& tree, const std::string& as,
                       std::vector<host::Member>& members) {
    const auto member = [&](const std::string& path, char kind, unsigned mode) -> host::Member& {
      host::Member& made = members.emplace_back();
      made.path = path;
      made.kind = kind;
      made.mode = mode;
      made.owner = made.group = "0";
      return made;
    };
    member(as, 'd', 0755);
    for (const host::TreeNode& node : host::walk(tree)) {
      const std::string path = as + "/" + node.path;
      switch (node.kind) {
        case host::NodeKind::directory:
          member(path, 'd', 0755);
          break;
        case host::NodeKind::link:
          member(path, 'l', 0777).target = node.target;
          break;
        case host::NodeKind::file:
          member(path, 'f', node.executable ? 0755 : 0644).source = tree / node.path;
          break;
      }
    }
  }

  void place(stage::Workspace& work, image::System& guest, const std::filesystem::path& tree,
             const std::filesystem::path& pillar) const {
    work.observer().doing("carrying the state tree in");
    std::vector<host::Member> members;
    add_tree(tree, "salt", members);
    if (!pillar.empty()) add_tree(pillar, "pillar", members);
    const std::filesystem::path tar = work.scratch() / "trees.tar";
    host::write_archive(tar, host::Format::tar, members);
    guest.require(target::exec({"rm", "-rf", "--", states(), pillars()}, "removing older trees"));
    guest.unpack(tar, options_.text("into"));
    guest.require(target::exec({"mkdir", "-p", target::parent(std::string(config))}, "configuring Salt"));
    guest.write(std::string(config), target::minion_config(options_.text("minion_id"), states(), pillars()));
  }

  // The Python that salt-call runs by. It is looked at as a file: to run it takes ten seconds without KVM.
  // "" when there is no Salt.
  static std::string interpreter(image::System& guest) {
    for (const std::string path : {"/usr/local/bin/salt-call", "/usr/bin/salt-call"}) {
      if (!guest.run(target::exec({"test", "-x", path}, "looking for Salt")).ok()) continue;
      const host::Finished head =
          guest.require(target::exec({"head", "-n", "1", path}, "looking for Salt's Python"));
      const std::string_view line = base::trim(head.out);
      if (line.starts_with("#!/") && line.find("python") != std::string_view::npos &&
          line.find(' ') == std::string_view::npos) {
        return std::string(line.substr(2));
      }
      return "python3";
    }
    return {};
  }

  // Has the guest import Salt before it is kept, which takes six seconds without KVM. A Salt of another kind
  // is not imported, and told of when it is run.
  static void import_salt(image::System& guest) {
    const std::string python = interpreter(guest);
    if (!python.empty())
      guest.run(target::exec({python, "-c", std::string(target::import_ahead())}, "importing Salt"));
  }

  void apply(stage::Workspace& work, image::System& guest, const std::string& python,
             const std::filesystem::path& tree) const {
    work.observer().doing("salt-call state.highstate");
    target::SaltLog log([&](std::string_view what) { work.observer().doing(what); },
                        [&](std::string_view line) { work.observer().output(line); });
    image::Exec command = target::exec(
        {python, "-c", std::string(target::log_filter()), "salt-call", "--local", "--no-color",
         "--log-file-level=quiet", "-l", "info", "--retcode-passthrough", "--out=json", "state.highstate"},
        "applying the highstate");
    command.output_file = work.scratch() / "highstate.json";
    const double begun = work.host().elapsed();
    const host::Finished done = guest.run(command, [&](host::Stream stream, std::string_view piece) {
      if (stream != host::Stream::err) return;
      work.log(piece);
      log.add(piece);
    });
    const double seconds = work.host().elapsed() - begun;
    log.finish();

    const std::string output =
        std::filesystem::exists(command.output_file) ? host::read_file(command.output_file) : std::string();
    if (base::trim(output).empty()) {
      throw base::Error(fmt::format("salt-call ended with {} and printed no result", done.how()))
          .at(options_.step)
          .hint("its messages are in the step's log")
          .detail(base::printable(base::last_lines(done.err, 30)));
    }
    const std::set<std::string> open = readable_by_others(guest, target::diffed_paths(output));
    const target::Highstate highstate =
        target::read_highstate(output, [&](const std::string& path) { return !open.contains(path); });
    work.keep("salt.json", highstate.json);
    work.log(highstate.summary(seconds) + "\n");
    if (!done.ok() || highstate.failed() > 0 || !highstate.problems.empty()) {
      base::Error error =
          target::failure(highstate, [&](const std::string& sls) { return file_of(tree, sls); });
      if (!highstate.problems.empty() && !log.errors().empty()) {
        error.detail(error.detail_text() + "\n" + base::printable(base::join(log.errors(), "\n")));
      }
      throw std::move(error);
    }
    work.observer().note(highstate.summary(seconds));
    if (const std::vector<std::string> installed = highstate.installed(); !installed.empty()) {
      work.observer().warn(
          fmt::format("the highstate installed {}; add {} to the packages step, where it is faster",
                      base::join(installed, ", "), installed.size() == 1 ? "it" : "them"));
      record(work, guest, installed);
    }
  }

  // What a mirror served ages, also when a state asked it.
  static void record(stage::Workspace& work, image::System& guest,
                     const std::vector<std::string>& installed) {
    target::Apt apt(guest);
    for (const target::Release& one : apt.releases()) work.release(one.sha256, one.name, one.url);
    const std::map<std::string, std::string> versions = apt.installed();
    for (const std::string& name : installed) {
      const auto version = versions.find(name);
      if (version != versions.end()) work.resolved(fmt::format("package {} {}", name, version->second));
    }
  }

  // Those of `paths` that not only their owner may read; what is gone meanwhile is not among them.
  static std::set<std::string> readable_by_others(image::System& guest,
                                                  const std::vector<std::string>& paths) {
    constexpr std::size_t at_once = 200;
    std::set<std::string> result;
    for (std::size_t begin = 0; begin < paths.size(); begin += at_once) {
      std::vector<std::string> argv = {"find", "-L"};
      for (std::size_t i = begin; i < std::min(paths.size(), begin + at_once); ++i) {
        if (paths[i].starts_with('/')) argv.push_back(paths[i]);
      }
      if (argv.size() == 2) continue;
      for (const char* word : {"-maxdepth", "0", "-perm", "/077", "-print"}) argv.emplace_back(word);
      const host::Finished found =
          guest.run(target::exec(std::move(argv), "looking at the modes of changed files"));
      for (std::string& line : base::lines(found.out)) result.insert(std::move(line));
    }
    return result;
  }

  // The local file of an sls name, for people; the name itself when there is none.
  [[nodiscard]] std::string file_of(const std::filesystem::path& tree, const std::string& sls) const {
    std::string path = sls;
    std::replace(path.begin(), path.end(), '.', '/');
    for (const std::string& candidate : {path + ".sls", path + "/init.sls"}) {
      if (std::filesystem::exists(tree / candidate)) return (options_.path("tree") / candidate).string();
    }
    return sls.empty() ? options_.path("tree").string() : sls;
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<SaltHighstate>(given);
}

}  // namespace

extern const stage::StageType salt_highstate;
const stage::StageType salt_highstate = {
    .name = "salt_highstate",
    .summary = "A Salt state tree, applied in the booted guest",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::guest,
    .revision = 2,
    .resolves = true,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
