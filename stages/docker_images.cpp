// docker_images: images in the docker engine's own store. See `doc` below.

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/download.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"
#include "host/layer.hpp"
#include "host/temp_dir.hpp"
#include "host/tree.hpp"
#include "image/sandbox.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/apt.hpp"
#include "target/docker_archive.hpp"
#include "target/docker_image.hpp"
#include "target/docker_tree.hpp"
#include "target/exec.hpp"
#include "target/mmdebstrap.hpp"
#include "target/paths.hpp"
#include "target/private_key.hpp"
#include "target/tree_lock.hpp"
#include "target/url.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;
using nlohmann::json;
using target::DockerImage;

constexpr std::string_view doc =
    R"(Puts docker images into the engine's store: the machine's first boot loads nothing and needs no network.

    - docker_images:
        images: [images/debian.yml, images/redis.yml]

Each file defines one image, named as docker shall know it, and says what it stands on:

    name: redis                 # with the tag latest unless it has one
    on: debian                  # another definition's name, whose layers are shared
    packages: [redis-server]    # of the distribution, without recommended ones
    users: [{name: redis, id: 420}]
    files: [{from: redis.conf, to: /etc/redis/redis.conf}]
    run: [[chown, "420:420", /data]]
    config: {user: "420", command: [redis-server, /etc/redis/redis.conf], workdir: /data, volumes: [/data]}

| one of | what |
|---|---|
| `suite: bookworm` | composed of packages by mmdebstrap; documentation, translations, caches and lists are left out, licences stay |
| `on: NAME` | another definition's image, and one layer more |
| `registry: HOST/NAME@sha256:...` | fetched by skopeo |
| `archive: FILE` | a docker-archive, or an OCI layout as a tar or folder, with its `sha256:` |
| `dockerfile: FOLDER` | built by buildah with the network; each FROM names another definition |

With `suite:` and `on:` an image is made in this order: `users`, `packages`, `maven` (a project whose built `tree:` is laid
at `to:`; its `image.lock` has the sha256 of each file in it that is neither the project's own nor compiled there), `fetch`
(`url`, `sha256`, `to`), `files` (root's, 0644 or 0755), `run` (commands as root without a network), `remove`. `config` has
`user`, `entrypoint`, `command`, `env`, `workdir`, `expose`, `volumes`, `stop_signal` and `healthcheck`; nothing of it comes
from the image below. The same input gives the same image id.

The store keeps what was made for a definition: when one of many is changed, that one and those on it are made again. What
a mirror gave for one is too old after the profile's `fresh`, and whenever the step is forced by `--from`.

The engine is the image's own, with the storage it is configured for in /etc/docker/daemon.json. It runs natively where kiln
may use namespaces and loop devices, else in a booted guest; the ids are the same. No engine is needed on this machine.
Composing and Dockerfiles need root.

`/usr/local/share/appliance/images` has `images.list`, a line "NAME:TAG sha256:ID" for each image, and, unless `archive:
false`, `images.tar.zst`: `zstd -dc images.tar.zst | docker load` brings all back. A further step of this kind adds its images
to the list, takes names over from what had them, and has an archive of its own, `images-2.tar.zst`: whoever loads them all
gives names by the list.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "images",
     .type = stage::Type::files,
     .fallback = {},
     .required = true,
     .doc = "Definitions, one image each, in any order."},
    {.name = "archive",
     .type = stage::Type::flag,
     .fallback = "true",
     .doc = "Keep a compressed archive of the images beside them, for when the engine's store is lost."},
    {.name = "mirror",
     .type = stage::Type::text,
     .fallback = {},
     .doc = "URL of the archive that `suite:` takes packages from; mmdebstrap's default without it.",
     .pattern = "(https?|file)://[A-Za-z0-9./_~:%@-]+",
     .write = "an http, https or file URL without a login"},
    {.name = "keyring",
     .type = stage::Type::file,
     .fallback = {},
     .doc = "Keys that the archive's signature is verified with; the host's archive keyrings without it."},
}};

constexpr std::array<std::string_view, 2> tools = {"tar", "zstd"};

constexpr std::string_view images_folder = "/usr/local/share/appliance/images";
// What of this file decides what an image is like; raised with it, so that kept images are made again.
constexpr std::string_view recipe = "kiln docker image 1";
constexpr std::array engine_programs = {"docker", "dockerd", "containerd"};

std::vector<DockerImage> definitions(const std::vector<fs::path>& files,
                                     const std::function<fs::path(const fs::path&)>& real) {
  std::vector<target::Definition> read;
  read.reserve(files.size());
  for (const fs::path& file : files) read.push_back({file, host::read_file(real(file))});
  return target::read_docker_images(read);
}

