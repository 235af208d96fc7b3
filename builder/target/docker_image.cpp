#include "target/docker_image.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <set>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "target/apt.hpp"
#include "target/url.hpp"
#include "yaml/node.hpp"

namespace kiln::target {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using yaml::Node;
using Errors = std::vector<base::Error>;

struct Kind {
  std::string_view key;
  DockerImage::Source source;
};
constexpr std::array<Kind, 5> kinds = {{{"suite", DockerImage::Source::suite},
                                        {"on", DockerImage::Source::on},
                                        {"registry", DockerImage::Source::registry},
                                        {"archive", DockerImage::Source::archive},
                                        {"dockerfile", DockerImage::Source::dockerfile}}};
// What composing takes beside.
constexpr std::array<std::string_view, 8> composing = {"packages", "users", "maven",  "fetch",
                                                       "files",    "run",   "remove", "config"};

bool matches(const std::string& text, const char* pattern) {
  return std::regex_match(text, std::regex(pattern));
}

bool is_name(const std::string& text) {
  return matches(text, "[a-z0-9]+([._/-][a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?");
}

// A whole path that stays where it says.
bool is_path(const std::string& text) {
  if (!text.starts_with('/')) return false;
  for (const std::string& part : base::split(text, '/'))
    if (part == "..") return false;
  return std::none_of(text.begin(), text.end(), [](char c) { return c == '\n'; });
}

void wrong(Errors& errors, const base::Where& where, std::string message, std::string hint = {}) {
  base::Error error(std::move(message), base::Exit::usage);
  error.at(where);
  if (!hint.empty()) error.hint(std::move(hint));
  errors.push_back(std::move(error));
}

// Nanoseconds of "10s", "1m", "500ms".
std::optional<std::int64_t> duration(const std::string& text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, value);
  if (code != std::errc() || value < 0 || value > 1'000'000) return std::nullopt;
  const std::string_view unit(stopped, static_cast<std::size_t>(end - stopped));
  if (unit == "ms") return value * 1'000'000;
  if (unit == "s") return value * 1'000'000'000;
  if (unit == "m") return value * 60'000'000'000;
  return std::nullopt;
}

class Reader {
 public:
  Reader(const Definition& definition, Errors& errors)
      : folder_(definition.file.parent_path()), file_(definition.file.string()), errors_(errors) {
    image_.text = definition.text;
    image_.where = {file_, 0, 0};
  }

  // nullopt when something was wrong, which the errors say.
  std::optional<DockerImage> read() {
    const std::size_t before = errors_.size();
    Node top = Node::parse(image_.text, file_, errors_);
    if (errors_.size() != before) return std::nullopt;
    if (top.kind() != Node::Kind::map) {
      wrong(errors_, image_.where, "expected an image's definition, a mapping with 'name:'",
            "see `kiln stages docker_images`");
      return std::nullopt;
    }
    read_name(top);
    read_source(top);
    if (image_.composed()) read_composing(top);
    std::vector<std::string> known = {"name", "sha256"};
    for (const Kind& kind : kinds) known.emplace_back(kind.key);
    for (const std::string_view key : composing) known.emplace_back(key);
    if (!image_.composed())
      for (const std::string_view key : composing)
        if (const auto node = top.take(key))
          wrong(errors_, node->where(), fmt::format("'{}:' is for images with 'suite:' or 'on:'", key),
                "put it into an image of its own that stands on this one");
    top.leftovers("unknown key", known, errors_);
    if (errors_.size() != before) return std::nullopt;
    return std::move(image_);
  }

