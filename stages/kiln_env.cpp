// kiln_env: kiln-env with all that it needs, in a tree of its own. See `doc` below.

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <iterator>
#include <map>
#include <vector>

#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/libraries.hpp"
#include "host/program_folder.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;

constexpr std::string_view doc =
    R"(Puts kiln-env into the image, with its own loader and libraries: an image whose libc is older runs it as well.

    - kiln_env: {}

| in the image | what |
|---|---|
| `/usr/local/lib/kiln` | the tree: kiln-env, gpg, gpg-agent, pdftoppm, xorriso, mdir, mtype, what they are loaded with, fonts; about 80 MiB |
| `/usr/local/bin/kiln-env`, `flatyaml`, `flatyaml.py` | start what is in it |
| `/usr/local/sbin/env-create.sh`, `env-package.sh`, `env-update.sh` | the same for one verb |

All of it comes from the machine that builds. The tree needs of the image a `/bin/sh`, `/proc`, `/dev/null` and a folder
for temporary files, and works wherever it is copied to. Its programs find each other on their own PATH; no
LD_LIBRARY_PATH reaches what they start.

The files' content is part of the key: with another gpg, or another libc, the step runs again.)";

constexpr std::array<stage::Option, 1> options = {{
    {.name = "program",
     .type = stage::Type::file,
     .fallback = {},
     .doc = "The kiln-env to put in; without it the one beside kiln."},
}};

// What kiln-env runs.
constexpr std::array<std::string_view, 6> tools = {"gpg",   "gpg-agent", "mdir",
                                                   "mtype", "pdftoppm",  "xorriso"};

// What an environment is printed in.
constexpr const char* fonts_folder = "/usr/share/fonts/truetype/dejavu";
constexpr std::array<const char*, 3> fonts = {"DejaVuSans-Bold.ttf", "DejaVuSans.ttf", "DejaVuSansMono.ttf"};

// Asked for by libc itself where an nsswitch.conf says "compat", as Ubuntu Xenial's does; nothing lists it.
constexpr const char* nss_compat = "libnss_compat.so.2";

constexpr std::array<std::string_view, 3> names = {"kiln-env", "flatyaml", "flatyaml.py"};
constexpr std::array<std::string_view, 3> verbs = {"create", "package", "update"};

// ---- how the programs are started

// The cache of libraries is left aside: it is the image's, whose libc is another.
std::string starter(std::string_view program, std::string_view variables, std::string_view arguments) {
  return fmt::format(R"(#!/bin/sh
# Starts {0} with the loader and the libraries of this tree, wherever it lies.
kiln=$(CDPATH='' cd -- "${{0%/*}}/.." && pwd -P) || exit 127
export {1}
exec "$kiln/lib/ld.so" --inhibit-cache --library-path "$kiln/lib" --argv0 "$0" "$kiln/bin/{0}" {2}"$@"
)",
                     program, variables, arguments);
}

// kiln-env goes by the name it is called by.
std::string kiln_env_starter() {
  return starter(
      "kiln-env",
      "PATH=\"$kiln/libexec:${PATH:-/usr/local/bin:/usr/bin:/bin}\" KILN_ENV_FONTS=\"$kiln/fonts\"", "");
}

// The image's locales are files for its libc, which another may not bear; nobody reads what these say.
// mtools does not start without the code page of FAT's names. gpg has the path of its agent compiled in.
std::string tool_starter(std::string_view program) {
  const bool mtools = program == "mdir" || program == "mtype";
  return starter(program, mtools ? "LC_ALL=C GCONV_PATH=\"$kiln/gconv\"" : "LC_ALL=C",
                 program == "gpg" ? "--agent-program \"$kiln/libexec/gpg-agent\" " : "");
}

// GPGME asks the first gpgconf on PATH where gpg is. The image's own would name the image's.
constexpr std::string_view gpgconf = R"(#!/bin/sh
# Says to GPGME where gpg is in this tree.
kiln=$(CDPATH='' cd -- "${0%/*}/.." && pwd -P) || exit 127
[ "$1" != --list-components ] || echo "gpg:OpenPGP:$kiln/libexec/gpg"
)";

// All the conversions that libc shall look for here.
constexpr std::string_view gconv_modules = R"(alias CP850// IBM850//
module IBM850// INTERNAL IBM850 1
module INTERNAL IBM850// IBM850 1
)";

std::string user_program(std::string_view name, std::string_view verb) {
  return fmt::format("#!/bin/sh\nexec \"${{0%/*}}/../lib/kiln/libexec/{}\" {}\"$@\"\n", name, verb);
}

// ---- the files of this machine

using Files = std::map<std::string, fs::path>;  // path in the tree, and the file that goes there

Error missing(std::string_view what, std::string_view hint) {
  return Error(fmt::format("'{}' is missing, which goes into the image", what), Exit::missing)
      .hint(std::string(hint));
}

fs::path real(const fs::path& file, std::string_view hint) {
  std::error_code code;
  fs::path found = fs::canonical(file, code);
  if (code || !fs::is_regular_file(found, code)) throw missing(file.string(), hint);
  return found;
}

fs::path find_tool(std::string_view name, const host::Host& host) {
  constexpr std::string_view hint = "`kiln doctor` says which package has it";
  const auto found = host.runner->find_program(std::string(name));
  if (!found) throw missing(name, hint);
  return real(*found, hint);
}

// What libc itself loads while it runs lies beside it.
void add_of_libc(Files& files) {
  const auto libc = files.find("lib/libc.so.6");
  if (libc == files.end()) return;
  const fs::path folder = libc->second.parent_path();
  files["gconv/IBM850.so"] = real(folder / "gconv/IBM850.so", "it comes with libc");
  std::error_code code;
  const fs::path compat = fs::canonical(folder / nss_compat, code);
  if (!code) files[fmt::format("lib/{}", nss_compat)] = compat;
}