// The programs that an image asks for beside those of the table.
std::vector<std::string_view> tools_of(const DockerImage& image) {
  std::vector<std::string_view> result;
  switch (image.source) {
    case DockerImage::Source::suite:
      result.emplace_back("mmdebstrap");
      break;
    case DockerImage::Source::registry:
      result.emplace_back("skopeo");
      break;
    case DockerImage::Source::dockerfile:
      result.insert(result.end(), {"buildah", "skopeo"});
      break;
    case DockerImage::Source::on:
    case DockerImage::Source::archive:
      break;
  }
  // mvn compiles by the Java that it runs on.
  if (!image.maven.empty()) result.insert(result.end(), {"java", "mvn"});
  return result;
}

// A project's own files: what an earlier build of it left is none.
std::vector<host::TreeNode> project_nodes(const fs::path& project) {
  std::vector<host::TreeNode> nodes = host::walk(project);
  std::erase_if(nodes, [](const host::TreeNode& node) {
    return node.path.starts_with('.') || node.path == "target" || node.path.starts_with("target/");
  });
  return nodes;
}

struct Input {
  fs::path path;
  bool project = false;  // Maven's
};

// Every local path that an image is made of, but an archive that is a file, which its digest pins.
std::vector<Input> inputs_of(const DockerImage& image) {
  std::vector<Input> result;
  if (image.source == DockerImage::Source::dockerfile ||
      (image.source == DockerImage::Source::archive && fs::is_directory(image.local)))
    result.push_back({image.local});
  for (const DockerImage::Maven& one : image.maven) result.push_back({one.project, true});
  for (const DockerImage::Files& one : image.files) result.push_back({one.from});
  return result;
}

// What is in an input, which lies at `path` now.
std::vector<host::TreeNode> nodes_of(const Input& input, const fs::path& path) {
  return input.project ? project_nodes(path) : host::walk(path);
}

// ---- images that were made before

struct Made {
  target::ImageFiles files;
  std::vector<std::string> resolved;          // what a mirror served for it
  std::map<std::string, std::string> served;  // release files: URL and sha256
  std::int64_t when = 0;                      // and when; 0: it asked no mirror
};

// In a folder of the store, which drops what was used longest ago: "<sha256>.tar" of layers, and "<key>.json"
// with a first line that is the sha256 of the rest.
class Kept {
 public:
  explicit Kept(fs::path folder) : folder_(std::move(folder)) {}

  // Layers are linked into `to` and read through. nullopt when something is not there, or not what it was.
  [[nodiscard]] std::optional<Made> find(const std::string& key, const fs::path& to) const {
    const fs::path file = folder_ / (key + ".json");
    std::error_code none;
    if (!fs::is_regular_file(file, none)) return std::nullopt;
    const std::string stored = host::read_file(file);
    const std::size_t line = std::min(stored.find('\n'), stored.size());
    const std::string rest = stored.substr(std::min(line + 1, stored.size()));
    if (stored.substr(0, line) != base::sha256(rest)) {
      fs::remove(file);
      return std::nullopt;
    }
    const json text = json::parse(rest, nullptr, false);
    try {
      Made made;
      made.files.config = text.at("config").get<std::string>();
      made.resolved = text.at("resolved").get<std::vector<std::string>>();
      made.served = text.at("served").get<std::map<std::string, std::string>>();
      made.when = text.at("when").get<std::int64_t>();
      for (const std::string& id : text.at("layers").get<std::vector<std::string>>()) {
        const fs::path tar = to / (id + ".tar");
        if (!fs::exists(tar)) {
          if (::link(layer(id).c_str(), tar.c_str()) != 0) return std::nullopt;
          if (base::sha256_file(tar) != id) {
            fs::remove(tar);
            fs::remove(layer(id));
            return std::nullopt;
          }
        }
        made.files.layers.push_back({id, tar});
      }
      // As linking does: its ctime says when it was used last.
      const std::array<timespec, 2> times = {timespec{0, UTIME_NOW}, timespec{0, UTIME_OMIT}};
      ::utimensat(AT_FDCWD, file.c_str(), times.data(), 0);
      return made;
    } catch (const json::exception&) {
      fs::remove(file);
      return std::nullopt;
    }
  }

  void keep(const std::string& key, const Made& made) const {
    fs::create_directories(folder_);
    json layers = json::array();
    for (const target::Layer& one : made.files.layers) {
      layers.push_back(one.diff_id);
      if (::link(one.file.c_str(), layer(one.diff_id).c_str()) != 0 && errno != EEXIST)
        throw host::io_error("keep", layer(one.diff_id), errno);
    }
    const json text = {{"config", made.files.config},
                       {"resolved", made.resolved},
                       {"served", made.served},
                       {"when", made.when},
                       {"layers", layers}};
    const std::string dump = text.dump();
    host::write_file(folder_ / (key + ".json"), base::sha256(dump) + "\n" + dump, 0600);
  }