 private:
  std::string text(Node& map, std::string_view key, std::string_view what, bool required = true) {
    const auto node = map.take(key);
    if (!node) {
      if (required) wrong(errors_, map.where(), fmt::format("{}: '{}:' is missing", what, key));
      return {};
    }
    return node->as_text(key, errors_).value_or("");
  }
  std::vector<std::string> texts(Node& map, std::string_view key) {
    const auto node = map.take(key);
    return node ? node->as_texts(key, errors_).value_or(std::vector<std::string>())
                : std::vector<std::string>();
  }
  // Each entry of a list of mappings.
  template <typename F>
  void each(Node& top, std::string_view key, const std::vector<std::string>& known, F read_one) {
    const auto list = top.take(key);
    if (!list) return;
    if (list->kind() != Node::Kind::list)
      return wrong(errors_, list->where(), fmt::format("{}: expected a list", key));
    for (Node item : list->items()) {
      if (item.kind() != Node::Kind::map) {
        wrong(errors_, item.where(),
              fmt::format("{}: expected a mapping with {}", key, base::join(known, ", ")));
        continue;
      }
      read_one(item);
      item.leftovers(fmt::format("{}: unknown key", key), known, errors_);
    }
  }
  std::string whole_path(Node& map, std::string_view what) {
    std::string to = text(map, "to", what);
    if (!to.empty() && !is_path(to))
      wrong(errors_, map.where(), fmt::format("{}: 'to: {}' is no whole path", what, to),
            "write the path in the image, such as /app");
    return to;
  }
  fs::path existing(const Node& at, const std::string& path, bool folder) {
    fs::path file = (folder_ / path).lexically_normal();
    if (!file.has_filename()) file = file.parent_path();
    std::error_code code;
    if (!fs::exists(file, code) || (folder && !fs::is_directory(file, code)))
      wrong(errors_, at.where(),
            fmt::format("there is no {} '{}'", folder ? "folder" : "file", file.string()),
            "paths start from the folder of the definition");
    return file;
  }

  void read_name(Node& top) {
    const auto node = top.take("name");
    if (!node) return wrong(errors_, image_.where, "the image has no 'name:'");
    const std::string name = node->as_text("name", errors_).value_or("");
    if (!name.empty() && !is_name(name))
      wrong(errors_, node->where(), fmt::format("'{}' is no name of an image", base::printable(name)),
            "write lower-case letters, digits and single . _ - /, with a tag if need be, such as redis:7");
    image_.name = with_tag(name);
  }

  void read_source(Node& top) {
    std::vector<std::string> said;
    for (const Kind& kind : kinds) {
      const auto node = top.take(kind.key);
      if (!node) continue;
      said.emplace_back(kind.key);
      image_.source = kind.source;
      image_.where = node->where();
      if (const auto value = node->as_text(kind.key, errors_)) read_from(*node, *value);
    }
    if (said.size() != 1) {
      wrong(errors_, image_.where,
            said.empty()
                ? std::string("nothing says what the image is made of")
                : fmt::format("both '{}:' and '{}:' say what the image is made of", said[0], said[1]),
            "give one of suite, on, registry, archive, dockerfile");
    }
    const auto sum = top.take("sha256");
    if (image_.source != DockerImage::Source::archive) {
      if (sum) wrong(errors_, sum->where(), "'sha256:' is the digest of an 'archive:'");
      return;
    }
    image_.sha256 = sum ? sum->as_text("sha256", errors_).value_or("") : "";
    if (!base::is_sha256(image_.sha256))
      wrong(errors_, sum ? sum->where() : image_.where,
            sum ? "sha256: expected 64 lower-case hexadecimal digits" : "the archive is not pinned",
            "write 'sha256:' of the file, as `sha256sum` prints it; of a folder that of the manifest in its "
            "index.json");
  }

  void read_from(const Node& node, const std::string& value) {
    switch (image_.source) {
      case DockerImage::Source::suite:
        image_.from = value;
        if (!matches(value, "[a-z][a-z0-9.-]*"))
          wrong(errors_, node.where(),
                fmt::format("'{}' is no release of a distribution", base::printable(value)),
                "write lower-case letters, digits, '.' and '-', such as bookworm");
        break;
      case DockerImage::Source::on:
        image_.from = with_tag(value);
        image_.bases = {image_.from};
        break;
      case DockerImage::Source::registry:
        image_.from = value;
        if (!matches(value, "[A-Za-z0-9][A-Za-z0-9.:_/-]*@sha256:[0-9a-f]{64}"))
          wrong(errors_, node.where(),
                fmt::format("'{}' is not pinned by its digest", base::printable(value)),
                "write HOST/NAME@sha256:DIGEST; `skopeo inspect docker://HOST/NAME` says which");
        break;
      case DockerImage::Source::archive:
        image_.local = existing(node, value, false);
        break;
      case DockerImage::Source::dockerfile:
        image_.local = existing(node, value, true);
        read_dockerfile(node);
        break;
    }
  }

