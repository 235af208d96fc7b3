#include "target/docker_archive.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/layer.hpp"

namespace kiln::target {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;
using nlohmann::json;

constexpr const char* architecture = "amd64";
constexpr const char* made = "2023-11-14T22:13:20Z";  // host::layer_time
constexpr std::size_t most_json = std::size_t{16} << 20U;
constexpr int deepest_index = 4;

constexpr const char* damaged = "it may be damaged; make or fetch it again";

std::string text(const json& map, const char* key) {
  const auto found = map.find(key);
  return map.is_object() && found != map.end() && found->is_string() ? found->get<std::string>() : "";
}
json part(const json& map, const char* key) {
  return map.is_object() && map.contains(key) ? map.at(key) : json();
}

Error wrong_image(const std::string& name, const std::string& what, const std::string& hint) {
  return Error(fmt::format("{} {}", name, what), Exit::usage).hint(hint);
}
Error other_architecture(const std::string& name, const std::string& is) {
  return wrong_image(name, fmt::format("is for {}, the appliance for {}", is, architecture),
                     fmt::format("take the image for linux/{}", architecture));
}

// The one manifest of a list for this architecture.
json choose(const json& list, const std::string& name) {
  std::vector<json> fitting;
  std::set<std::string> others;
  for (const json& one : part(list, "manifests")) {
    const json platform = part(one, "platform");
    const std::string is = text(platform, "architecture");
    if (is.empty() || (is == architecture && text(platform, "os") == "linux"))
      fitting.push_back(one);
    else
      others.insert(base::printable(is));
  }
  if (fitting.size() == 1) return fitting.front();
  if (fitting.empty() && !others.empty()) {
    const std::vector<std::string> names(others.begin(), others.end());
    throw other_architecture(name, base::join(names, ", "));
  }
  throw wrong_image(name, fmt::format("holds {} images", fitting.size()), "make an archive of the one image");
}

// A foreign image in the making: which file is where, and what is wrong with it.
class Foreign {
 public:
  Foreign(const fs::path& from, const fs::path& folder, std::string name)
      : folder_(folder), name_(std::move(name)) {
    fs::create_directories(folder_);
    if (fs::is_directory(from)) {
      take_folder(from, "");
    } else {
      take_archive(from);
    }
  }

  ImageFiles read(const std::string& manifest) {
    if (files_.contains("index.json")) return read_layout(manifest);
    if (files_.contains("manifest.json") && files_.contains("version")) return read_folder(manifest);
    if (files_.contains("manifest.json")) return read_docker_archive();
    throw wrong("has neither a manifest.json nor an index.json",
                "make it with `docker save` or `skopeo copy ... oci-archive:FILE`");
  }

 private:
  [[nodiscard]] Error wrong(const std::string& what, const std::string& hint = damaged) const {
    return wrong_image(name_, what, hint);
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  void take_folder(const fs::path& folder, const std::string& below) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string path = below + entry.path().filename().string();
      if (entry.is_symlink()) throw wrong(fmt::format("holds a link, '{}'", path));
      if (entry.is_directory()) take_folder(entry.path(), path + "/");
      if (entry.is_regular_file()) files_[path] = entry.path();
    }
  }

  void take_archive(const fs::path& from) {
    std::map<std::string, std::string> links;
    int number = 0;
    try {
      host::read_archive(from, [&](const host::Member& member, const host::Content& content) {
        if (member.kind == 'f') {
          const fs::path file = folder_ / fmt::format("member-{}", number++);
          content.save(file);
          if (!files_.emplace(member.path, file).second)
            throw wrong(fmt::format("holds '{}' twice", member.path));
        } else if (member.kind == 'h') {
          links[member.path] = member.target;
        } else if (member.kind == 'l') {
          // Of layers that two images share, as `docker save` writes them.
          links[member.path] =
              (fs::path(member.path).parent_path() / member.target).lexically_normal().string();
        }
      });
    } catch (Error& error) {
      if (error.exit() == Exit::failed)
        throw Error(fmt::format("{}: {}", name_, error.message()), Exit::usage).hint(error.hint_text());
      throw;
    }
    for (const auto& [path, target] : links)
      if (const auto file = files_.find(target); file != files_.end()) files_.emplace(path, file->second);
  }