 private:
  [[nodiscard]] fs::path layer(const std::string& id) const { return folder_ / (id + ".tar"); }
  fs::path folder_;
};

// ---- composing

// Runs every command with variables by which what it writes is the same at any time.
class Repeatable : public image::System {
 public:
  explicit Repeatable(image::System& next) : next_(next) {}
  host::Finished run(const image::Exec& exec, const host::OnOutput& on_output) override {
    image::Exec same = exec;
    same.env.emplace("SOURCE_DATE_EPOCH", std::to_string(host::layer_time));
    same.env.emplace("PYTHONHASHSEED", "0");
    return next_.run(same, on_output);
  }
  [[nodiscard]] bool booted() const override { return next_.booted(); }

 private:
  image::System& next_;
};

class Maker {
 public:
  Maker(stage::Workspace& work, const stage::Options& given)
      : work_(work),
        options_(given),
        kept_(work.package_cache("docker")),
        layers_(work.scratch() / "layers") {
    fs::create_directories(layers_);
  }

  // Made by now, or found. `fresh`: not found.
  struct Result {
    Made made;
    bool fresh = false;
  };
  Result make(const DockerImage& image) {
    const std::string key = base::sha256(key_text(image));
    if (auto found = kept_.find(key, layers_);
        found && (found->when == 0 || found->when >= work_.good_since())) {
      made_.emplace(image.name, *found);
      return {std::move(*found), false};
    }
    const host::TempDir folder(work_.scratch(), "image-");
    work_.log(fmt::format("making {}\n", image.name));
    Made made;
    try {
      made = image.composed()                                  ? compose(image, folder.path())
             : image.source == DockerImage::Source::dockerfile ? build(image, folder.path())
                                                               : take(image, folder.path());
    } catch (Error& error) {
      if (error.where().file.empty()) error.at(image.where);
      error.during(fmt::format("making the image '{}'", image.name));
      throw;
    }
    for (target::Layer& layer : made.files.layers) {
      const fs::path tar = layers_ / (layer.diff_id + ".tar");
      if (layer.file != tar && !fs::exists(tar)) fs::rename(layer.file, tar);
      layer.file = tar;
    }
    kept_.keep(key, made);
    made_.emplace(image.name, made);
    return {std::move(made), true};
  }

 private:
  void doing(const DockerImage& image, std::string_view what) {
    work_.observer().doing(fmt::format("{}: {}", image.name.substr(0, image.name.find(':')), what));
  }

  // Everything that an image is made of.
  std::string key_text(const DockerImage& image) const {
    std::string text = fmt::format("{}\ndefinition {}\n", recipe, base::sha256(image.text));
    for (const std::string& base : image.bases)
      text += fmt::format("on {} {}\n", base, made_.at(base).files.id());
    for (const Input& input : inputs_of(image))
      text += fmt::format("input {}\n{}", input.path.filename().string(),
                          host::tree_text(nodes_of(input, work_.input(input.path))));
    if (image.source == DockerImage::Source::suite) {
      text += fmt::format("mirror {}\n", options_.text("mirror"));
      if (options_.has("keyring"))
        text += fmt::format("keyring {}\n", base::sha256_file(work_.input(options_.path("keyring"))));
    }
    text += work_.host().tool_version("tar") + "\n";
    for (const std::string_view tool : tools_of(image))
      text += work_.host().tool_version(std::string(tool)) + "\n";
    return text;
  }

  host::OnOutput logged(target::Lines& lines) {
    return [this, &lines](host::Stream, std::string_view piece) {
      work_.log(piece);
      lines.add(piece);
    };
  }

  // A command of the host's.
  host::Finished run(const DockerImage& image, host::Command command) {
    command.timeout = work_.step_limit();
    target::Lines lines([&](std::string_view line) { work_.observer().output(line); });
    work_.log(fmt::format("$ {}\n", command.text()));
    doing(image, command.purpose);
    host::Finished finished = host::require(*work_.host().runner, command, logged(lines));
    lines.finish();
    return finished;
  }

  // ---- suite, on

