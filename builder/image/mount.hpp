// A layer's root file system mounted on the host: qemu-storage-daemon shows the qcow2 as a file (FUSE), a
// loop device reads its root partition. Root only.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "host/host.hpp"
#include "image/files.hpp"

namespace kiln::image {

class Mount {
 public:
  // Mounts the root partition of `image` (qcow2 or raw; writable) below `scratch`. The root partition is the
  // one whose file system has `root_label`, or else the only Linux file system. Throws base::Error.
  static std::unique_ptr<Mount> open(const host::Host& host, const std::filesystem::path& image,
                                     const std::filesystem::path& scratch, bool read_only);
  // A folder of the host that plays the layer: nothing is mounted, and closing it does nothing.
  static std::unique_ptr<Mount> folder(std::filesystem::path root);
  virtual ~Mount() = default;  // unmounts, and does not tell whether what was written is in the image
  [[nodiscard]] virtual const std::filesystem::path& root() const = 0;
  // Unmounts and detaches now: all that was written is in the image's file when it returns (not yet synced to
  // the host's disk). Throws base::Error when that fails or a write failed before, as on a full disk of the
  // host; nothing is mounted then either.
  virtual void close() = 0;
};

// The two ways of image::Files. A mounted layer's files end with the mount. What libguestfs needs meanwhile
// lies in `scratch`, a folder that must exist.
std::unique_ptr<Files> mounted_files(Mount& mount);
std::unique_ptr<Files> guestfs_files(const host::Host& host, const std::filesystem::path& image,
                                     const std::filesystem::path& scratch, bool read_only, bool force_tcg);

}  // namespace kiln::image
