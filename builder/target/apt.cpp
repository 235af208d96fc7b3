#include "target/apt.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/download.hpp"
#include "image/deb_cache.hpp"
#include "image/list_cache.hpp"
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

constexpr std::string_view lists_folder = "/var/lib/apt/lists";
constexpr std::string_view archives_folder = "/var/cache/apt/archives";

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

// While one lives, kept lists lie in the image with a method that serves them; on the disk, since /run is
// small and nothing may be executed there.
class OfflineLists {
 public:
  OfflineLists(image::System& system, const std::filesystem::path& tar) : system_(system) {
    system_.unpack(tar, folder + "/lists");
    // With those that verify and unpack as they are.
    system_.require(exec({"cp", "-r", "--symbolic-link", "/usr/lib/apt/methods", folder}, carrying));
    for (const std::string_view name : image::network_methods)
      system_.write(methods() + std::string(name), std::string(image::offline_method), 0755);
  }
  OfflineLists(const OfflineLists&) = delete;
  OfflineLists& operator=(const OfflineLists&) = delete;
  ~OfflineLists() {
    try {
      system_.run(exec({"rm", "-rf", "--", folder}, carrying));
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // The guest is lost, and the layer with it.
    }
  }
  static std::string methods() { return folder + "/methods/"; }

 private:
  static inline const std::string folder = "/var/lib/apt/kiln-offline";
  static constexpr const char* carrying = "bringing the kept package lists in";
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

void run_update(image::System& system, const image::Exec& command, const host::OnOutput& on_output) {
  const host::Finished done = system.run(command, on_output);
  if (done.ok()) return;
  const std::vector<std::string> why = reasons(done.err);
  throw base::Error(
      fmt::format("apt-get update ended with {}{}", done.how(), why.empty() ? "" : ": " + why.front()))
      .hint("look at the image's /etc/apt/sources.list and at this machine's network")
      .detail(base::last_lines(done.err.empty() ? done.out : done.err, 30));
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

std::vector<Wanted> read_uris(std::string_view output) {
  std::vector<Wanted> result;
  for (const std::string& line : base::lines(output)) {
    // 'URL' FILE SIZE SHA256:DIGEST
    const std::vector<std::string> words = base::split(line, ' ');
    constexpr std::string_view kind = "SHA256:";
    if (words.size() != 4 || !words[0].starts_with('\'') || !words[3].starts_with(kind)) continue;
    Wanted one{words[1], words[3].substr(kind.size())};
    const bool plain = one.file.ends_with(".deb") && one.file.find('/') == std::string::npos &&
                       !one.file.starts_with('.') && !one.file.starts_with('-');
    if (plain && base::is_sha256(one.sha256)) result.push_back(std::move(one));
  }
  return result;
}

std::string list_url(const std::string& file, std::string_view sources) {
  std::string path;
  for (std::size_t i = 0; i < file.size(); ++i) {
    const auto digit = [&](std::size_t at) {
      const char c = at < file.size() ? file[at] : 'x';
      return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    };
    if (file[i] == '_') {
      path += '/';
    } else if (file[i] == '%' && digit(i + 1) >= 0 && digit(i + 2) >= 0) {
      path += static_cast<char>(digit(i + 1) * 16 + digit(i + 2));
      i += 2;
    } else {
      path += file[i];
    }
  }
  if (path.starts_with('/')) return "file://" + path;
  const std::string secure = "https://" + path.substr(0, path.find('/'));
  return (sources.find(secure) == std::string_view::npos ? "http://" : "https://") + path;
}

const std::string& Apt::sources() {
  if (sources_) return *sources_;
  const host::Finished files = system_.run(
      exec({"find", "-L", "/etc/apt/sources.list", "/etc/apt/sources.list.d", "-maxdepth", "1", "-type", "f",
            "(", "-name", "*.list", "-o", "-name", "*.sources", ")", "-exec", "cat", "{}", "+"},
           "looking at the package sources"));
  std::vector<std::string> lines = base::lines(files.out);
  std::sort(lines.begin(), lines.end());
  sources_ = base::join(lines, "\n");
  return *sources_;
}

std::string Apt::list_key() {
  std::string key = sources();
  for (const char* which : {"--print-architecture", "--print-foreign-architectures"}) {
    const host::Finished said = system_.run(exec({"dpkg", which}, "asking for the architecture"));
    key += fmt::format("\n{} {}", which, base::join(base::lines(said.out), " "));
  }
  return key;
}

void Apt::keep_lists(const std::string& key) {
  const image::ListCache cache(kept_->lists);
  std::string now;
  for (const Release& one : releases()) now += one.sha256 + " " + one.name + "\n";
  // What is there already need not pass through a guest's slow door.
  if (cache.refreshed(key, now, kept_->now)) return;
  image::Exec names =
      exec({"find", std::string(lists_folder), "-maxdepth", "1", "-type", "f", "-printf", "%f\\n"},
           "looking at the package lists");
  image::Exec command =
      exec({"tar", "--create", "--directory", std::string(lists_folder), "--file", "-", "--"},
           "keeping the package lists");
  for (const std::string& name : base::lines(system_.require(names).out)) {
    if (image::is_kept_list(name)) command.argv.push_back(name);
  }
  if (command.argv.back() == "--") return;
  command.output_file = kept_->scratch / "lists.tar";
  system_.require(command);
  cache.keep(key, now, command.output_file, kept_->now);
}

std::optional<std::int64_t> Apt::update(const host::OnOutput& on_output) {
  image::Exec command = exec(apt_get({"update"}), "refreshing the package lists", quiet());
  if (!kept_) {
    run_update(system_, command, on_output);
    return std::nullopt;
  }
  const std::string which = list_key();
  if (!kept_->offline) {
    // As they are digested in the release files, whatever the image's apt is told.
    command.argv.insert(command.argv.end(), {"-o", "Acquire::GzipIndexes=false"});
    run_update(system_, command, on_output);
    keep_lists(which);
    return std::nullopt;
  }
  const std::filesystem::path tar = kept_->scratch / "lists.tar";
  const auto when = image::ListCache(kept_->lists).take(which, tar);
  if (!when) throw host::not_kept("the package lists of the image's sources");
  const OfflineLists served(system_, tar);
  const auto option = [&](std::string text) {
    command.argv.insert(command.argv.end(), {"-o", std::move(text)});
  };
  option("Dir::Bin::Methods=" + OfflineLists::methods());
  // How old they may be is the profile's affair.
  option("Acquire::Check-Valid-Until=false");
  option("Acquire::GzipIndexes=false");
  option("Acquire::Languages=none");
  option("Acquire::Retries=0");
  run_update(system_, command, on_output);
  return when;
}

void Apt::carry_in(std::vector<Wanted>& wanted) {
  std::vector<host::Member> members;
  std::vector<Wanted> rest;
  for (Wanted& one : wanted) {
    const auto file = image::DebCache::find(kept_->debs, one.file, one.sha256);
    if (!file) {
      rest.push_back(std::move(one));
      continue;
    }
    host::Member member;
    member.path = one.file;
    member.owner = member.group = "0";
    member.source = *file;
    members.push_back(std::move(member));
  }
  wanted = std::move(rest);
  if (members.empty() || (kept_->offline && !wanted.empty())) return;
  const std::filesystem::path tar = kept_->scratch / "debs.tar";
  host::write_archive(tar, host::Format::tar, members);
  system_.unpack(tar, std::string(archives_folder));
  std::filesystem::remove(tar);
}

void Apt::drop_wrong(std::vector<Wanted>& wanted) {
  if (wanted.empty()) return;
  // apt itself looks at no more than the size of a file that is there.
  image::Exec sums = exec({"sha256sum", "--"}, "looking at the kept packages");
  for (const Wanted& one : wanted) sums.argv.push_back(fmt::format("{}/{}", archives_folder, one.file));
  std::map<std::string, std::string> there;
  for (const std::string& line : base::lines(system_.run(sums).out)) {
    const std::size_t slash = line.rfind('/');
    if (slash != std::string::npos) there.emplace(line.substr(slash + 1), line.substr(0, line.find(' ')));
  }
  image::Exec drop = exec({"rm", "-f", "--"}, "removing packages that are not what the lists say");
  const std::size_t none = drop.argv.size();
  std::erase_if(wanted, [&](const Wanted& one) {
    const auto found = there.find(one.file);
    if (found == there.end()) return false;
    if (found->second == one.sha256) return true;
    drop.argv.push_back(fmt::format("{}/{}", archives_folder, one.file));
    return false;
  });
  if (drop.argv.size() > none) system_.require(drop);
}

std::vector<Wanted> Apt::offer(const std::vector<std::string>& packages, bool recommends) {
  image::Exec ask = exec(apt_get({"install", recommends ? "--install-recommends" : "--no-install-recommends",
                                  "--print-uris", "-o", "Acquire::ForceHash=SHA256",
                                  // All it wants, also what lies in the folder of archives.
                                  "-o", "Dir::Cache::Archives=/nonexistent/"}),
                         "asking which packages are wanted", quiet());
  ask.argv.insert(ask.argv.end(), packages.begin(), packages.end());
  const host::Finished said = system_.run(ask);
  if (!said.ok()) return {};  // installing them says why
  std::vector<Wanted> wanted = read_uris(said.out);
  if (system_.booted())
    carry_in(wanted);
  else
    drop_wrong(wanted);
  if (kept_->offline && !wanted.empty()) {
    std::vector<std::string> names;
    names.reserve(wanted.size());
    for (const Wanted& one : wanted) names.push_back(one.file);
    throw host::not_kept(host::some_of(names));
  }
  return wanted;
}

void Apt::carry_out(const std::vector<Wanted>& fetched) {
  if (fetched.empty()) return;
  image::Exec command =
      exec({"tar", "--create", "--directory", std::string(archives_folder), "--file", "-", "--"},
           "keeping the packages");
  for (const Wanted& one : fetched) command.argv.push_back(one.file);
  command.output_file = kept_->scratch / "debs.tar";
  // Some may be gone: an image can tell its apt to keep none.
  system_.run(command);
  host::read_archive(command.output_file, [&](const host::Member& member, const host::Content& read) {
    const auto known = std::find_if(fetched.begin(), fetched.end(), [&](const Wanted& one) {
      return one.file == member.path && member.kind == 'f';
    });
    if (known == fetched.end()) return;
    const std::string content = read();
    if (base::sha256(content) == known->sha256) image::DebCache::keep(kept_->debs, known->file, content);
  });
  std::filesystem::remove(command.output_file);
}

void Apt::install(const std::vector<std::string>& packages, bool recommends,
                  const host::OnOutput& on_output) {
  if (packages.empty()) return;
  std::vector<Wanted> fetched;
  if (kept_) fetched = offer(packages, recommends);
  image::Exec command =
      exec(apt_get({"install", recommends ? "--install-recommends" : "--no-install-recommends"}),
           "installing packages", quiet());
  if (kept_ && kept_->offline) command.argv.emplace_back("--no-download");
  command.argv.insert(command.argv.end(), packages.begin(), packages.end());
  const host::Finished done = [&] {
    const StandIns stand_ins(system_, command);
    return system_.run(command, on_output);
  }();
  if (done.ok()) {
    if (system_.booted()) carry_out(fetched);
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

std::vector<Release> Apt::releases() {
  const host::Finished done =
      system_.require(exec({"find", "/var/lib/apt/lists", "-maxdepth", "1", "-type", "f", "-name", "*Release",
                            "-exec", "sha256sum", "{}", "+"},
                           "recording the releases"));
  std::vector<Release> result;
  for (const std::string& line : base::lines(done.out)) {
    constexpr std::string_view dists = "_dists_";
    const std::size_t at = line.find(dists);
    const std::size_t space = line.find(' ');
    if (at == std::string::npos || space == std::string::npos) continue;
    result.push_back({line.substr(0, space), line.substr(at + dists.size()),
                      list_url(line.substr(line.rfind('/') + 1), sources())});
  }
  std::sort(result.begin(), result.end(),
            [](const Release& a, const Release& b) { return a.sha256 + a.name < b.sha256 + b.name; });
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