  Made compose(const DockerImage& image, const fs::path& folder) {
    Made made;
    if (!work_.host().root)
      throw Error("composing an image needs root", Exit::missing)
          .hint("run kiln as root, or take a ready image by 'archive:' or 'registry:'");
    if (image.source == DockerImage::Source::suite) {
      bootstrap(image, folder / "tree");
    } else {
      fs::create_directory(folder / "tree");
    }
    target::DockerTree tree(folder / "tree");
    std::map<std::string, host::TreeEntry> below;
    if (image.source == DockerImage::Source::on) {
      made = made_.at(image.from);
      doing(image, "unpacking what it stands on");
      for (const target::Layer& layer : made.files.layers) tree.lay(layer.file);
      below = host::scan_tree(tree.root());
    }
    for (const DockerImage::User& user : image.users) tree.add(user);
    tree.prepare();
    if (!image.packages.empty() || image.source == DockerImage::Source::suite)
      install(image, tree, folder, made);
    for (const DockerImage::Maven& one : image.maven) lay_project(image, one, tree, folder);
    for (const DockerImage::Fetch& one : image.fetch)
      tree.lay_files(work_.blob(one.url, one.sha256), one.to, folder);
    for (const DockerImage::Files& one : image.files) tree.lay_files(work_.input(one.from), one.to, folder);
    run_commands(image, tree, folder);
    for (const std::string& path : image.remove) tree.files().remove(path);
    tree.clean();

    doing(image, "writing the layer");
    const fs::path tar = folder / "layer.tar";
    if (host::write_layer(work_.host(), tree.root(), below, tar))
      made.files.layers.push_back({base::sha256_file(tar), tar});
    const std::vector<std::string> ids = made.files.diff_ids();
    made.files.config =
        target::image_config(image.config, ids, std::vector<std::string>(ids.size(), "kiln docker_images"));
    return made;
  }

  image::SandboxOptions sandbox(const target::DockerTree& tree, const fs::path& folder, bool network) {
    fs::create_directories(folder / "sandbox");
    image::SandboxOptions box;
    box.root = tree.root();
    box.scratch = folder / "sandbox";
    box.step_limit = work_.step_limit();
    box.network = network;
    return box;
  }

  // What mmdebstrap calls a minimal system, with its package lists left in it.
  void bootstrap(const DockerImage& image, const fs::path& tree) {
    const fs::path scratch = work_.scratch() / "bootstrap";
    fs::create_directories(scratch / "tmp");
    target::Mmdebstrap mmdebstrap(
        {.suite = image.from,
         .mirror = options_.text("mirror"),
         .keyring = options_.has("keyring") ? work_.input(options_.path("keyring")) : fs::path()},
        work_.package_cache("debs"), work_.package_cache("lists"), scratch);
    if (work_.offline() && !mmdebstrap.is_local()) mmdebstrap.keep_offline(scratch / "kept");
    host::Command command{"mmdebstrap", "--mode=root", "--skip=cleanup/apt/lists",
                          // Else a package of its own joins /bin and /usr/bin, and brings perl for it.
                          "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", "--format=directory"};
    command.env["TMPDIR"] = (scratch / "tmp").string();
    command.env["SOURCE_DATE_EPOCH"] = std::to_string(host::layer_time);
    command.timeout = work_.step_limit();
    command.purpose = "composing the base system";
    doing(image, command.purpose);
    // Should mmdebstrap be killed, its mounts are gone with this namespace.
    host::private_mounts();
    mmdebstrap.run(
        work_.host(), std::move(command), tree, [&](std::string_view line) { work_.observer().output(line); },
        [&](std::string_view piece) { work_.log(piece); });
    if (!work_.offline()) keep_lists(mmdebstrap);
    host::remove_tree(scratch);
  }

  void keep_lists(const target::Mmdebstrap& mmdebstrap) const {
    std::vector<std::string> releases;
    for (const auto& entry : fs::directory_iterator(mmdebstrap.lists()))
      if (entry.is_regular_file() && entry.path().filename().string().ends_with("Release"))
        releases.push_back(base::sha256_file(entry.path()));
    std::sort(releases.begin(), releases.end());
    mmdebstrap.keep_lists(base::join(releases, "\n"), work_.host().now());
  }

  void install(const DockerImage& image, target::DockerTree& tree, const fs::path& folder, Made& made) {
    // Each file would go to the disk by itself; this tree is nobody's yet.
    target::make_directories(tree.files(), "/etc/dpkg/dpkg.cfg.d");
    tree.files().write("/etc/dpkg/dpkg.cfg.d/kiln", "force-unsafe-io\n", {.mode = 0644});
    image::SandboxOptions box = sandbox(tree, folder, true);
    box.apt_cache = work_.package_cache("debs");
    const auto system = image::open_sandbox(work_.host(), box);
    Repeatable repeatable(*system);
    target::Apt apt(repeatable, {work_.package_cache("lists"), work_.package_cache("debs"), folder,
                                 work_.host().now(), work_.offline()});
    target::Lines lines([&](std::string_view line) {
      work_.observer().output(line);
      if (const std::string what = target::progress(line); !what.empty()) doing(image, what);
    });
    const host::OnOutput on_output = logged(lines);
    doing(image, "refreshing the package lists");
    const auto as_of = apt.update(on_output);
    const std::int64_t when = as_of.value_or(work_.host().now());
    made.when = made.when == 0 ? when : std::min(made.when, when);
    for (const target::Release& one : apt.releases()) {
      add(made.resolved, "release " + one.sha256 + " " + one.name);
      made.served[one.url] = one.sha256;
    }
    apt.install(image.packages, false, on_output);
    lines.finish();
    for (const auto& [name, version] : apt.installed())
      add(made.resolved, fmt::format("package {} {}", name, version));
  }

