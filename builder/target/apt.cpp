#include "target/apt.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "target/exec.hpp"

namespace kiln::target {
namespace {

const std::map<std::string, std::string>& quiet() {
  static const std::map<std::string, std::string> env = {{"DEBIAN_FRONTEND", "noninteractive"},
                                                         {"DEBCONF_NONINTERACTIVE_SEEN", "true"},
                                                         {"APT_LISTCHANGES_FRONTEND", "none"},
                                                         {"NEEDRESTART_SUSPEND", "1"},
                                                         {"UCF_FORCE_CONFFOLD", "1"}};
  return env;
}

std::vector<std::string> apt_get(std::initializer_list<std::string> words) {
  std::vector<std::string> argv = {"apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Retries=3",
                                   // A list that could not be fetched is an error, not a warning.
                                   "-o", "APT::Update::Error-Mode=any",
                                   // Maintainer scripts get the PATH of the command itself: apt would give
                                   // dpkg one of its own, on which the stand-ins are not.
                                   "-o", "DPkg::Path=",
                                   // "a.b" is a package's name, never an expression that finds others.
                                   "-o", "APT::Cmd::Pattern-Only=true", "-o",
                                   "Dpkg::Options::=--force-confdef", "-o",
                                   "Dpkg::Options::=--force-confold"};
  argv.insert(argv.end(), words);
  return argv;
}

constexpr std::string_view not_located = "Unable to locate package ";

std::string bare(std::string_view package) {
  return std::string(package.substr(0, package.find_first_of("=:")));
}

// While one lives, the programs that would look for the build's disk have stand-ins in a booted guest; the
// sandbox always has them.
class StandIns {
 public:
  StandIns(image::System& system, image::Exec& command) : system_(system) {
    if (!system.booted()) return;
    for (const std::string_view name : image::stand_ins)
      system.write(fmt::format("{}/{}", image::stand_ins_folder, name), std::string(image::stand_in), 0755);
    command.env["PATH"] = fmt::format("{}:{}", image::stand_ins_folder, image::image_path);
  }
  StandIns(const StandIns&) = delete;
  StandIns& operator=(const StandIns&) = delete;
  ~StandIns() {
    if (!system_.booted()) return;
    try {
      system_.run(exec({"rm", "-rf", "--", std::string(image::stand_ins_folder)}, "removing the stand-ins"));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // The guest is lost; and the folder is on no disk.
    }
  }

 private:
  image::System& system_;
};

// The lines in which apt-get says why, without the "E: ".
std::vector<std::string> reasons(std::string_view output) {
  std::vector<std::string> result;
  for (const std::string& line : base::lines(output)) {
    if (line.starts_with("E: ")) result.push_back(line.substr(3));
  }
  return result;
}

}  // namespace

bool is_package(std::string_view text) {
  const auto lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  const std::size_t equals = text.find('=');
  std::string_view name = text.substr(0, equals);
  if (equals != std::string_view::npos) {
    const std::string_view version = text.substr(equals + 1);
    if (version.empty() || version.front() < '0' || version.front() > '9') return false;
    const auto fits = [&](char c) {
      return lower(c) || (c >= 'A' && c <= 'Z') ||
             std::string_view(".+:~-").find(c) != std::string_view::npos;
    };
    if (!std::all_of(version.begin(), version.end(), fits)) return false;
  }
  if (const std::size_t colon = name.find(':'); colon != std::string_view::npos) {
    const std::string_view arch = name.substr(colon + 1);
    if (arch.empty() || !std::all_of(arch.begin(), arch.end(), lower)) return false;
    name = name.substr(0, colon);
  }
  if (name.size() < 2 || !lower(name.front())) return false;
  if (name.back() == '-' || name.back() == '.') return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return lower(c) || c == '+' || c == '.' || c == '-'; });
}