void add_loaded(Files& files, const host::Host& host) {
  const Files programs = files;
  for (const auto& [path, program] : programs) {
    const host::Loaded loaded = host::loaded_with(program, host);
    files["lib/ld.so"] = loaded.loader;
    for (const auto& [name, library] : loaded.libraries) {
      const auto [there, is_new] = files.emplace("lib/" + name, library);
      if (!is_new && there->second != library)
        throw Error(fmt::format("{} is loaded with a library '{}' of its own, '{}'", program.string(), name,
                                library.string()))
            .hint(fmt::format("the tree has room for one, which is '{}'", there->second.string()));
    }
  }
  add_of_libc(files);
}

Files collect(const fs::path& kiln_env, const host::Host& host) {
  Files files = {{"bin/kiln-env", real(kiln_env, "name it with 'program:'")}};
  for (const std::string_view tool : tools) files[fmt::format("bin/{}", tool)] = find_tool(tool, host);
  add_loaded(files, host);
  for (const char* font : fonts)
    files[fmt::format("fonts/{}", font)] =
        real(fs::path(fonts_folder) / font, "apt-get install fonts-dejavu-core");
  return files;
}

// ---- the stage

host::Member member(std::string path, char kind, unsigned mode) {
  host::Member made;
  made.path = std::move(path);
  made.kind = kind;
  made.mode = mode;
  made.owner = made.group = "0";
  return made;
}

// Where /usr/local/NAME really is in the image, without the '/' in front; made when it is not there.
std::string folder(image::Files& files, std::string_view name) {
  const std::string path = target::resolve(files, fmt::format("/usr/local/{}", name));
  target::make_directories(files, path);
  return path.substr(1);
}

host::Member script(std::string path, std::string text) {
  host::Member made = member(std::move(path), 'f', 0755);
  made.content = std::move(text);
  return made;
}

std::vector<host::Member> starters(const std::string& tree) {
  std::vector<host::Member> made;
  made.reserve(names.size() + tools.size() + 2);
  for (const std::string_view name : names)
    made.push_back(script(fmt::format("{}/libexec/{}", tree, name), kiln_env_starter()));
  for (const std::string_view tool : tools)
    made.push_back(script(fmt::format("{}/libexec/{}", tree, tool), tool_starter(tool)));
  made.push_back(script(tree + "/libexec/gpgconf", std::string(gpgconf)));
  made.push_back(member(tree + "/gconv/gconv-modules", 'f', 0644));
  made.back().content = gconv_modules;
  return made;
}

std::vector<host::Member> user_programs(const std::string& bin, const std::string& sbin) {
  std::vector<host::Member> made;
  made.reserve(names.size() + verbs.size());
  for (const std::string_view name : names)
    made.push_back(script(fmt::format("{}/{}", bin, name), user_program(name, "")));
  for (const std::string_view verb : verbs)
    made.push_back(
        script(fmt::format("{}/env-{}.sh", sbin, verb), user_program("kiln-env", fmt::format("{} ", verb))));
  return made;
}

class KilnEnv : public stage::Stage {
 public:
  explicit KilnEnv(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Put kiln-env in" : "Putting kiln-env in";
  }

  // A plan can be made where a program is missing: the build asks for all of them before anything runs.
  void describe(stage::KeyWriter& key) const override {
    for (const std::string_view tool : tools)
      if (!key.host().runner->find_program(std::string(tool))) return key.fact("missing", tool);
    for (const auto& [path, file] : collect(program(), key.host())) key.input(path, file);
  }

  void run(stage::Workspace& work) const override {
    image::Files& files = work.files();
    const std::string tree = folder(files, "lib") + "/kiln";
    // Libraries of an earlier build would stay in it, and be loaded.
    files.remove("/" + tree);
    std::vector<host::Member> members = tree_of_files(work, tree);
    const auto add = [&](std::vector<host::Member> more) {
      std::move(more.begin(), more.end(), std::back_inserter(members));
    };
    add(starters(tree));
    add(user_programs(folder(files, "bin"), folder(files, "sbin")));

    const fs::path tar = work.scratch() / "kiln-env.tar";
    host::write_archive(tar, host::Format::tar, members);
    work.observer().doing(fmt::format("copying {} files", members.size()));
    files.unpack(tar, "/");
    for (const host::Member& one : members)
      work.log(fmt::format("{} {:04o} /{}\n", one.kind, one.mode, one.path));
  }

 private:
  [[nodiscard]] fs::path program() const {
    return options_.has("program") ? options_.path("program") : host::program_folder() / "kiln-env";
  }

  [[nodiscard]] std::vector<host::Member> tree_of_files(stage::Workspace& work,
                                                        const std::string& tree) const {
    std::vector<host::Member> members;
    for (const char* below : {"", "/bin", "/fonts", "/gconv", "/lib", "/libexec"})
      members.push_back(member(tree + below, 'd', 0755));
    for (const auto& [path, file] : collect(program(), work.host())) {
      const bool runs = path.starts_with("bin/") || path == "lib/ld.so";
      members.push_back(member(fmt::format("{}/{}", tree, path), 'f', runs ? 0755U : 0644U));
      members.back().source = work.input(file);
    }
    return members;
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<KilnEnv>(given);
}

}  // namespace

extern const stage::StageType kiln_env;
const stage::StageType kiln_env = {
    .name = "kiln_env",
    .summary = "kiln-env, with a loader and libraries of its own",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