  static void add(std::vector<std::string>& lines, const std::string& line) {
    if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(line);
  }

  void run_commands(const DockerImage& image, target::DockerTree& tree, const fs::path& folder) {
    if (image.run.empty()) return;
    const auto system = image::open_sandbox(work_.host(), sandbox(tree, folder, false));
    Repeatable repeatable(*system);
    for (const std::vector<std::string>& argv : image.run) {
      image::Exec exec =
          target::exec(argv, fmt::format("running '{}'", base::one_line(base::shell_line(argv), 60)));
      work_.log(fmt::format("{}$ {}\n", image.name, base::shell_line(argv)));
      doing(image, base::one_line(base::shell_line(argv), 60));
      repeatable.require(exec, [&](host::Stream, std::string_view piece) { work_.log(piece); });
    }
  }

  // ---- maven

  void lay_project(const DockerImage& image, const DockerImage::Maven& one, target::DockerTree& tree,
                   const fs::path& folder) {
    const fs::path copy = folder / "project";
    host::remove_tree(copy);
    // Maven writes into it.
    const fs::path project = work_.input(one.project);
    host::snapshot(project, project_nodes(project), copy);
    host::Command command{"mvn",
                          "-q",
                          "-B",
                          "-f",
                          (copy / "pom.xml").string(),
                          "-Dmaven.repo.local=" + work_.package_cache("maven").string()};
    if (work_.offline()) command.add({"-o"});
    command.add({"package"});
    command.env["SOURCE_DATE_EPOCH"] = std::to_string(host::layer_time);
    command.purpose = "building with Maven";
    run(image, std::move(command));
    const fs::path built = copy / one.tree;
    if (!fs::is_directory(built))
      throw Error(fmt::format("the project '{}' left no folder '{}'", one.project.string(), one.tree),
                  Exit::usage)
          .hint("'tree:' is what `mvn package` makes");
    target::check_tree_lock(host::read_file(project / "image.lock"), (one.project / "image.lock").string(),
                            built, project_nodes(project));
    tree.lay_files(built, one.to, folder);
  }

  // ---- ready images

  Made take(const DockerImage& image, const fs::path& folder) {
    Made made;
    if (image.source == DockerImage::Source::registry) {
      const std::string manifest = pull(image, folder / "layout");
      made.files =
          target::read_image(folder / "layout", manifest, folder / "read", "the image " + image.from);
      return made;
    }
    const std::string shown = fmt::format("'{}'", image.local.string());
    if (fs::is_directory(image.local)) {
      made.files = target::read_image(work_.input(image.local), image.sha256, folder / "read", shown);
      return made;
    }
    const fs::path copy = folder / "archive";
    host::copy_sparse(image.local, copy);
    if (const std::string is = base::sha256_file(copy); is != image.sha256)
      throw Error(fmt::format("the sha256 of {} is {}, not {}", shown, is, image.sha256), Exit::usage)
          .hint("if the image was meant to change, write its new digest");
    made.files = target::read_image(copy, "", folder / "read", shown);
    return made;
  }

  // Leaves the registry's own files at `to`; returns the sha256 of the image's manifest.
  std::string pull(const DockerImage& image, const fs::path& to) {
    if (work_.offline()) throw host::not_kept("the image " + image.from);
    const std::size_t at = image.from.rfind('@');
    const std::string wanted = image.from.substr(image.from.rfind(':') + 1);
    const std::string tls = fmt::format("tls-verify={}", !target::is_on_loopback(image.from));
    host::Command inspect{"skopeo", "inspect", "--raw", "--" + tls, "docker://" + image.from};
    inspect.purpose = "asking the registry";
    const host::Finished said = run(image, std::move(inspect));
    if (const std::string is = base::sha256(said.out); is != wanted)
      throw Error(fmt::format("what the registry has for {} has the sha256 {}", image.from, is))
          .hint("do not use this registry, or write the digest it has now");
    const std::string manifest = target::choose_manifest(said.out, "the image " + image.from);
    // The digest says what the image is; whoever signed it is not asked. Another format would be another id.
    host::Command copy{"skopeo",
                       "copy",
                       "--insecure-policy",
                       "--src-" + tls,
                       fmt::format("docker://{}@sha256:{}", image.from.substr(0, at), manifest),
                       "dir:" + to.string()};
    copy.purpose = "fetching the image";
    run(image, std::move(copy));
    return manifest;
  }