  // The images that a Dockerfile builds on; its own stages are none.
  void read_dockerfile(const Node& node) {
    const fs::path file = image_.local / "Dockerfile";
    std::error_code code;
    if (!fs::is_regular_file(file, code))
      return wrong(errors_, node.where(), fmt::format("there is no file '{}'", file.string()));
    std::set<std::string> stages;
    int line_number = 0;
    for (const std::string& line : base::lines(host::read_file(file))) {
      ++line_number;
      std::vector<std::string> words = base::words(line);
      if (words.size() < 2 || base::lower(words[0]) != "from") continue;
      if (words[1].starts_with("--")) words.erase(words.begin() + 1);
      if (words.size() < 2) continue;
      if (words.size() > 3 && base::lower(words[2]) == "as") stages.insert(words[3]);
      if (words[1] == "scratch" || stages.contains(words[1])) continue;
      if (!is_name(words[1])) {
        wrong(errors_, {file.string(), line_number, 1},
              fmt::format("'{}' is no other definition's image", base::printable(words[1])),
              "define it with 'registry:' by its digest, and name that here");
        continue;
      }
      image_.bases.push_back(with_tag(words[1]));
    }
  }

  void read_composing(Node& top) {
    if (const auto node = top.take("packages")) {
      if (const auto names = node->as_texts("packages", errors_)) {
        image_.packages = *names;
        for (const std::string& name : *names)
          if (!is_package(name))
            wrong(errors_, node->where(), fmt::format("'{}' is not a package name", base::printable(name)),
                  "write names such as redis-server or redis-server=5:7.0.15-1");
      }
    }
    each(top, "users", {"name", "id", "home"}, [&](Node& item) {
      DockerImage::User user;
      user.name = text(item, "name", "users");
      if (!user.name.empty() && !matches(user.name, "[a-z_][a-z0-9_-]{0,30}"))
        wrong(errors_, item.where(), fmt::format("'{}' is no user's name", base::printable(user.name)));
      const auto id = item.take("id");
      if (!id)
        wrong(errors_, item.where(), "users: 'id:' is missing");
      else
        user.id = static_cast<int>(id->as_number("id", 1, 65533, errors_).value_or(0));
      if (const auto home = item.take("home")) user.home = home->as_text("home", errors_).value_or("");
      if (!is_path(user.home) || user.home.find(':') != std::string::npos)
        wrong(errors_, item.where(), "users: 'home:' is no whole path");
      image_.users.push_back(std::move(user));
    });
    each(top, "maven", {"project", "tree", "to"}, [&](Node& item) {
      DockerImage::Maven one;
      one.project = existing(item, text(item, "project", "maven"), true);
      one.tree = text(item, "tree", "maven");
      if (one.tree.starts_with('/') || !is_path("/" + one.tree))
        wrong(errors_, item.where(), "maven: 'tree:' is a folder in the project, such as target/image");
      one.to = whole_path(item, "maven");
      std::error_code code;
      for (const char* wanted : {"pom.xml", "image.lock"})
        if (!one.project.empty() && !fs::is_regular_file(one.project / wanted, code))
          wrong(errors_, item.where(), fmt::format("there is no file '{}'", (one.project / wanted).string()),
                "image.lock lists the files of others in the tree, one \"SHA256  PATH\" a line");
      image_.maven.push_back(std::move(one));
    });
    each(top, "fetch", {"url", "sha256", "to"}, [&](Node& item) {
      DockerImage::Fetch one;
      one.url = text(item, "url", "fetch");
      one.sha256 = text(item, "sha256", "fetch");
      one.to = whole_path(item, "fetch");
      if (!one.url.empty() && !matches(one.url, std::string(url_pattern).c_str()))
        wrong(errors_, item.where(), "fetch: 'url:' is no URL", "write " + std::string(url_write));
      if (has_login(one.url))
        wrong(errors_, item.where(), "fetch: the URL holds a login", "take one that asks for none");
      if (!one.sha256.empty() && !base::is_sha256(one.sha256))
        wrong(errors_, item.where(), "fetch: 'sha256:' is not 64 lower-case hexadecimal digits");
      image_.fetch.push_back(std::move(one));
    });
    each(top, "files", {"from", "to"}, [&](Node& item) {
      DockerImage::Files one;
      one.from = existing(item, text(item, "from", "files"), false);
      one.to = whole_path(item, "files");
      image_.files.push_back(std::move(one));
    });
    if (const auto list = top.take("run")) {
      if (list->kind() != Node::Kind::list) {
        wrong(errors_, list->where(), "run: expected a list of commands, each a list of words");
      } else {
        for (const Node& item : list->items())
          if (const auto argv = item.as_texts("run", errors_)) {
            if (argv->empty()) wrong(errors_, item.where(), "run: the command has no words");
            image_.run.push_back(*argv);
          }
      }
    }
    if (const auto node = top.take("remove")) {
      image_.remove = node->as_texts("remove", errors_).value_or(std::vector<std::string>());
      for (const std::string& path : image_.remove)
        if (!is_path(path) || path == "/")
          wrong(errors_, node->where(), fmt::format("remove: '{}' is no whole path", base::printable(path)));
    }
    read_config(top);
  }