std::vector<Listed> read_package_list(std::string_view text, const std::string& file) {
  std::vector<Listed> result;
  std::vector<base::Error> errors;
  int line_number = 0;
  for (const std::string& line : base::lines(text)) {
    ++line_number;
    const std::string_view name = base::trim(std::string_view(line).substr(0, line.find('#')));
    if (name.empty()) continue;
    if (is_package(name)) {
      result.push_back({std::string(name), {file, line_number, 1}});
    } else {
      errors.push_back(
          base::Error(fmt::format("'{}' is not a package name", base::printable(name)), base::Exit::usage)
              .at({file, line_number, 1})
              .hint("write one package a line, such as nginx or nginx=1.22.1-9"));
    }
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return result;
}

void Apt::update(const host::OnOutput& on_output) {
  image::Exec command = exec(apt_get({"update"}), "refreshing the package lists", quiet());
  const host::Finished done = system_.run(command, on_output);
  if (done.ok()) return;
  const std::vector<std::string> why = reasons(done.err);
  throw base::Error(
      fmt::format("apt-get update ended with {}{}", done.how(), why.empty() ? "" : ": " + why.front()))
      .hint("look at the image's /etc/apt/sources.list and at this machine's network")
      .detail(base::last_lines(done.err.empty() ? done.out : done.err, 30));
}

void Apt::install(const std::vector<std::string>& packages, bool recommends,
                  const host::OnOutput& on_output) {
  if (packages.empty()) return;
  image::Exec command =
      exec(apt_get({"install", recommends ? "--install-recommends" : "--no-install-recommends"}),
           "installing packages", quiet());
  command.argv.insert(command.argv.end(), packages.begin(), packages.end());
  const host::Finished done = [&] {
    const StandIns stand_ins(system_, command);
    return system_.run(command, on_output);
  }();
  if (done.ok()) {
    // Old versions of apt do not know Pattern-Only and would have installed whatever the expression finds.
    for (const std::string& line : base::lines(done.out)) {
      if (line.starts_with("Note, selecting") && line.find(" for regex ") != std::string::npos) {
        throw base::Error("apt-get took a name for an expression: " + line)
            .hint("no package is called so; write the names in full");
      }
    }
    return;
  }
  const std::vector<std::string> why = reasons(done.err);
  base::Error error(
      fmt::format("apt-get install ended with {}{}", done.how(), why.empty() ? "" : ": " + why.front()));
  error.detail(base::last_lines(done.err.empty() ? done.out : done.out + done.err, 30));
  if (!why.empty() && why.front().starts_with(not_located)) {
    const std::string wanted = bare(std::string_view(why.front()).substr(not_located.size()));
    const host::Finished known =
        system_.run(exec({"apt-cache", "pkgnames", wanted.substr(0, 2)}, "looking for its name"));
    const std::string guess = base::did_you_mean(wanted, base::lines(known.out));
    throw std::move(error).hint(guess.empty()
                                    ? "look for its name in this release of the distribution, or add the "
                                      "archive that has it to the image's apt sources"
                                    : fmt::format("did you mean '{}'?", guess));
  }
  if (!why.empty() && why.front().starts_with("Version ")) {
    throw std::move(error).hint(
        "the archive keeps only its newest version; leave '=VERSION' out or name that one");
  }
  throw std::move(error);
}

void Apt::clean() {
  // mmdebstrap and apt itself leave `lock` and `partial` behind: they stay, since native installs cannot
  // remove them where the store's cache of packages lies over the folder.
  const auto empty = [&](std::initializer_list<std::string> folders) {
    image::Exec command = exec({"find"}, "removing apt's lists and caches");
    command.argv.insert(command.argv.end(), folders);
    for (const char* word :
         {"-mindepth", "1", "-depth", "-not", "-name", "lock", "-not", "-name", "partial", "-delete"}) {
      command.argv.emplace_back(word);
    }
    system_.require(command);
  };
  empty({"/var/lib/apt/lists"});
  if (system_.booted()) empty({"/var/cache/apt/archives"});
  system_.require(
      exec({"rm", "-rf", "--", "/var/cache/apt/pkgcache.bin", "/var/cache/apt/srcpkgcache.bin",
            "/var/cache/ldconfig/aux-cache", "/var/cache/debconf/config.dat-old",
            "/var/cache/debconf/passwords.dat-old", "/var/cache/debconf/templates.dat-old",
            "/var/lib/dpkg/status-old", "/var/lib/dpkg/diversions-old", "/var/lib/dpkg/statoverride-old",
            "/var/lib/dpkg/available-old", "/var/log/alternatives.log", "/var/log/apt/eipp.log.xz",
            "/var/log/apt/history.log", "/var/log/apt/term.log", "/var/log/dpkg.log"},
           "removing apt's logs and backups"));
}

std::vector<std::string> Apt::releases() {
  const host::Finished done =
      system_.require(exec({"find", "/var/lib/apt/lists", "-maxdepth", "1", "-type", "f", "-name", "*Release",
                            "-exec", "sha256sum", "{}", "+"},
                           "recording the releases"));
  std::vector<std::string> result;
  for (const std::string& line : base::lines(done.out)) {
    constexpr std::string_view dists = "_dists_";
    const std::size_t at = line.find(dists);
    const std::size_t space = line.find(' ');
    if (at == std::string::npos || space == std::string::npos) continue;
    result.push_back(line.substr(0, space) + " " + line.substr(at + dists.size()));
  }
  std::sort(result.begin(), result.end());
  return result;
}

std::map<std::string, std::string> Apt::installed() {
  const host::Finished done = system_.require(
      exec({"dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package} ${Version}\\n"},
           "listing the packages"));
  std::map<std::string, std::string> result;
  for (const std::string& line : base::lines(done.out)) {
    const std::vector<std::string> words = base::split(line, ' ');
    // "ii  name version": the abbreviation is padded to three characters.
    if (words.size() == 4 && words[0] == "ii") result.emplace(words[2], words[3]);
  }
  return result;
}

std::string progress(std::string_view line) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> verbs = {
      {{"Unpacking ", "unpacking "}, {"Setting up ", "setting up "}}};
  for (const auto& [begin, verb] : verbs) {
    if (!line.starts_with(begin)) continue;
    const std::string_view rest = line.substr(begin.size());
    return std::string(verb) + std::string(rest.substr(0, rest.find(' ')));
  }
  return {};
}

}  // namespace kiln::target