  // ---- Dockerfile

  Made build(const DockerImage& image, const fs::path& folder) {
    if (!work_.host().root)
      throw Error("building a Dockerfile needs root", Exit::missing)
          .hint("run kiln as root, or take a ready image by 'archive:' or 'registry:'");
    if (work_.offline()) throw host::not_kept("what the Dockerfile of " + image.name + " makes");
    Made made;
    const std::string store =
        fmt::format("[vfs@{}+{}]", (folder / "store").string(), (folder / "run").string());
    std::vector<target::NamedImage> bases;
    for (const std::string& base : image.bases) {
      bases.push_back({base, made_.at(base).files});
      const fs::path tar = folder / "base.tar";
      target::write_docker_archive(tar, {bases.back()});
      host::Command copy{"skopeo", "copy", "--insecure-policy", "docker-archive:" + tar.string(),
                         fmt::format("containers-storage:{}localhost/{}", store, base)};
      copy.purpose = "handing over what it stands on";
      run(image, std::move(copy));
      fs::remove(tar);
    }
    host::Command command{"buildah",
                          "--root",
                          (folder / "store").string(),
                          "--runroot",
                          (folder / "run").string(),
                          "--storage-driver",
                          "vfs",
                          "build",
                          "--isolation",
                          "chroot",
                          "--pull-never",
                          "--no-cache",
                          "--format",
                          "docker",
                          "--timestamp",
                          std::to_string(host::layer_time),
                          "--arch",
                          "amd64",
                          "--tag",
                          "localhost/kiln-made",
                          work_.input(image.local).string()};
    command.purpose = "building the Dockerfile";
    run(image, std::move(command));
    host::Command out{"skopeo", "copy", "--insecure-policy",
                      fmt::format("containers-storage:{}localhost/kiln-made", store),
                      "dir:" + (folder / "layout").string()};
    out.purpose = "taking the image";
    run(image, std::move(out));
    made.files = target::read_image(folder / "layout", "", folder / "read", "what buildah made");
    made.files.config = without_names(made.files);
    // Nobody says what it fetched; that it may have makes the layer age.
    made.resolved = {"dockerfile " + image.name};
    made.when = work_.host().now();
    return made;
  }

  // buildah writes names of the moment, of its container and host, into what the engine keeps.
  static std::string without_names(const target::ImageFiles& files) {
    const json config = json::parse(files.config).value("config", json::object());
    json settings = json::object();
    for (const char* key : {"User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir",
                            "Labels", "StopSignal", "Healthcheck", "Shell", "OnBuild"}) {
      const auto value = config.find(key);
      if (value != config.end() && !value->empty() && value->dump() != R"("")") settings[key] = *value;
    }
    const std::vector<std::string> ids = files.diff_ids();
    return target::image_config(settings.dump(), ids,
                                std::vector<std::string>(ids.size(), "kiln docker_images"));
  }

  stage::Workspace& work_;
  const stage::Options& options_;
  Kept kept_;
  fs::path layers_;
  std::map<std::string, Made> made_;  // by name
};

// ---- the engine

// Runs the image's engine where no system runs: without a network, its own things in /run. $1: its settings;
// standard input: a docker-archive. Says the ids of the images named by the other arguments.
constexpr std::string_view native_load = R"(set -eu
run=/run/kiln-docker
mkdir -p $run
printf '%s' "$1" >$run/daemon.json
shift
printf 'root = "%s/root"\nstate = "%s/state"\ndisabled_plugins = ["cri"]\n[plugins.opt]\npath = "%s/opt"\n' \
  $run $run $run >$run/containerd.toml
key=yes
[ -e /etc/docker/key.json ] || key=
containerd --config $run/containerd.toml --address $run/containerd.sock </dev/null >$run/containerd.log 2>&1 &
containerd=$!
dockerd=
stop() {
  [ -z "$dockerd" ] || { kill $dockerd 2>/dev/null || :; wait $dockerd || :; }
  kill $containerd 2>/dev/null || :
  wait $containerd || :
  [ -n "$key" ] || rm -f /etc/docker/key.json
}
give_up() {
  tail -n 20 $run/containerd.log $run/dockerd.log >&2 || :
  stop
  exit 1
}
dockerd --config-file $run/daemon.json --host unix://$run/docker.sock --pidfile $run/docker.pid --exec-root $run/exec \
  --containerd $run/containerd.sock </dev/null >$run/dockerd.log 2>&1 &