  [[nodiscard]] const fs::path& file(const std::string& path) const {
    const auto found = files_.find(path);
    if (found == files_.end()) throw wrong(fmt::format("lacks '{}', which it names", base::printable(path)));
    return found->second;
  }
  [[nodiscard]] json parsed(const std::string& path, std::string_view text) const {
    json value = json::parse(text, nullptr, false);
    if (value.is_discarded()) throw wrong(fmt::format("has a damaged '{}'", base::printable(path)));
    return value;
  }
  // The file of a blob in `folder`, whose digest is checked.
  [[nodiscard]] const fs::path& blob(const std::string& digest,
                                     const std::string& folder = "blobs/sha256/") const {
    constexpr std::string_view kind = "sha256:";
    if (!digest.starts_with(kind) || !base::is_sha256(digest.substr(kind.size())))
      throw wrong(fmt::format("has the digest '{}', which is no sha256", base::printable(digest)));
    const std::string hex = digest.substr(kind.size());
    const fs::path& found = file(folder + hex);
    if (const std::string is = base::sha256_file(found); is != hex)
      throw wrong(fmt::format("is damaged: the sha256 of a file in it is {}, not {}", is, hex));
    return found;
  }

  ImageFiles read_docker_archive() {
    const json manifest = parsed("manifest.json", host::read_file(file("manifest.json"), most_json));
    if (!manifest.is_array() || manifest.size() != 1)
      throw wrong(fmt::format("holds {} images", manifest.is_array() ? manifest.size() : 0),
                  "make an archive of the one image");
    const std::string config = text(manifest[0], "Config");
    const std::string content = host::read_file(file(config), most_json);
    const std::string stem = fs::path(config).stem();
    if (base::is_sha256(stem) && base::sha256(content) != stem)
      throw wrong(fmt::format("is damaged: the sha256 of its configuration is {}, not {}",
                              base::sha256(content), stem));
    std::vector<fs::path> layers;
    for (const json& layer : part(manifest[0], "Layers"))
      if (layer.is_string()) layers.push_back(file(layer.get<std::string>()));
    return finish(content, layers);
  }

  // What skopeo's `dir:` leaves: the registry's own files.
  ImageFiles read_folder(const std::string& wanted) {
    const std::string content = host::read_file(file("manifest.json"), most_json);
    if (const std::string is = base::sha256(content); !wanted.empty() && is != wanted)
      throw other_manifest("sha256:" + is, wanted);
    const json manifest = parsed("manifest.json", content);
    std::vector<fs::path> layers;
    for (const json& layer : part(manifest, "layers")) layers.push_back(blob(text(layer, "digest"), ""));
    const std::string config = text(part(manifest, "config"), "digest");
    return finish(host::read_file(blob(config, ""), most_json), layers);
  }

  [[nodiscard]] Error other_manifest(const std::string& is, const std::string& wanted) const {
    return wrong(fmt::format("has the manifest {}, not sha256:{}", base::printable(is), wanted),
                 "if the image was meant to change, write its new digest");
  }

  ImageFiles read_layout(const std::string& wanted) {
    json list = parsed("index.json", host::read_file(file("index.json"), most_json));
    bool asked = wanted.empty();
    for (int depth = 0; depth < deepest_index; ++depth) {
      const json one = choose(list, name_);
      const std::string digest = text(one, "digest");
      asked = asked || digest == "sha256:" + wanted;
      if (!asked) throw other_manifest(digest, wanted);
      const std::string content = host::read_file(blob(digest), most_json);
      list = parsed(digest, content);
      if (list.is_object() && list.contains("manifests")) continue;
      std::vector<fs::path> layers;
      for (const json& layer : part(list, "layers")) layers.push_back(blob(text(layer, "digest")));
      return finish(host::read_file(blob(text(part(list, "config"), "digest")), most_json), layers);
    }
    throw wrong("has lists of manifests in lists of manifests");
  }

