// salt_install: masterless Salt from locked files. See `doc` below.

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <optional>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/download.hpp"
#include "host/temp_dir.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/exec.hpp"
#include "target/wheel_lock.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Puts masterless Salt into the image: a virtual environment of its own, from a lock file.

    - packages:
        install: [python3-venv, python3-apt]
    - salt_install:
        lock: locks/salt-py311.txt

The lock is in pip's format, every line `NAME==VERSION --hash=sha256:...` naming one published file (a wheel or an
sdist). Its section `# build` is what sdists are built with, in a throw-away environment; `# run` is what
stays. The files are fetched on the host once, verified, kept in the store and carried in: the image needs no network.
`salt-call --local` works in the finished image, so that it can apply its states again by itself.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "lock", .type = stage::Type::file, .fallback = {}, .required = true, .doc = "The lock file."},
    {.name = "prefix",
     .type = stage::Type::text,
     .fallback = "/opt/salt",
     .doc = "Where the virtual environment lies in the image; replaced when it is there.",
     .pattern = "(/[A-Za-z0-9._-]*[A-Za-z0-9_-])+",
     .write = "a whole path of letters, digits, '.', '_' and '-', such as /opt/salt"},
    {.name = "python",
     .type = stage::Type::text,
     .fallback = "python3",
     .doc = "The image's interpreter.",
     .pattern = "(/?[A-Za-z0-9][A-Za-z0-9._-]*)+",
     .write = "a program's name or whole path, such as python3.11"},
    {.name = "python_version",
     .type = stage::Type::text,
     .fallback = "3.11",
     .doc = "The interpreter's version, which decides what wheels fit.",
     .pattern = "3\\.[0-9]+",
     .write = "the version as in 3.11"},
}};

constexpr std::array<std::string_view, 1> tools = {"pip3"};

// Where the files lie in the image while Salt is installed.
const std::string carried = "/tmp/kiln-salt";

// What keeps pip and Python to themselves and to the same result wherever they run.
const std::map<std::string, std::string>& quiet() {
  static const std::map<std::string, std::string> env = {{"PIP_CONFIG_FILE", "/dev/null"},
                                                         {"PIP_DISABLE_PIP_VERSION_CHECK", "1"},
                                                         {"PIP_NO_CACHE_DIR", "1"},
                                                         {"PIP_NO_INPUT", "1"},
                                                         {"PIP_ROOT_USER_ACTION", "ignore"},
                                                         {"PYTHONDONTWRITEBYTECODE", "1"},
                                                         {"PYTHONHASHSEED", "0"},
                                                         {"PYTHONNOUSERSITE", "1"},
                                                         {"SOURCE_DATE_EPOCH", "1000000000"},
                                                         {"TMPDIR", "/tmp"}};
  return env;
}

// The file of the store's cache that a requirement pins: <cache>/<sha256>/<its name>. A damaged one is
// removed.
std::optional<std::filesystem::path> find_cached(const std::filesystem::path& cache,
                                                 const target::Requirement& requirement) {
  const std::filesystem::path folder = cache / requirement.sha256;
  std::error_code none;
  bool damaged = false;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    if (entry.is_regular_file(none) && base::sha256_file(entry.path()) == requirement.sha256)
      return entry.path();
    damaged = true;
  }
  // A folder that is not there yet may be another build's a moment later.
  if (damaged) std::filesystem::remove_all(folder, none);
  return std::nullopt;
}