dockerd=$!
export DOCKER_HOST=unix://$run/docker.sock
tries=0
until docker version >/dev/null 2>&1; do
  tries=$((tries + 1))
  [ $tries -lt 300 ] && kill -0 $dockerd 2>/dev/null || give_up
  sleep 0.2
done
docker load --quiet >/dev/null || give_up
docker image inspect --format '{{.Id}}' "$@" || give_up
stop
)";

class DockerImages : public stage::Stage {
 public:
  explicit DockerImages(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    const std::size_t count = options_.paths("images").size();
    return fmt::format("{} {} docker image{}", tense == stage::Tense::will ? "Bake in" : "Baking in", count,
                       count == 1 ? "" : "s");
  }

  [[nodiscard]] std::vector<std::string_view> asked_tools() const override {
    std::vector<std::string_view> all;
    for (const DockerImage& image : read([](const fs::path& file) { return file; }))
      for (const std::string_view tool : tools_of(image)) all.push_back(tool);
    return all;
  }

  void describe(stage::KeyWriter& key) const override {
    key.tool("tar");
    if (options_.flag("archive")) key.tool("zstd");
    std::vector<std::string_view> said;
    for (const DockerImage& image : read([](const fs::path& file) { return file; })) {
      for (const std::string_view tool : tools_of(image)) {
        if (std::find(said.begin(), said.end(), tool) != said.end()) continue;
        said.push_back(tool);
        key.tool(std::string(tool));
      }
      for (const Input& input : inputs_of(image)) {
        std::vector<host::TreeNode> nodes = nodes_of(input, input.path);
        target::refuse_private_keys(input.path, nodes, "docker_images", image.where);
        key.input(fmt::format("{} {}", image.name, input.path.filename().string()), input.path,
                  std::move(nodes));
      }
    }
  }

  void run(stage::Workspace& work) const override {
    const std::vector<DockerImage> images = read([&](const fs::path& file) { return work.input(file); });
    require_engine(work);
    const Earlier earlier = find_earlier(work);
    Maker maker(work, options_);
    std::vector<target::NamedImage> named;
    std::set<std::string> resolved;  // of layers that images share, once
    std::int64_t when = 0;
    std::size_t kept = 0;
    for (const DockerImage& image : images) {
      auto [made, fresh] = maker.make(image);
      if (!fresh) ++kept;
      for (const std::string& line : made.resolved)
        if (resolved.insert(line).second) work.resolved(line);
      for (const auto& [url, sha256] : made.served) work.served(url, sha256);
      if (made.when != 0) when = when == 0 ? made.when : std::min(when, made.when);
      work.log(fmt::format("{} sha256:{}{}\n", image.name, made.files.id(), fresh ? "" : ", made before"));
      named.push_back({image.name, std::move(made.files)});
    }
    if (when != 0) work.resolved_at(when);
    if (kept != 0)
      work.observer().note(fmt::format("{} of {} docker images were made before", kept, images.size()));

    work.observer().doing("writing the archive");
    const fs::path archive = work.scratch() / "images.tar";
    target::write_docker_archive(archive, named);
    load(work, named, archive);
    leave(work, named, archive, earlier);
  }

 private:
  [[nodiscard]] std::vector<DockerImage> read(const std::function<fs::path(const fs::path&)>& real) const {
    return definitions(options_.paths("images"), real);
  }

  // What earlier steps of this kind left in the image.
  struct Earlier {
    std::vector<std::string> list;  // lines
    int archives = 0;
  };

  static Earlier find_earlier(stage::Workspace& work) {
    image::Files& files = work.files();
    Earlier earlier;
    const std::string list = fmt::format("{}/images.list", images_folder);
    if (files.find(list)) earlier.list = base::lines(files.read(list));
    while (files.find(fmt::format("{}/{}", images_folder, archive_name(earlier.archives))))
      ++earlier.archives;
    return earlier;
  }

  static std::string archive_name(int earlier) {
    return earlier == 0 ? "images.tar.zst" : fmt::format("images-{}.tar.zst", earlier + 1);
  }

  // Told before minutes are spent.
  void require_engine(stage::Workspace& work) const {
    image::Files& files = work.files();
    for (const char* program : engine_programs) {
      const auto in = [&](const char* folder) {
        return files.find(fmt::format("{}/{}", folder, program)).has_value();
      };
      if (in("/usr/bin") || in("/usr/sbin") || in("/usr/local/bin") || in("/usr/local/sbin")) continue;
      throw Error(fmt::format("docker_images: the image has no {}, so it has no docker engine", program),
                  Exit::usage)
          .at(options_.step)
          .hint("let an earlier step install it, as in `packages: {install: [docker.io]}`");
    }
  }