  void read_config(Node& top) {
    json config = json::object();
    config["Env"] = json::array({"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"});
    auto node = top.take("config");
    if (node && node->kind() != Node::Kind::map) {
      wrong(errors_, node->where(), "config: expected a mapping");
      node.reset();
    }
    if (node) {
      Node map = *node;
      if (std::string user = text(map, "user", "config", false); !user.empty()) config["User"] = user;
      if (std::string workdir = text(map, "workdir", "config", false); !workdir.empty()) {
        if (!is_path(workdir)) wrong(errors_, map.where(), "config: 'workdir:' is no whole path");
        config["WorkingDir"] = workdir;
      }
      if (std::string signal = text(map, "stop_signal", "config", false); !signal.empty())
        config["StopSignal"] = signal;
      if (auto argv = texts(map, "entrypoint"); !argv.empty()) config["Entrypoint"] = argv;
      if (auto argv = texts(map, "command"); !argv.empty()) config["Cmd"] = argv;
      for (const std::string& port : texts(map, "expose")) {
        if (!matches(port, "[0-9]{1,5}/(tcp|udp)"))
          wrong(errors_, map.where(), fmt::format("config: expose: '{}' is no port", base::printable(port)),
                "write it as 6379/tcp");
        config["ExposedPorts"][port] = json::object();
      }
      for (const std::string& volume : texts(map, "volumes")) {
        if (!is_path(volume))
          wrong(errors_, map.where(),
                fmt::format("config: volumes: '{}' is no whole path", base::printable(volume)));
        config["Volumes"][volume] = json::object();
      }
      read_environment(map, config);
      read_healthcheck(map, config);
      map.leftovers("config: unknown key",
                    {"user", "entrypoint", "command", "env", "workdir", "expose", "volumes", "stop_signal",
                     "healthcheck"},
                    errors_);
    }
    image_.config = config.dump();
  }

  void read_environment(Node& map, json& config) {
    const auto env = map.take("env");
    if (!env) return;
    if (env->kind() != Node::Kind::map)
      return wrong(errors_, env->where(), "config: env: expected NAME: value pairs");
    for (const auto& [key, value] : env->entries()) {
      const std::string name = key.scalar();
      if (!matches(name, "[A-Za-z_][A-Za-z0-9_]*"))
        wrong(errors_, key.where(),
              fmt::format("config: env: '{}' is no name of a variable", base::printable(name)));
      const std::string line = name + "=" + value.as_text(name, errors_).value_or("");
      if (name == "PATH")
        config["Env"][0] = line;
      else
        config["Env"].push_back(line);
    }
  }

