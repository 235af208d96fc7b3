// The root tree of a docker image in the making, a folder of the host. Its files are handled as those of a
// layer are: a link in it leads nowhere but within it. Root only.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "image/files.hpp"
#include "image/mount.hpp"
#include "target/docker_image.hpp"

namespace kiln::target {

class DockerTree {
 public:
  explicit DockerTree(const std::filesystem::path& root);
  // Over files that are elsewhere: it has no root() then.
  explicit DockerTree(std::unique_ptr<image::Files> files) : files_(std::move(files)) {}
  [[nodiscard]] const std::filesystem::path& root() const { return mount_->root(); }
  [[nodiscard]] image::Files& files() { return *files_; }

  // Unpacks a layer over what is there, and takes away what it takes away.
  void lay(const std::filesystem::path& layer);
  // The user and a group of its name and number, as adduser would make them, but with no date of today; fine
  // when they are there already. Throws base::Error when the name or the number is another's.
  void add(const DockerImage::User& user);
  // A file or a tree of the host at `to`, as an overlay lays it: root's, 0644 or 0755 by its execute bit.
  // What lies in `scratch` meanwhile is removed.
  void lay_files(const std::filesystem::path& from, const std::string& to,
                 const std::filesystem::path& scratch);
  // What a sandbox mounts over, and some packages take for granted.
  void prepare();
  // Removes what a container has no use for (documentation but licences, translations, caches, lists, logs)
  // and what tells when and where the tree was made.
  void clean();

 private:
  void remove_below(const std::string& folder, const std::string& but = {});
  void remove_files_below(const std::string& folder);
  void fix_dates(const std::string& file);

  std::unique_ptr<image::Mount> mount_;
  std::unique_ptr<image::Files> files_;
};

}  // namespace kiln::target
