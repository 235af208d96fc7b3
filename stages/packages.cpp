// packages: distribution packages by apt-get. See `doc` below.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>

#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/apt.hpp"
#include "target/exec.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Installs packages of the distribution with apt-get, without starting their daemons.

    - packages:
        install: [nginx, postgresql, docker.io]
        from: [lists/tools.txt]     # one package a line, # begins a comment

Where kiln may use namespaces and loop devices (as root) this happens natively on the mounted layer; else in a booted
guest. The content is the same by either way. What a later `salt_highstate` would install belongs here: without KVM a
highstate that finds its packages takes a sixth of the time.

A name may carry a version, `nginx=1.22.1-9`. Package lists and caches do not stay in the image.)";

constexpr std::array<stage::Option, 3> options = {{
    {.name = "install",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Names of packages, each with an optional =VERSION.",
     .pattern = "[a-z0-9][a-z0-9+.-]*[a-z0-9+](:[a-z0-9]+)?(=[0-9][A-Za-z0-9.+:~-]*)?",
     .write = "a package's name, such as nginx, nginx=1.22.1-9 or libc6:i386"},
    {.name = "from",
     .type = stage::Type::files,
     .fallback = {},
     .doc = "Files with more names, one a line; # begins a comment."},
    {.name = "recommends",
     .type = stage::Type::flag,
     .fallback = "false",
     .doc = "Install recommended packages too."},
}};

// Keeps daemons from starting while packages are installed in a booted guest, as the sandbox does by itself.
constexpr std::string_view policy = "/usr/sbin/policy-rc.d";
constexpr std::string_view policy_aside = "/usr/sbin/policy-rc.d.kiln";

class Packages : public stage::Stage {
 public:
  explicit Packages(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return (tense == stage::Tense::will ? "Install " : "Installing ") + what();
  }

  // Adds nothing to the key; a list with a bad line is told before anything runs.
  void describe(stage::KeyWriter& /*key*/) const override {
    for (const std::filesystem::path& list : options_.paths("from")) {
      target::read_package_list(host::read_file(list), list.string());
    }
  }

  void run(stage::Workspace& work) const override {
    std::vector<target::Listed> wanted;
    for (const std::string& name : options_.texts("install"))
      wanted.push_back({name, options_.where("install")});
    for (const std::filesystem::path& list : options_.paths("from")) {
      for (target::Listed& one :
           target::read_package_list(host::read_file(work.input(list)), list.string())) {
        wanted.push_back(std::move(one));
      }
    }
    std::vector<std::string> names;
    names.reserve(wanted.size());
    for (const target::Listed& one : wanted) {
      if (std::find(names.begin(), names.end(), one.name) == names.end()) names.push_back(one.name);
    }

    image::System& system = work.system();
    target::Apt apt(system, {work.package_cache("lists"), work.package_cache("debs"), work.scratch(),
                             work.host().now(), work.offline()});
    target::Lines lines([&](std::string_view line) {
      work.observer().output(line);
      if (const std::string doing = target::progress(line); !doing.empty()) work.observer().doing(doing);
    });
    const host::OnOutput on_output = [&](host::Stream, std::string_view piece) {
      work.log(piece);
      lines.add(piece);
    };
    if (system.booted()) hold_daemons(system);
    work.observer().doing(work.offline() ? "bringing the kept package lists in"
                                         : "refreshing the package lists");
    if (const auto when = apt.update(on_output)) work.resolved_at(*when);
    for (const target::Release& one : apt.releases()) work.release(one.sha256, one.name, one.url);
    const std::map<std::string, std::string> before = apt.installed();
    install(apt, names, wanted, on_output);
    lines.finish();
    for (const auto& [name, version] : apt.installed()) {
      const auto old = before.find(name);
      if (old == before.end() || old->second != version)
        work.resolved(fmt::format("package {} {}", name, version));
    }
    apt.clean();
    if (system.booted()) release_daemons(system);
  }

 private:
  // "nginx, redis" of few, "54 packages" of many.
  [[nodiscard]] std::string what() const {
    std::vector<std::string> names = options_.texts("install");
    try {
      for (const std::filesystem::path& list : options_.paths("from")) {
        for (target::Listed& one : target::read_package_list(host::read_file(list), list.string()))
          names.push_back(std::move(one.name));
      }
    } catch (const base::Error&) {
      return "packages";  // describe() says what is wrong with the list
    }
    constexpr std::size_t few = 3;
    return names.size() > few ? fmt::format("{} packages", names.size()) : base::join(names, ", ");
  }

  void install(target::Apt& apt, const std::vector<std::string>& names,
               const std::vector<target::Listed>& wanted, const host::OnOutput& on_output) const {
    try {
      apt.install(names, options_.flag("recommends"), on_output);
    } catch (base::Error& error) {
      // apt names the package; the place where it was asked for is known here only.
      const target::Listed* meant = nullptr;
      std::size_t longest = 0;
      for (const target::Listed& one : wanted) {
        const std::string name = one.name.substr(0, one.name.find_first_of("=:"));
        if (name.size() > longest && error.message().find(name) != std::string::npos) {
          longest = name.size();
          meant = &one;
        }
      }
      if (meant != nullptr) error.at(meant->where);
      throw;
    }
  }

  static bool exists(image::System& system, std::string_view path) {
    return system.run(target::exec({"test", "-e", std::string(path)}, "looking for policy-rc.d")).ok();
  }

  static void move(image::System& system, std::string_view from, std::string_view to) {
    system.require(target::exec({"mv", "--", std::string(from), std::string(to)}, "moving policy-rc.d"));
  }

  static void hold_daemons(image::System& system) {
    if (exists(system, policy)) move(system, policy, policy_aside);
    system.write(std::string(policy), "#!/bin/sh\nexit 101\n", 0755);
  }

  static void release_daemons(image::System& system) {
    system.require(target::exec({"rm", "--", std::string(policy)}, "letting daemons start again"));
    if (exists(system, policy_aside)) move(system, policy_aside, policy);
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  if (given.texts("install").empty() && given.paths("from").empty()) {
    throw base::Error("packages: nothing to install", base::Exit::usage)
        .at(given.step)
        .hint("name packages in 'install:' or files of names in 'from:'");
  }
  return std::make_unique<Packages>(given);
}

}  // namespace

extern const stage::StageType packages;
const stage::StageType packages = {
    .name = "packages",
    .summary = "Distribution packages, installed natively or in the guest",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::native_or_guest,
    .revision = 2,
    .resolves = true,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
