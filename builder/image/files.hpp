// A root file system read and edited while nothing runs on it. One interface, two ways with the same result:
// a mounted layer (root: loop device, 0.04 s) or libguestfs (anybody: 11 to 19 s to launch under TCG). Paths
// are absolute in the image and are resolved inside it: a symbolic link cannot lead out.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiln::image {

struct Attributes {
  unsigned mode = 0644;
  int uid = 0;
  int gid = 0;
};

struct Stat {
  char kind = 'f';  // f file, d directory, l link, ? anything else
  unsigned mode = 0;
  int uid = 0;
  int gid = 0;
  std::uint64_t size = 0;
  std::string target;  // of a link
};

class Files {
 public:
  virtual ~Files() = default;  // does not tell whether what was written is in the image
  // Lets go of the image: all that was written is in it when this returns, else base::Error is thrown.
  // Nothing may be asked afterwards. A mounted layer's files have nothing to do here: Mount::close() does it.
  virtual void close() {}
  // lstat; nullopt when there is nothing at `path`.
  virtual std::optional<Stat> find(const std::string& path) = 0;
  virtual std::string read(const std::string& path) = 0;                    // follows links inside the image
  virtual std::vector<std::string> list(const std::string& directory) = 0;  // names, sorted
  // Bytes that a directory and all below it take on its file system; a file of several names counts once.
  virtual std::uint64_t used(const std::string& directory) = 0;
  // The parent must exist. An existing file is replaced (not its link's target).
  virtual void write(const std::string& path, const std::string& content, const Attributes& attributes) = 0;
  virtual void make_directory(const std::string& path,
                              const Attributes& attributes) = 0;  // fine when it exists; attributes are set
  virtual void link(const std::string& path,
                    const std::string& target) = 0;  // symbolic; replaces a link or file
  virtual void remove(const std::string& path) = 0;  // with all below it; fine when absent
  virtual void set_attributes(const std::string& path, const Attributes& attributes) = 0;
  // Unpacks a local tar below `directory` with owners (numbers as they are), modes and links of the archive.
  virtual void unpack(const std::filesystem::path& tar, const std::string& directory) = 0;
  virtual void copy_out(const std::string& path, const std::filesystem::path& local) = 0;
  // Tells the layer which blocks are free, so that they need no room in the store nor in an export.
  virtual void discard_free() = 0;
};

}  // namespace kiln::image