class SaltInstall : public stage::Stage {
 public:
  explicit SaltInstall(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} Salt from {}", tense == stage::Tense::will ? "Install" : "Installing",
                       options_.path("lock").filename().string());
  }

  // Adds nothing to the key; a lock with a bad line is told before anything runs.
  void describe(stage::KeyWriter& /*key*/) const override {
    static_cast<void>(read_lock(options_.path("lock")));
  }

  void run(stage::Workspace& work) const override {
    const target::WheelLock lock = read_lock(work.input(options_.path("lock")));
    const std::vector<std::filesystem::path> build = fetch(work, lock.build);
    const std::vector<std::filesystem::path> run = fetch(work, lock.run);
    const std::filesystem::path tar = pack(work, lock, build, run);

    image::System& system = work.system();
    check_python(system);
    step(work, system, "clearing the way", {"rm", "-rf", "--", carried, prefix()});
    work.observer().doing("carrying the files in");
    system.unpack(tar, carried);
    install(work, system, std::any_of(run.begin(), run.end(), is_sdist));
    step(work, system, "clearing up", {"rm", "-rf", "--", carried});
    const host::Finished version = system.require(
        target::exec({"salt-call", "--local", "--version"}, "asking Salt for its version", quiet()));
    work.log(version.out);
  }

 private:
  [[nodiscard]] target::WheelLock read_lock(const std::filesystem::path& file) const {
    return target::read_wheel_lock(host::read_file(file), options_.path("lock").string());
  }

  [[nodiscard]] const std::string& prefix() const { return options_.text("prefix"); }

  static bool is_sdist(const std::filesystem::path& file) { return file.extension() != ".whl"; }

  // The files of `wanted`, in its order, each verified; what the store lacks is fetched by pip, which knows
  // this machine's index.
  [[nodiscard]] std::vector<std::filesystem::path> fetch(
      stage::Workspace& work, const std::vector<target::Requirement>& wanted) const {
    const std::filesystem::path cache = work.package_cache("wheels");
    std::vector<target::Requirement> missing;
    for (const target::Requirement& one : wanted) {
      if (!find_cached(cache, one)) missing.push_back(one);
    }
    if (!missing.empty() && work.offline()) {
      std::vector<std::string> names;
      names.reserve(missing.size());
      for (const target::Requirement& one : missing) names.push_back(one.name + " " + one.version);
      throw host::not_kept("the Python packages " + host::some_of(names)).at(missing.front().where);
    }
    if (!missing.empty()) {
      work.observer().doing(fmt::format("fetching {} Python packages", missing.size()));
      download(work, missing, cache);
    }
    std::vector<std::filesystem::path> result;
    for (const target::Requirement& one : wanted) {
      const auto file = find_cached(cache, one);
      if (!file) {
        throw base::Error(
            fmt::format("pip fetched no file of {} {} with sha256 {}", one.name, one.version, one.sha256))
            .at(one.where)
            .hint("the index serves another file under that version: lock it again");
      }
      result.push_back(*file);
    }
    return result;
  }

  void download(stage::Workspace& work, const std::vector<target::Requirement>& missing,
                const std::filesystem::path& cache) const {
    const host::TempDir folder(work.scratch(), "wheels-");
    std::string requirements;
    for (const target::Requirement& one : missing) requirements += one.text() + "\n";
    host::write_file(folder.path() / "requirements.txt", requirements);
    host::Command command = pip_download(work.host(), folder.path());
    command.timeout = work.step_limit();
    host::require(*work.host().runner, command,
                  [&](host::Stream, std::string_view piece) { work.log(piece); });
    for (const auto& entry : std::filesystem::directory_iterator(folder.path() / "files")) {
      const std::string digest = base::sha256_file(entry.path());
      const std::filesystem::path whole = folder.path() / digest;
      std::filesystem::create_directory(whole);
      std::filesystem::rename(entry.path(), whole / entry.path().filename());
      host::sync_path(whole / entry.path().filename());
      // Another build may have been faster; then its file is as good.
      std::error_code taken;
      std::filesystem::rename(whole, cache / digest, taken);
    }
  }

  [[nodiscard]] host::Command pip_download(const host::Host& host,
                                           const std::filesystem::path& folder) const {
    const std::string version = options_.text("python_version");
    std::string digits = version;
    std::erase(digits, '.');
    // The distribution's own pip comes with what sdists need to tell their metadata; one that lies before it
    // on PATH may not.
    const auto own = host.runner->find_program("/usr/bin/pip3");
    host::Command command{own ? own->string() : "pip3",
                          "download",
                          "--no-deps",
                          "--require-hashes",
                          "--no-build-isolation",
                          "--no-cache-dir",
                          "--disable-pip-version-check",
                          "--no-input",
                          "--quiet",
                          "--implementation",
                          "cp",
                          "--python-version",
                          version,
                          "--abi",
                          "cp" + digits,
                          "--abi",
                          "cp" + digits + "m",
                          "--abi",
                          "abi3",
                          "--abi",
                          "none"};
    // The digest says which file it is; the platforms only have to let it pass.
    for (const char* old : {"manylinux1", "manylinux2010", "manylinux2014"}) {
      command.add({"--platform", std::string(old) + "_x86_64"});
    }
    for (int glibc = 5; glibc <= 44; ++glibc)
      command.add({"--platform", fmt::format("manylinux_2_{}_x86_64", glibc)});
    command.add(
        {"--requirement", (folder / "requirements.txt").string(), "--dest", (folder / "files").string()});
    command.cwd = folder;
    command.env = {{"PYTHONPATH", std::nullopt}, {"PYTHONNOUSERSITE", "1"}};
    command.purpose = "fetching Python packages";
    return command;
  }

  static std::filesystem::path pack(stage::Workspace& work, const target::WheelLock& lock,
                                    const std::vector<std::filesystem::path>& build,
                                    const std::vector<std::filesystem::path>& run) {
    std::map<std::string, std::filesystem::path> files;
    for (const auto& list : {build, run}) {
      for (const std::filesystem::path& file : list) files.emplace(file.filename().string(), file);
    }
    std::vector<host::Member> members;
    const auto add = [&](const std::string& path, const std::string& content,
                         const std::filesystem::path& source) {
      host::Member member;
      member.path = path;
      member.owner = member.group = "0";
      member.content = content;
      member.source = source;
      members.push_back(std::move(member));
    };
    host::Member folder;
    folder.path = "files";
    folder.kind = 'd';
    folder.mode = 0755;
    members.push_back(folder);
    for (const auto& [name, file] : files) add("files/" + name, {}, file);
    std::string build_text;
    std::string run_text;
    std::string sdist_text;
    for (const target::Requirement& one : lock.build) build_text += one.text() + "\n";
    for (std::size_t i = 0; i < lock.run.size(); ++i) {
      // Wheels built from an sdist have no digest of their own: in the image the verified file decides.
      run_text += lock.run[i].name + "==" + lock.run[i].version + "\n";
      if (is_sdist(run[i])) sdist_text += lock.run[i].text() + "\n";
    }
    add("build.txt", build_text, {});
    add("run.txt", run_text, {});
    add("sdist.txt", sdist_text, {});
    const std::filesystem::path tar = work.scratch() / "salt.tar";
    host::write_archive(tar, host::Format::tar, members);
    return tar;
  }

  void check_python(image::System& system) const {
    const std::string& python = options_.text("python");
    const auto ask = [&](const char* program) {
      return system.run(target::exec({python, "-c", program}, "looking at the image's Python", quiet()));
    };
    const host::Finished version = ask("import sys; print('%d.%d' % sys.version_info[:2])");
    if (!version.ok()) {
      throw base::Error(fmt::format("the image has no '{}'", python))
          .at(options_.where("python"))
          .hint("add python3-venv and python3-apt to an earlier packages step");
    }
    if (base::trim(version.out) != options_.text("python_version")) {
      throw base::Error(fmt::format("the image's {} is {}, the lock is for {}", python,
                                    base::printable(base::trim(version.out)),
                                    options_.text("python_version")))
          .at(options_.where("python_version"))
          .hint("take the lock for that version and set 'python_version:'");
    }
    if (!ask("import ensurepip, venv").ok()) {
      throw base::Error(fmt::format("the image's {} cannot make virtual environments", python))
          .at(options_.step)
          .hint("add python3-venv to an earlier packages step");
    }
    if (!ask("import apt").ok()) {
      throw base::Error(
          fmt::format("the image's {} has no module 'apt', which Salt's pkg states need", python))
          .at(options_.step)
          .hint("add python3-apt to an earlier packages step");
    }
  }

  static void step(stage::Workspace& work, image::System& system, const std::string& purpose,
                   std::vector<std::string> argv) {
    work.observer().doing(purpose);
    system.require(target::exec(std::move(argv), purpose, quiet()),
                   [&](host::Stream, std::string_view piece) { work.log(piece); });
  }

  void install(stage::Workspace& work, image::System& system, bool has_sdists) const {
    const std::string& python = options_.text("python");
    const std::string builder = carried + "/build/bin/python";
    const std::string salt_python = prefix() + "/bin/python";
    const std::string files = carried + "/files";
    const std::string built = carried + "/built";
    // Run by the environment's own interpreter, so that scripts and paths become its own.
    const std::string pip =
        carried + "/build/lib/python" + options_.text("python_version") + "/site-packages/pip";

    step(work, system, "making an environment to build in", {python, "-m", "venv", carried + "/build"});
    step(work, system, "installing what Salt is built with",
         {builder, "-m", "pip", "install", "--quiet", "--no-index", "--find-links", files, "--no-deps",
          "--require-hashes", "--no-compile", "-r", carried + "/build.txt"});
    if (has_sdists) {
      step(work, system, "building wheels",
           {builder, "-m", "pip", "wheel", "--quiet", "--no-index", "--find-links", files, "--no-deps",
            "--require-hashes", "--no-build-isolation", "--wheel-dir", built, "-r", carried + "/sdist.txt"});
    }
    step(work, system, "making Salt's environment",
         {python, "-m", "venv", "--system-site-packages", "--without-pip", prefix()});
    step(work, system, "installing Salt",
         {salt_python, pip, "install", "--quiet", "--no-index", "--find-links", built, "--find-links", files,
          "--no-deps", "--ignore-installed", "--no-compile", "--no-warn-script-location", "-r",
          carried + "/run.txt"});
    // Compiled ahead, since salt-call without takes far longer without KVM; by content, not by time, and in
    // one process, so that the same sources give the same bytes.
    step(work, system, "compiling Salt",
         {salt_python, "-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash",
          prefix() + "/lib"});
    step(work, system, "linking salt-call",
         {"ln", "-sfn", prefix() + "/bin/salt-call", "/usr/local/bin/salt-call"});
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<SaltInstall>(given);
}

}  // namespace

extern const stage::StageType salt_install;
const stage::StageType salt_install = {
    .name = "salt_install",
    .summary = "Masterless Salt from a lock file of wheels and sdists",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::native_or_guest,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
