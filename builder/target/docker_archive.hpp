// Docker images as files: what kiln makes is written as one docker-archive, foreign ones are read and
// verified.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::target {

struct Layer {
  std::string diff_id;         // sha256 of the tar
  std::filesystem::path file;  // the tar, not compressed
};

// One image: its id is the sha256 of `config`.
struct ImageFiles {
  std::string config;  // JSON, as the engine keeps it
  std::vector<Layer> layers;
  [[nodiscard]] std::string id() const;
  [[nodiscard]] std::vector<std::string> diff_ids() const;
};

// The JSON of an image that is made here: `settings` is that of docker_image.hpp's `config`, `history` a line
// for each layer. The same for the same arguments.
std::string image_config(const std::string& settings, const std::vector<std::string>& diff_ids,
                         const std::vector<std::string>& history);

struct NamedImage {
  std::string name;  // with its tag
  ImageFiles files;
};
// A docker-archive of all of them; a layer that several have is in it once. The same bytes for the same
// images.
void write_docker_archive(const std::filesystem::path& to, const std::vector<NamedImage>& images);

// The sha256 of the manifest for this architecture: of `raw` itself, or of the one that it lists. Throws
// base::Error, which calls it `name`, when there is none or several.
std::string choose_manifest(const std::string& raw, const std::string& name);

// Reads a docker-archive, an OCI layout as a tar or a folder, or what skopeo leaves as `dir:`, that holds one
// image for this architecture; its layers are left in `folder`. Each digest in it is checked. `manifest`: the
// sha256 of the manifest, in a layout of what its index.json names, a manifest or a list; "" does not ask.
// Throws base::Error, which calls it `name`: damaged, another architecture, other digests, paths that lead
// out of it.
ImageFiles read_image(const std::filesystem::path& from, const std::string& manifest,
                      const std::filesystem::path& folder, const std::string& name);

}  // namespace kiln::target
