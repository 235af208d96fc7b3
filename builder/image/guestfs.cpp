// image::Files by libguestfs, for whoever is not root: a small appliance is booted and the layer edited in
// there. libguestfs lives only here.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <guestfs.h>
#include <memory>
#include <sys/stat.h>

#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "image/mount.hpp"

namespace kiln::image {

namespace {

using base::Error;
using base::Exit;

// guestfs_write sends its content in one message of at most 4 MiB (guestfs(3), "PROTOCOL LIMITS"); above this
// a file is uploaded instead.
constexpr std::size_t largest_message = 1U << 20U;
constexpr std::array linux_file_systems = {"ext2", "ext3", "ext4", "xfs", "btrfs"};

struct FreeText {
  void operator()(char* text) const { std::free(text); }
};
using Text = std::unique_ptr<char, FreeText>;

// A NULL-terminated list of texts as libguestfs returns them; owned by the caller.
struct FreeList {
  void operator()(char** list) const {
    for (char** entry = list; *entry != nullptr; ++entry) std::free(*entry);
    std::free(static_cast<void*>(list));
  }
};
using List = std::unique_ptr<char*, FreeList>;

class GuestfsFiles : public Files {
 public:
  GuestfsFiles(const std::filesystem::path& image, bool read_only, bool force_tcg)
      : image_(image), g_(guestfs_create()) {
    if (g_ == nullptr) throw Error("libguestfs cannot be initialised", Exit::missing);
    try {
      guestfs_set_error_handler(g_, nullptr, nullptr);  // errors come back as exceptions, not on stderr
      done(guestfs_set_pgroup(g_, 1),
           "setting up");  // Ctrl-C reaches kiln alone, which ends the appliance in order
      done(guestfs_set_backend(g_, "direct"), "choosing the direct backend");
      if (force_tcg) {
        std::array<char, 10> setting = {"force_tcg"};
        std::array<char*, 2> settings = {setting.data(), nullptr};
        done(guestfs_set_backend_settings(g_, settings.data()), "choosing TCG");
      }
      if (read_only) {
        done(guestfs_add_drive_opts(g_, image.c_str(), GUESTFS_ADD_DRIVE_OPTS_READONLY, 1,
                                    GUESTFS_ADD_DRIVE_OPTS_FORMAT, "qcow2", -1),
             "adding the disk");
      } else {
        done(guestfs_add_drive_opts(g_, image.c_str(), GUESTFS_ADD_DRIVE_OPTS_FORMAT, "qcow2",
                                    GUESTFS_ADD_DRIVE_OPTS_DISCARD, "besteffort", -1),
             "adding the disk");
      }
      if (guestfs_launch(g_) != 0)
        throw Error(fmt::format("libguestfs cannot start its appliance: {}", guestfs_last_error(g_)),
                    Exit::missing)
            .hint(
                "it needs a kernel in /boot that you may read (package linux-image-cloud-amd64); `kiln "
                "doctor` looks, "
                "`libguestfs-test-tool` tells more");
      const std::string root = find_root();
      done(read_only ? guestfs_mount_ro(g_, root.c_str(), "/") : guestfs_mount(g_, root.c_str(), "/"),
           "mounting the root file system");
    } catch (...) {
      guestfs_close(g_);
      throw;
    }
  }
  GuestfsFiles(const GuestfsFiles&) = delete;
  GuestfsFiles& operator=(const GuestfsFiles&) = delete;
  ~GuestfsFiles() override {
    guestfs_umount_all(g_);
    guestfs_shutdown(g_);
    guestfs_close(g_);
  }

  std::optional<Stat> find(const std::string& path) override {
    const std::unique_ptr<struct guestfs_statns, decltype(&guestfs_free_statns)> found(
        guestfs_lstatns(g_, path.c_str()), guestfs_free_statns);
    if (!found) {
      const int error = guestfs_last_errno(g_);
      if (error == ENOENT || error == ENOTDIR) return std::nullopt;
      fail(fmt::format("looking at '{}'", path));
    }
    Stat stat;
    const auto type = static_cast<unsigned>(found->st_mode) & static_cast<unsigned>(S_IFMT);
    stat.kind = type == S_IFREG ? 'f' : type == S_IFDIR ? 'd' : type == S_IFLNK ? 'l' : '?';
    stat.mode = static_cast<unsigned>(found->st_mode) & 07777U;
    stat.uid = static_cast<int>(found->st_uid);
    stat.gid = static_cast<int>(found->st_gid);
    stat.size = static_cast<std::uint64_t>(found->st_size);
    if (stat.kind == 'l') {
      const Text target(guestfs_readlink(g_, path.c_str()));
      if (!target) fail(fmt::format("reading the link '{}'", path));
      stat.target = target.get();
    }
    return stat;
  }

