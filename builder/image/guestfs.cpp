// image::Files by libguestfs, for whoever is not root: a small appliance is booted and the layer edited in
// there. libguestfs lives only here.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <fmt/format.h>
#include <guestfs.h>
#include <map>
#include <memory>
#include <sys/stat.h>
#include <sys/un.h>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "image/disk.hpp"
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
  GuestfsFiles(const host::Host& host, const std::filesystem::path& image, std::filesystem::path scratch,
               bool read_only, bool force_tcg)
      : image_(image), scratch_(std::move(scratch)), g_(guestfs_create()) {
    if (g_ == nullptr) throw Error("libguestfs cannot be initialised", Exit::missing);
    try {
      const std::string format = disk_info(host, image).format;
      guestfs_set_error_handler(g_, nullptr, nullptr);  // errors come back as exceptions, not on stderr
      use_scratch(host);
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
                                    GUESTFS_ADD_DRIVE_OPTS_FORMAT, format.c_str(), -1),
             "adding the disk");
      } else {
        done(guestfs_add_drive_opts(g_, image.c_str(), GUESTFS_ADD_DRIVE_OPTS_FORMAT, format.c_str(),
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
    if (g_ == nullptr) return;
    guestfs_umount_all(g_);
    guestfs_shutdown(g_);
    guestfs_close(g_);
  }

  void close() override {
    if (g_ == nullptr) return;
    // Both write what is left and tell when that fails.
    done(guestfs_umount_all(g_), "writing what was changed");
    done(guestfs_shutdown(g_), "writing what was changed");
    guestfs_close(std::exchange(g_, nullptr));
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

  std::uint64_t used(const std::string& directory) override {
    const std::int64_t kilobytes = guestfs_du(g_, directory.c_str());
    if (kilobytes < 0) fail(fmt::format("measuring '{}'", directory));
    return static_cast<std::uint64_t>(kilobytes) * 1024;
  }

  void write(const std::string& path, const std::string& content, const Attributes& attributes) override {
    done(guestfs_rm_f(g_, path.c_str()), fmt::format("replacing '{}'", path));
    if (content.size() <= largest_message) {
      done(guestfs_write(g_, path.c_str(), content.data(), content.size()),
           fmt::format("writing '{}'", path));
    } else {
      const host::TempDir local(scratch_);
      const auto file = local.path() / "content";
      host::write_file(file, content, 0600);
      done(guestfs_upload(g_, file.c_str(), path.c_str()), fmt::format("writing '{}'", path));
    }
    set_attributes(path, attributes);
  }

  void make_directory(const std::string& path, const Attributes& attributes) override {
    const auto before = find(path);
    if (before && before->kind == 'l') {
      // What the link leads to has to be a directory; it gets the attributes, as it would on a mounted layer.
      const Text real(guestfs_realpath(g_, path.c_str()));
      if (!real) fail(fmt::format("making the directory '{}'", path));
      return make_directory(real.get(), attributes);
    }
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
    const auto there = find(path);
    if (!there) throw Error(fmt::format("cannot set the mode of {} in the image: it does not exist", path));
    done(guestfs_lchown(g_, attributes.uid, attributes.gid, path.c_str()),
         fmt::format("setting the owner of '{}'", path));
    if (there->kind == 'l') return;  // a link has no mode, and chmod would change what it leads to
    done(guestfs_chmod(g_, static_cast<int>(attributes.mode), path.c_str()),
         fmt::format("setting the mode of '{}'", path));
  }

  void unpack(const std::filesystem::path& tar, const std::string& directory) override {
    done(guestfs_mkdir_p(g_, directory.c_str()), fmt::format("making the directory '{}'", directory));
    // The appliance's tar replaces a link by the directory of that name (and /lib is one on a merged system),
    // and it takes owners' names for those of the appliance. So an archive in which either matters is
    // rewritten first.
    Translation translation(*this, directory);
    bool as_it_is = true;
    host::read_archive(tar, [&](const host::Member& member, const auto&) {
      as_it_is = translation.same(member) && as_it_is;
    });
    if (as_it_is) {
      done(guestfs_tar_in_opts(g_, tar.c_str(), directory.c_str(), GUESTFS_TAR_IN_OPTS_XATTRS, 1, -1),
           fmt::format("unpacking '{}' below '{}'", tar.string(), directory));
      return;
    }
    const host::TempDir local(scratch_);
    std::vector<host::Member> members;
    host::read_archive(tar, [&](const host::Member& member, const host::Content& content) {
      auto changed = translation.changed(member);
      if (!changed) return;
      if (member.kind == 'f') {
        changed->source = local.path() / fmt::format("{}", members.size());
        content.save(changed->source);
      }
      members.push_back(std::move(*changed));
    });
    const auto rewritten = local.path() / "rewritten.tar";
    host::write_archive(rewritten, host::Format::tar, members);
    done(guestfs_tar_in(g_, rewritten.c_str(), "/"),
         fmt::format("unpacking '{}' below '{}'", tar.string(), directory));
  }

  void copy_out(const std::string& path, const std::filesystem::path& local) override {
    done(guestfs_download(g_, path.c_str(), local.c_str()), fmt::format("copying '{}' out", path));
  }

  void discard_free() override { done(guestfs_fstrim(g_, "/", -1), "discarding free blocks"); }

 private:
  // What members of an archive are in the image: paths without links on the way, owners as numbers.
  class Translation {
   public:
    Translation(GuestfsFiles& files, const std::string& directory)
        : files_(files), base_(directory == "/" ? "" : directory) {}

    bool same(const host::Member& member) {
      const auto now = changed(member);
      return now && "/" + now->path == base_ + "/" + member.path && now->owner == member.owner &&
             now->group == member.group;
    }

    // nullopt: a directory that is already there as a link to one.
    std::optional<host::Member> changed(const host::Member& member) {
      host::Member now = member;
      const std::string path = base_ + "/" + member.path;
      const std::size_t slash = path.rfind('/');
      now.path = (real_folder(path.substr(0, slash)) + path.substr(slash)).substr(1);
      if (member.kind == 'd' && real_folder(path) != "/" + now.path) return std::nullopt;
      now.owner = id_of(member.owner, "/etc/passwd");
      now.group = id_of(member.group, "/etc/group");
      return now;
    }

   private:
    // A directory's own place; itself when it does not exist yet. "" is the root.
    const std::string& real_folder(const std::string& path) {
      const auto known = folders_.find(path);
      if (known != folders_.end()) return known->second;
      std::string real;
      if (!path.empty()) {
        const std::size_t slash = path.rfind('/');
        real = real_folder(path.substr(0, slash)) + path.substr(slash);
        const auto there = files_.find(real);
        if (there && there->kind == 'l') {
          const Text leads(guestfs_realpath(files_.g_, real.c_str()));
          // A link to nothing is replaced, as tar would.
          if (leads) real = leads.get();
        }
      }
      return folders_.emplace(path, real).first->second;
    }

    std::string id_of(const std::string& owner, const std::string& list) {
      if (!owner.empty() && owner.find_first_not_of("0123456789") == std::string::npos) return owner;
      if (owner == "root") return "0";
      for (const std::string& line : base::lines(files_.read(list))) {
        const std::vector<std::string> fields = base::split(line, ':');
        if (fields.size() > 2 && fields[0] == owner) return fields[2];
      }
      throw Error("the archive has files of '" + owner + "', whom " + list + " of the image does not know");
    }

    GuestfsFiles& files_;
    std::string base_;
    std::map<std::string, std::string> folders_;
  };

  // Nothing of this handle is in /tmp, where it would outlive a kiln that is killed.
  void use_scratch(const host::Host& host) {
    done(guestfs_set_tmpdir(g_, scratch_.c_str()), "setting up");
    // Its sockets, too, where their path is not too long for one.
    constexpr std::string_view socket = "/libguestfsXXXXXX/guestfsd.sock";
    if (scratch_.string().size() + socket.size() >= sizeof(sockaddr_un::sun_path)) return;
    // The rest of the environment is read anew with it.
    std::vector<std::string> variables = {"XDG_RUNTIME_DIR=" + scratch_.string()};
    if (const auto value = host.env("TMPDIR")) variables.push_back("TMPDIR=" + *value);
    std::vector<char*> list;
    list.reserve(variables.size() + 1);
    for (std::string& one : variables) list.push_back(one.data());
    list.push_back(nullptr);
    done(guestfs_parse_environment_list(g_, list.data()), "setting up");
  }

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
      if (label && std::string(label.get()) == root_label) return device;
      candidates.push_back(device);
    }
    if (candidates.size() == 1) return candidates.front();
    throw Error(fmt::format("{} file systems could be the root, and none has the label 'cloudimg-rootfs'",
                            candidates.size()))
        .at({image_.string()})
        .hint("label the root file system of the base image, for example with e2label");
  }

  std::filesystem::path image_;
  std::filesystem::path scratch_;
  guestfs_h* g_;
};

}  // namespace

std::unique_ptr<Files> guestfs_files(const host::Host& host, const std::filesystem::path& image,
                                     const std::filesystem::path& scratch, bool read_only, bool force_tcg) {
  return std::make_unique<GuestfsFiles>(host, image, std::filesystem::absolute(scratch), read_only,
                                        force_tcg);
}

}  // namespace kiln::image