  ImageFiles finish(const std::string& config, const std::vector<fs::path>& packed) {
    const json parts = parsed("configuration", config);
    if (text(parts, "architecture") != architecture || text(parts, "os") != "linux")
      throw other_architecture(
          name_, base::printable(fmt::format("{}/{}", text(parts, "os"), text(parts, "architecture"))));
    const json ids = part(part(parts, "rootfs"), "diff_ids");
    if (!ids.is_array() || ids.empty() || ids.size() != packed.size())
      throw wrong(fmt::format("has {} layers, and its configuration names {}", packed.size(), ids.size()));
    ImageFiles image;
    image.config = config;
    for (std::size_t i = 0; i < packed.size(); ++i) {
      const fs::path tar = folder_ / fmt::format("layer-{}.tar", i);
      fs::remove(tar);
      host::expand(packed[i], tar);
      const std::string is = "sha256:" + base::sha256_file(tar);
      if (!ids[i].is_string() || ids[i].get<std::string>() != is)
        throw wrong(
            fmt::format("is damaged: the sha256 of layer {} is not what its configuration says", i + 1));
      try {
        host::read_layer(tar);
      } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", name_, error.message()), Exit::usage).hint(error.hint_text());
      }
      image.layers.push_back({is.substr(is.find(':') + 1), tar});
    }
    return image;
  }

  fs::path folder_;
  std::string name_;
  std::map<std::string, fs::path> files_;  // by their path in it
};

}  // namespace

std::string choose_manifest(const std::string& raw, const std::string& name) {
  const json manifest = json::parse(raw, nullptr, false);
  if (manifest.is_discarded()) throw wrong_image(name, "has a damaged manifest", damaged);
  if (!manifest.is_object() || !manifest.contains("manifests")) return base::sha256(raw);
  constexpr std::string_view kind = "sha256:";
  const std::string digest = text(choose(manifest, name), "digest");
  return digest.starts_with(kind) ? digest.substr(kind.size()) : digest;
}

std::string ImageFiles::id() const {
  return base::sha256(config);
}

std::vector<std::string> ImageFiles::diff_ids() const {
  std::vector<std::string> ids;
  ids.reserve(layers.size());
  for (const Layer& layer : layers) ids.push_back(layer.diff_id);
  return ids;
}

std::string image_config(const std::string& settings, const std::vector<std::string>& diff_ids,
                         const std::vector<std::string>& history) {
  json config = {{"architecture", architecture}, {"os", "linux"}, {"created", made}};
  config["config"] = json::parse(settings);
  json ids = json::array();
  for (const std::string& id : diff_ids) ids.push_back("sha256:" + id);
  config["rootfs"] = {{"type", "layers"}, {"diff_ids", ids}};
  json lines = json::array();
  for (const std::string& line : history) lines.push_back({{"created", made}, {"created_by", line}});
  config["history"] = lines;
  return config.dump();
}

void write_docker_archive(const fs::path& to, const std::vector<NamedImage>& images) {
  std::vector<host::Member> members;
  std::set<std::string> there;
  json manifest = json::array();
  const auto add = [&](const std::string& path) -> host::Member* {
    if (!there.insert(path).second) return nullptr;
    host::Member member;
    member.path = path;
    member.owner = member.group = "0";
    member.mtime = host::layer_time;
    members.push_back(std::move(member));
    return &members.back();
  };
  for (const NamedImage& image : images) {
    json layers = json::array();
    for (const Layer& layer : image.files.layers) {
      layers.push_back(layer.diff_id + ".tar");
      if (auto* member = add(layer.diff_id + ".tar")) member->source = layer.file;
    }
    const std::string config = image.files.id() + ".json";
    if (auto* member = add(config)) member->content = image.files.config;
    manifest.push_back({{"Config", config}, {"RepoTags", json::array({image.name})}, {"Layers", layers}});
  }
  add("manifest.json")->content = manifest.dump();
  host::write_archive(to, host::Format::tar, members);
}

ImageFiles read_image(const fs::path& from, const std::string& manifest, const fs::path& folder,
                      const std::string& name) {
  return Foreign(from, folder, name).read(manifest);
}

}  // namespace kiln::target