  std::string read(const std::string& path) override {
    std::size_t size = 0;
    const Text content(guestfs_read_file(g_, path.c_str(), &size));
    if (!content) fail(fmt::format("reading '{}'", path));
    return {content.get(), size};
  }

  std::vector<std::string> list(const std::string& directory) override {
    const List names(guestfs_ls(g_, directory.c_str()));
    if (!names) fail(fmt::format("listing '{}'", directory));
    std::vector<std::string> sorted;
    for (char** name = names.get(); *name != nullptr; ++name) sorted.emplace_back(*name);
    std::sort(sorted.begin(), sorted.end());
    return sorted;
  }

  void write(const std::string& path, const std::string& content, const Attributes& attributes) override {
    done(guestfs_rm_f(g_, path.c_str()), fmt::format("replacing '{}'", path));
    if (content.size() <= largest_message) {
      done(guestfs_write(g_, path.c_str(), content.data(), content.size()),
           fmt::format("writing '{}'", path));
    } else {
      const host::TempDir local;
      const auto file = local.path() / "content";
      host::write_file(file, content, 0600);
      done(guestfs_upload(g_, file.c_str(), path.c_str()), fmt::format("writing '{}'", path));
    }
    set_attributes(path, attributes);
  }

  void make_directory(const std::string& path, const Attributes& attributes) override {
    const auto before = find(path);
    if (!before) done(guestfs_mkdir(g_, path.c_str()), fmt::format("making the directory '{}'", path));
    set_attributes(path, attributes);
  }

  void link(const std::string& path, const std::string& target) override {
    done(guestfs_rm_f(g_, path.c_str()), fmt::format("replacing '{}'", path));
    done(guestfs_ln_s(g_, target.c_str(), path.c_str()), fmt::format("linking '{}'", path));
  }

  void remove(const std::string& path) override {
    done(guestfs_rm_rf(g_, path.c_str()), fmt::format("removing '{}'", path));
  }

  void set_attributes(const std::string& path, const Attributes& attributes) override {
    done(guestfs_lchown(g_, attributes.uid, attributes.gid, path.c_str()),
         fmt::format("setting the owner of '{}'", path));
    done(guestfs_chmod(g_, static_cast<int>(attributes.mode), path.c_str()),
         fmt::format("setting the mode of '{}'", path));
  }

  void unpack(const std::filesystem::path& tar, const std::string& directory) override {
    done(guestfs_mkdir_p(g_, directory.c_str()), fmt::format("making the directory '{}'", directory));
    done(guestfs_tar_in_opts(g_, tar.c_str(), directory.c_str(), GUESTFS_TAR_IN_OPTS_XATTRS, 1, -1),
         fmt::format("unpacking '{}' below '{}'", tar.string(), directory));
  }

  void copy_out(const std::string& path, const std::filesystem::path& local) override {
    done(guestfs_download(g_, path.c_str(), local.c_str()), fmt::format("copying '{}' out", path));
  }

  void discard_free() override { done(guestfs_fstrim(g_, "/", -1), "discarding free blocks"); }

 private:
  [[noreturn]] void fail(const std::string& doing) const {
    const char* reason = guestfs_last_error(g_);
    throw Error(
        fmt::format("{} in the image failed: {}", doing, reason == nullptr ? "no reason given" : reason))
        .at({image_.string()});
  }
  void done(int status, const std::string& doing) const {
    if (status != 0) fail(doing);
  }

  // The device of the root file system: by the cloud image's label, else the only Linux file system there is.
  std::string find_root() {
    const List found(guestfs_list_filesystems(g_));  // device, type, device, type, ...
    if (!found) fail("looking for file systems");
    std::vector<std::string> candidates;
    for (char** entry = found.get(); entry[0] != nullptr && entry[1] != nullptr; entry += 2) {
      const std::string device = entry[0];
      const std::string type = entry[1];
      if (std::find(linux_file_systems.begin(), linux_file_systems.end(), type) == linux_file_systems.end())
        continue;
      const Text label(guestfs_vfs_label(g_, device.c_str()));
      if (label && std::string(label.get()) == "cloudimg-rootfs") return device;
      candidates.push_back(device);
    }
    if (candidates.size() == 1) return candidates.front();
    throw Error(fmt::format("{} file systems could be the root, and none has the label 'cloudimg-rootfs'",
                            candidates.size()))
        .at({image_.string()})
        .hint("label the root file system of the base image, for example with e2label");
  }

  std::filesystem::path image_;
  guestfs_h* g_;
};

}  // namespace

std::unique_ptr<Files> guestfs_files(const host::Host& /*host*/, const std::filesystem::path& image,
                                     bool read_only, bool force_tcg) {
  return std::make_unique<GuestfsFiles>(image, read_only, force_tcg);
}

}  // namespace kiln::image