  // The settings by which the image's engine keeps images; what else it is told is of no use here.
  static std::string storage_settings(image::System& system) {
    constexpr const char* file = "/etc/docker/daemon.json";
    json settings = {{"storage-driver", "overlay2"}};
    if (system.run(target::exec({"test", "-e", file}, "looking for the engine's settings")).ok()) {
      const json own = json::parse(system.read(file), nullptr, false);
      if (!own.is_object())
        throw Error(fmt::format("{} of the image is no JSON", file))
            .hint("correct it in the step that writes it");
      for (const char* key :
           {"data-root", "graph", "storage-driver", "storage-opts", "features", "userns-remap"})
        if (own.contains(key)) settings[key] = own.at(key);
    }
    settings["bridge"] = "none";
    settings["iptables"] = false;
    settings["ip-forward"] = false;
    return settings.dump();
  }

  void load(stage::Workspace& work, const std::vector<target::NamedImage>& images,
            const fs::path& archive) const {
    image::System& system = work.system();
    work.observer().doing(fmt::format("loading {} images into the engine", images.size()));
    const host::OnOutput on_output = [&](host::Stream, std::string_view piece) { work.log(piece); };
    std::vector<std::string> argv;
    if (system.booted()) {
      system.require(target::exec({"systemctl", "start", "docker.service"}, "starting the engine"),
                     on_output);
      image::Exec command = target::exec({"docker", "load", "--quiet"}, "loading the images");
      command.input_file = archive;
      system.require(command, on_output);
      argv = {"docker", "image", "inspect", "--format", "{{.Id}}"};
    } else {
      argv = {
          "unshare", "--net", "sh", "-c", std::string(native_load), "kiln-load", storage_settings(system)};
    }
    image::Exec command = target::exec(argv, "loading the images");
    if (!system.booted()) command.input_file = archive;
    for (const target::NamedImage& image : images) command.argv.push_back(image.name);
    const std::vector<std::string> ids = base::lines(system.require(command, on_output).out);
    for (std::size_t i = 0; i < images.size(); ++i) {
      const std::string wanted = "sha256:" + images[i].files.id();
      if (i < ids.size() && ids[i] == wanted) continue;
      throw Error(fmt::format("the engine has {} as {}, not as {}", images[i].name,
                              i < ids.size() ? base::printable(ids[i]) : "nothing", wanted))
          .hint("look at the step's log");
    }
  }

  // What is beside the engine's store.
  void leave(stage::Workspace& work, const std::vector<target::NamedImage>& images, const fs::path& archive,
             const Earlier& earlier) const {
    std::vector<host::Member> members;
    const auto add = [&](std::string_view name) -> host::Member& {
      host::Member member;
      member.path = name;
      member.owner = member.group = "0";
      member.mtime = host::layer_time;
      members.push_back(std::move(member));
      return members.back();
    };
    std::string list;
    for (const std::string& line : earlier.list) {
      const std::string_view name = std::string_view(line).substr(0, line.find(' '));
      if (std::none_of(images.begin(), images.end(),
                       [&](const target::NamedImage& image) { return image.name == name; }))
        list += line + '\n';
    }
    for (const target::NamedImage& image : images)
      list += fmt::format("{} sha256:{}\n", image.name, image.files.id());
    add("images.list").content = list;
    work.keep("images.list", list);
    if (options_.flag("archive")) {
      work.observer().doing("compressing the archive");
      const fs::path packed = work.scratch() / "images.tar.zst";
      host::Command command{"zstd", "-q", "-f", "-10", "-T2", archive.string(), "-o", packed.string()};
      command.timeout = work.step_limit();
      command.purpose = "compressing the archive";
      host::require(*work.host().runner, command);
      add(archive_name(earlier.archives)).source = packed;
    }
    const fs::path tar = work.scratch() / "leave.tar";
    host::write_archive(tar, host::Format::tar, members);
    work.observer().doing("copying the archive");
    work.system().unpack(tar, std::string(images_folder));
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  target::refuse_login("docker_images", given.text("mirror"), given.where("mirror"),
                       "take a mirror that asks for no login");
  return std::make_unique<DockerImages>(given);
}

}  // namespace

extern const stage::StageType docker_images;
const stage::StageType docker_images = {
    .name = "docker_images",
    .summary = "Docker images in the engine's store, composed, fetched or built",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::native_or_guest,
    .revision = 2,
    .resolves = true,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