  void read_healthcheck(Node& map, json& config) {
    auto check = map.take("healthcheck");
    if (!check) return;
    if (check->kind() != Node::Kind::map)
      return wrong(errors_, check->where(), "config: healthcheck: expected a mapping with 'command:'");
    Node fields = *check;
    std::vector<std::string> argv = texts(fields, "command");
    if (argv.empty()) wrong(errors_, fields.where(), "config: healthcheck: 'command:' is missing");
    if (argv.empty() || (argv[0] != "CMD" && argv[0] != "CMD-SHELL")) argv.insert(argv.begin(), "CMD");
    json made = {{"Test", argv}};
    const std::array<std::pair<const char*, const char*>, 3> times = {
        {{"interval", "Interval"}, {"timeout", "Timeout"}, {"start_period", "StartPeriod"}}};
    for (const auto& [key, name] : times) {
      const std::string said = text(fields, key, "healthcheck", false);
      if (said.empty()) continue;
      if (const auto nanoseconds = duration(said))
        made[name] = *nanoseconds;
      else
        wrong(errors_, fields.where(),
              fmt::format("config: healthcheck: {}: '{}' is no duration", key, base::printable(said)),
              "write it as 10s");
    }
    if (const auto retries = fields.take("retries"))
      made["Retries"] = retries->as_number("retries", 1, 100, errors_).value_or(1);
    fields.leftovers("config: healthcheck: unknown key",
                     {"command", "interval", "timeout", "start_period", "retries"}, errors_);
    config["Healthcheck"] = std::move(made);
  }

  fs::path folder_;
  std::string file_;
  Errors& errors_;
  DockerImage image_;
};

// Each behind what it stands on, else in the order of the files.
std::vector<DockerImage> ordered(std::vector<DockerImage> images, Errors& errors) {
  std::vector<std::string> names;
  std::map<std::string, base::Where> places;
  for (const DockerImage& image : images) {
    names.push_back(image.name);
    if (const auto [first, fresh] = places.emplace(image.name, image.where); !fresh)
      wrong(errors, image.where, fmt::format("the image '{}' is defined twice", image.name),
            fmt::format("it is in {} as well", first->second.file));
  }
  for (const DockerImage& image : images)
    for (const std::string& wanted : image.bases) {
      if (places.contains(wanted)) continue;
      const std::string guess = base::did_you_mean(wanted, names);
      wrong(errors, image.where,
            fmt::format("'{}' stands on '{}', which no definition makes", image.name, wanted),
            guess.empty() ? "add its definition to 'images:'" : fmt::format("did you mean '{}'?", guess));
    }
  if (!errors.empty()) return {};
  std::vector<DockerImage> result;
  std::set<std::string> done;
  while (!images.empty()) {
    const auto next = std::find_if(images.begin(), images.end(), [&](const DockerImage& image) {
      return std::all_of(image.bases.begin(), image.bases.end(),
                         [&](const std::string& wanted) { return done.contains(wanted); });
    });
    if (next == images.end()) {
      for (const DockerImage& image : images)
        wrong(errors, image.where,
              fmt::format("'{}' stands on itself, by way of '{}'", image.name, image.bases.front()),
              "let one of the circle have a 'suite:'");
      return {};
    }
    done.insert(next->name);
    result.push_back(std::move(*next));
    images.erase(next);
  }
  return result;
}

}  // namespace

std::string with_tag(std::string_view name) {
  const std::size_t slash = name.rfind('/');
  const std::size_t colon = name.find(':', slash == std::string_view::npos ? 0 : slash);
  return std::string(name) + (colon == std::string_view::npos ? ":latest" : "");
}

bool is_on_loopback(const std::string& reference) {
  return matches(reference.substr(0, reference.find('/')), R"((localhost|127(\.[0-9]{1,3}){3})(:[0-9]+)?)");
}

std::vector<DockerImage> read_docker_images(const std::vector<Definition>& definitions) {
  Errors errors;
  std::vector<DockerImage> images;
  for (const Definition& definition : definitions)
    if (auto image = Reader(definition, errors).read()) images.push_back(std::move(*image));
  if (errors.empty()) images = ordered(std::move(images), errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return images;
}

}  // namespace kiln::target
