#include "image/mount.hpp"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <climits>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <thread>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/io_error.hpp"
#include "image/disk.hpp"
#include "image/rooted.hpp"

namespace kiln::image {

namespace fs = std::filesystem;
using host::Fd;
using nlohmann::json;
using std::chrono::milliseconds;

namespace {

// ---- The qcow2 as a file

// qemu-storage-daemon with one FUSE export. What is written into it is in the image once flush() has said so
// and the daemon has ended.
class Export {
 public:
  Export(const host::Host& host, const fs::path& image, fs::path file, bool read_only)
      : file_(std::move(file)), log_(file_.string() + ".log"), read_only_(read_only) {
    const DiskInfo info = disk_info(host, image);
    if (info.format != "qcow2" && info.format != "raw")
      throw base::Error(
          fmt::format("'{}' is a {} image: only qcow2 and raw can be mounted", image.string(), info.format));
    host::write_file(file_, "");
    struct stat before{};
    ::stat(file_.c_str(), &before);
    // JSON, because a path may hold a comma. No flush reaches the host's disk: dpkg syncs each file, and a
    // layer is synced once, when it is committed. Until then a crash of the host drops it anyway.
    const json cache = {{"no-flush", true}};
    const json node = {
        {"driver", "file"},       {"node-name", "file"}, {"filename", fs::absolute(image).string()},
        {"read-only", read_only}, {"discard", "unmap"},  {"cache", cache}};
    const json disk = {{"driver", info.format},  {"node-name", "disk"}, {"file", "file"},
                       {"read-only", read_only}, {"discard", "unmap"},  {"cache", cache}};
    const json fuse = {
        {"type", "fuse"},         {"id", "export"},    {"node-name", "disk"}, {"mountpoint", file_.string()},
        {"writable", !read_only}, {"growable", false}, {"allow-other", "off"}};
    base::ScopeExit undo([this] { drop(); });
    host::Command command{"qemu-storage-daemon", "--blockdev", node.dump(), "--blockdev",
                          disk.dump(),           "--export",   fuse.dump()};
    command.log = log_;
    command.purpose = "showing '" + image.string() + "' as a file";
    daemon_ = host.runner->start(command);
    const double end = host.elapsed() + 30;
    while (true) {
      struct stat now{};
      if (::stat(file_.c_str(), &now) == 0 && now.st_dev != before.st_dev) break;
      if (const auto finished = daemon_->wait(milliseconds(10))) {
        throw base::Error("qemu-storage-daemon cannot show '" + image.string() +
                          "' as a file: " + finished->how())
            .hint("FUSE is needed: /dev/fuse and the package fuse3")
            .detail(base::last_lines(base::printable(host::read_file(log_)), 10));
      }
      if (host.elapsed() > end) {
        throw base::Error("qemu-storage-daemon did not show '" + image.string() + "' within 30 s")
            .detail(base::last_lines(base::printable(host::read_file(log_)), 10));
      }
    }
    undo.release();
  }

  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;

  // Whatever becomes of the daemon, nothing stays mounted on the file: a dead FUSE mount cannot even be
  // looked at, and the folder that holds it could not be removed.
  ~Export() {
    const host::InterruptShield shield;
    try {
      close();
    } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch)
      // Whoever cares for what was written has called close().
    }
    drop();
  }

  [[nodiscard]] const fs::path& file() const { return file_; }

  // Puts into the image's file what the daemon still holds: the tables of a qcow2, which need room as well.
  // Returns the errno of what went wrong, 0 when all is there.
  [[nodiscard]] int flush() const {
    const Fd fd(::open(file_.c_str(), O_RDONLY | O_CLOEXEC));
    return fd && ::fsync(fd.get()) == 0 ? 0 : errno;
  }

  // Ends the daemon; throws unless it ended as it should.
  void close() {
    if (!daemon_) return;
    const std::unique_ptr<host::Process> daemon = std::move(daemon_);
    daemon->stop(std::chrono::seconds(60));
    if (read_only_) return;  // nothing can be lost
    const auto finished = daemon->wait(milliseconds(0));
    const std::string said = host::read_file(log_);
    // It ends with 0 although it could not write its tables, and says so only here.
    if (finished && finished->ok() && said.find("Failed to flush") == std::string::npos) return;
    throw base::Error("qemu-storage-daemon failed: " + (finished ? finished->how() : "it does not end"))
        .hint("what was written into the layer may be lost; build again")
        .detail(base::last_lines(base::printable(said), 10));
  }

 private:
  void drop() noexcept {
    daemon_.reset();
    ::umount2(file_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }

  fs::path file_;
  fs::path log_;
  bool read_only_;
  std::unique_ptr<host::Process> daemon_;
};

// ---- The root partition as a block device

struct Loop {
  Fd fd;
  fs::path path;
};

// A loop device over a part of a file. It goes away by itself when its last user (the mount) does.
Loop attach_loop(const fs::path& file, const FileSystem& part, bool read_only) {
  const Fd backing(::open(file.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
  if (!backing) throw host::io_error("open", file, errno);
  const Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) {
    throw base::Error("cannot use loop devices: " + host::errno_text(errno), base::Exit::missing)
        .hint("load the module 'loop', or run kiln as an ordinary user: it then needs no loop device");
  }
  for (int attempt = 0; attempt < 100; ++attempt) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) throw host::io_error("find a free device of", "/dev/loop-control", errno);
    Loop loop;
    loop.path = "/dev/loop" + std::to_string(number);
    loop.fd = Fd(::open(loop.path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    if (!loop.fd) throw host::io_error("open", loop.path, errno);
    loop_config config{};
    config.fd = static_cast<__u32>(backing.get());
    config.info.lo_offset = part.start;
    config.info.lo_sizelimit = part.size;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | (read_only ? LO_FLAGS_READ_ONLY : 0);
    if (::ioctl(loop.fd.get(), LOOP_CONFIGURE, &config) == 0) return loop;
    if (errno != EBUSY) throw host::io_error("attach the image to", loop.path, errno);
    std::this_thread::sleep_for(milliseconds(5));  // another kiln was faster
  }
  throw base::Error("found no free loop device");
}

// ---- The mount

class Folder : public Mount {
 public:
  explicit Folder(fs::path root) : root_(std::move(root)) {}
  [[nodiscard]] const fs::path& root() const override { return root_; }
  void close() override {}

 private:
  fs::path root_;
};

class LayerMount : public Mount {
 public:
  LayerMount(const host::Host& host, const fs::path& image, const fs::path& scratch, bool read_only)
      : image_(image), root_(fs::absolute(scratch) / "root"), read_only_(read_only) {
    host::private_mounts();
    fs::create_directories(root_);
    export_ = std::make_unique<Export>(host, image, fs::absolute(scratch) / "disk", read_only);
    const FileSystem part = root_file_system(host, export_->file());
    Loop loop = attach_loop(export_->file(), part, read_only);
    // noatime: reading the layer must not change it. nodev: what runs in it gets a /dev of its own.
    const unsigned long flags = MS_NOATIME | MS_NODEV | (read_only ? 1UL * MS_RDONLY : 0UL);
    const char* options = read_only && part.kind == "ext4" ? "noload" : nullptr;
    if (::mount(loop.path.c_str(), root_.c_str(), part.kind.c_str(), flags, options) != 0) {
      throw base::Error(fmt::format("cannot mount the root file system ({}) of '{}': {}", part.kind,
                                    image.string(), host::errno_text(errno)))
          .hint(
              "the host's kernel may lack this file system, or it is damaged: kiln's guestfs road (an "
              "ordinary "
              "user's) reads it too");
    }
    mounted_ = true;
    loop_ = std::move(loop);
    // Both tell of every write that fails from now on.
    root_fd_ = Fd(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root_fd_) {
      const base::Error error = host::io_error("open", root_, errno);
      abandon();
      throw error;  // NOLINT(misc-throw-by-value-catch-by-reference)
    }
  }
  LayerMount(const LayerMount&) = delete;
  LayerMount& operator=(const LayerMount&) = delete;

  ~LayerMount() override { abandon(); }

  [[nodiscard]] const fs::path& root() const override { return root_; }

  void close() override {
    const host::InterruptShield shield;
    // A write that failed was told to nobody: what wrote it is long gone. The first is reported, and only
    // when nothing is mounted any more.
    int failed = 0;
    const auto check = [&](int code) {
      if (failed == 0 && !read_only_) failed = code;
    };
    if (mounted_) check(::syncfs(root_fd_.get()) == 0 ? 0 : errno);
    detach(check);
    if (failed != 0) throw loss(failed);
  }

 private:
  // Takes all away; what was written does not matter any more.
  void abandon() noexcept {
    const host::InterruptShield shield;
    try {
      detach([](int) {});
    } catch (const std::exception&) {
      if (mounted_) ::umount2(root_.c_str(), MNT_DETACH);
    }
  }

  // `check` hears of each moment at which what is written may turn out to be lost: an errno, or 0.
  template <typename Check>
  void detach(Check check) {
    root_fd_.reset();  // it keeps the mount busy
    if (mounted_) {
      // A process that was just killed may still hold a file for a moment.
      for (int attempt = 0; ::umount2(root_.c_str(), UMOUNT_NOFOLLOW) != 0; ++attempt) {
        if (errno != EBUSY || attempt >= 100)
          throw base::Error(fmt::format("cannot unmount '{}': {}", root_.string(), host::errno_text(errno)));
        std::this_thread::sleep_for(milliseconds(50));
      }
      mounted_ = false;
      // Unmounting writes too: the journal's end and the superblock.
      check(::fsync(loop_.fd.get()) == 0 ? 0 : errno);
      loop_.fd.reset();
      wait_for_loop();
    }
    if (export_) {
      const std::unique_ptr<Export> ending = std::move(export_);
      if (!read_only_) check(ending->flush());
      ending->close();
    }
  }

  // The device lets go of the file a moment after the last unmount; before that the daemon must not end.
  void wait_for_loop() const {
    for (int attempt = 0; attempt < 600; ++attempt) {
      const Fd fd(::open(loop_.path.c_str(), O_RDONLY | O_CLOEXEC));
      loop_info64 info{};
      if (!fd || ::ioctl(fd.get(), LOOP_GET_STATUS64, &info) != 0) return;
      // Somebody else's by now.
      struct stat ours{};
      if (::stat(export_->file().c_str(), &ours) == 0 && info.lo_inode != ours.st_ino) return;
      std::this_thread::sleep_for(milliseconds(50));
    }
    throw base::Error(loop_.path.string() + " did not let go of the image within 30 s");
  }

  // The loop device makes an input/output error of all that goes wrong below it, also of a full disk.
  [[nodiscard]] base::Error loss(int code) const {
    const std::uintmax_t free = host::free_space(fs::absolute(image_).parent_path());
    constexpr std::uintmax_t next_to_nothing = 16U << 20U;
    if (code == ENOSPC || code == EDQUOT || free < next_to_nothing) {
      return base::Error(fmt::format("the host's file system that holds '{}' is full ({} free): what was "
                                     "written into the layer is lost",
                                     image_.string(), base::human_size(free)))
          .hint("make room there, or use another store with --store");
    }
    return base::Error(fmt::format("what was written into the layer '{}' is lost: {}", image_.string(),
                                   host::errno_text(code)))
        .hint(fmt::format("was the host's file system full for a while ({} are free now)? Else look for the "
                          "disk's errors in the host's kernel log",
                          base::human_size(free)));
  }

  fs::path image_;
  fs::path root_;
  bool read_only_;
  Loop loop_;
  Fd root_fd_;
  std::unique_ptr<Export> export_;
  bool mounted_ = false;
};

// ---- Files of a mounted layer

class MountedFiles : public Files {
 public:
  explicit MountedFiles(Mount& mount)
      : mount_(mount), root_(::open(mount.root().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
    if (!root_) throw host::io_error("open", mount.root(), errno);
  }

  std::optional<Stat> find(const std::string& path) override {
    const Place place = place_of(path, true);
    if (!place.folder) return std::nullopt;
    struct stat status{};
    if (::fstatat(place.folder.get(), place.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
      throw failure("look at", path);
    }
    Stat stat;
    stat.kind = S_ISREG(status.st_mode)   ? 'f'
                : S_ISDIR(status.st_mode) ? 'd'
                : S_ISLNK(status.st_mode) ? 'l'
                                          : '?';
    stat.mode = status.st_mode & 07777U;
    stat.uid = static_cast<int>(status.st_uid);
    stat.gid = static_cast<int>(status.st_gid);
    stat.size = static_cast<std::uint64_t>(status.st_size);
    if (stat.kind == 'l') {
      std::string target(PATH_MAX, '\0');
      const ssize_t length =
          ::readlinkat(place.folder.get(), place.name.c_str(), target.data(), target.size());
      if (length < 0) throw failure("read the link", path);
      target.resize(static_cast<std::size_t>(length));
      stat.target = target;
    }
    return stat;
  }

  std::string read(const std::string& path) override {
    const Fd fd = open_regular(path);
    std::string content;
    each_chunk(fd, path, [&](std::string_view bytes) { content += bytes; });
    return content;
  }

  std::vector<std::string> list(const std::string& directory) override {
    Fd fd = open_inside(directory, O_RDONLY | O_DIRECTORY);
    if (!fd) throw failure("list", directory);
    return names_in(std::move(fd), directory);
  }

  std::uint64_t used(const std::string& directory) override {
    Fd fd = open_inside(directory, O_RDONLY | O_DIRECTORY);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) throw failure("measure", directory);
    std::set<ino_t> seen;
    return block_bytes(status) + used_below(std::move(fd), directory, status.st_dev, seen);
  }

  void write(const std::string& path, const std::string& content, const Attributes& attributes) override {
    const Place place = place_of(path, false);
    put_file(place, path, content, attributes, nullptr);
  }

  void make_directory(const std::string& path, const Attributes& attributes) override {
    const Place place = place_of(path, false);
    if (::mkdirat(place.folder.get(), place.name.c_str(), 0700) != 0 && errno != EEXIST)
      throw failure("make the directory", path);
    const Fd fd = open_inside(path, O_RDONLY | O_DIRECTORY);
    if (!fd) throw failure("make the directory", path);
    apply(fd, attributes, path);
  }

  void link(const std::string& path, const std::string& target) override {
    const Place place = place_of(path, false);
    put_link(place, path, target);
  }

  void remove(const std::string& path) override {
    const Place place = place_of(path, true);
    if (place.folder) remove_at(place.folder.get(), place.name, path);
  }

  void set_attributes(const std::string& path, const Attributes& attributes) override {
    const auto stat = find(path);
    if (!stat) throw base::Error("cannot set the mode of " + path + " in the image: it does not exist");
    const Place place = place_of(path, false);
    if (::fchownat(place.folder.get(), place.name.c_str(), static_cast<uid_t>(attributes.uid),
                   static_cast<gid_t>(attributes.gid), AT_SYMLINK_NOFOLLOW) != 0)
      throw failure("set the owner of", path);
    if (stat->kind != 'l' && ::fchmodat(place.folder.get(), place.name.c_str(), attributes.mode, 0) != 0)
      throw failure("set the mode of", path);
  }

  void unpack(const fs::path& tar, const std::string& directory) override;

  void copy_out(const std::string& path, const fs::path& local) override {
    const Fd fd = open_regular(path);
    const Fd out(::open(local.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (!out) throw host::io_error("write", local, errno);
    each_chunk(fd, path, [&](std::string_view bytes) {
      while (!bytes.empty()) {
        const ssize_t put = ::write(out.get(), bytes.data(), bytes.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) throw host::io_error("write", local, errno);
        bytes.remove_prefix(static_cast<std::size_t>(put));
      }
    });
  }

  void discard_free() override {
    const Fd fd(::open(mount_.root().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    fstrim_range range{};
    range.len = UINT64_MAX;
    // A file system that cannot tell its free blocks costs room, nothing else.
    if (::ioctl(fd.get(), FITRIM, &range) != 0 && errno != EOPNOTSUPP && errno != ENOTTY)
      throw failure("discard free blocks of", "/");
  }

 private:
  // The directory that holds a path, resolved in the image, and the last name, which is not.
  struct Place {
    Fd folder;
    std::string name;
  };

  static base::Error failure(const std::string& deed, const std::string& path) {
    const int code = errno;
    base::Error error(fmt::format("cannot {} {} in the image: {}", deed, path, host::errno_text(code)));
    if (code == ENOSPC) error.hint("the image's file system is full: raise 'size:' of the base");
    return error;
  }

  // As if the layer were the root of everything: neither ".." nor a link leads out.
  [[nodiscard]] Fd open_inside(const std::string& path, int flags) const {
    return open_rooted(root_, path, flags);
  }

  // `absent_is_fine`: the place has no folder when there is none. Else that is an error.
  [[nodiscard]] Place place_of(const std::string& path, bool absent_is_fine) const {
    std::string clean = path;
    while (clean.size() > 1 && clean.back() == '/') clean.pop_back();
    if (clean.empty() || clean.front() != '/')
      throw std::logic_error("not an absolute path in the image: " + path);
    Place place;
    const std::size_t slash = clean.rfind('/');
    place.name = clean == "/" ? "." : clean.substr(slash + 1);
    if (place.name == "..") throw std::logic_error("a path in the image ends in '..': " + path);
    place.folder = open_inside(slash == 0 ? "/" : clean.substr(0, slash), O_PATH | O_DIRECTORY);
    if (place.folder) return place;
    const bool absent = errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
    if (!absent_is_fine || !absent) throw failure("enter the directory of", path);
    return place;
  }

  [[nodiscard]] Fd open_regular(const std::string& path) const {
    Fd fd = open_inside(path, O_RDONLY | O_NONBLOCK);
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) throw failure("read", path);
    if (!S_ISREG(status.st_mode))
      throw base::Error("cannot read " + path + " in the image: it is not a file");
    return fd;
  }

  template <typename F>
  static void each_chunk(const Fd& fd, const std::string& path, F each) {
    std::vector<char> buffer(std::size_t{1} << 20U);
    while (true) {
      host::check_interrupt();
      const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw failure("read", path);
      if (got == 0) return;
      each(std::string_view(buffer.data(), static_cast<std::size_t>(got)));
    }
  }

  static std::vector<std::string> names_in(Fd fd, const std::string& path) {
    DIR* dir = ::fdopendir(fd.get());
    if (dir == nullptr) throw failure("list", path);
    fd.release();
    const base::ScopeExit close([dir] { ::closedir(dir); });
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(dir)) {
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  static std::uint64_t block_bytes(const struct stat& status) {
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
  }

  static std::uint64_t used_below(Fd fd, const std::string& path, dev_t device, std::set<ino_t>& seen) {
    host::check_interrupt();
    const Fd again(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    std::uint64_t bytes = 0;
    for (const std::string& name : names_in(std::move(fd), path)) {
      struct stat status{};
      if (::fstatat(again.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        throw failure("measure", path);
      if (status.st_dev != device) continue;
      if (!S_ISDIR(status.st_mode) && status.st_nlink > 1 && !seen.insert(status.st_ino).second) continue;
      bytes += block_bytes(status);
      if (!S_ISDIR(status.st_mode)) continue;
      Fd inner(::openat(again.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
      if (!inner) throw failure("measure", path);
      // NOLINTNEXTLINE(misc-no-recursion)
      bytes += used_below(std::move(inner), fmt::format("{}/{}", path, name), device, seen);
    }
    return bytes;
  }

  static void apply(const Fd& fd, const Attributes& attributes, const std::string& path) {
    // The owner first: changing it drops set-id bits.
    if (::fchown(fd.get(), static_cast<uid_t>(attributes.uid), static_cast<gid_t>(attributes.gid)) != 0)
      throw failure("set the owner of", path);
    if (::fchmod(fd.get(), attributes.mode) != 0) throw failure("set the mode of", path);
  }

  static void set_time(int folder, const std::string& name, std::int64_t mtime) {
    const timespec times[2] = {{mtime, 0}, {mtime, 0}};
    ::utimensat(folder, name.c_str(), times, AT_SYMLINK_NOFOLLOW);
  }

  static void put_file(const Place& place, const std::string& path, std::string_view content,
                       const Attributes& attributes, const std::int64_t* mtime) {
    const std::string temporary = ".kiln-" + base::random_hex(8);
    const Fd fd(::openat(place.folder.get(), temporary.c_str(),
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) throw failure("write", path);
    base::ScopeExit drop([&] { ::unlinkat(place.folder.get(), temporary.c_str(), 0); });
    while (!content.empty()) {
      const ssize_t put = ::write(fd.get(), content.data(), content.size());
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw failure("write", path);
      content.remove_prefix(static_cast<std::size_t>(put));
    }
    apply(fd, attributes, path);
    if (mtime != nullptr) set_time(place.folder.get(), temporary, *mtime);
    if (::renameat(place.folder.get(), temporary.c_str(), place.folder.get(), place.name.c_str()) != 0)
      throw failure("write", path);
    drop.release();
  }

  static void put_link(const Place& place, const std::string& path, const std::string& target) {
    const std::string temporary = ".kiln-" + base::random_hex(8);
    if (::symlinkat(target.c_str(), place.folder.get(), temporary.c_str()) != 0) throw failure("link", path);
    if (::renameat(place.folder.get(), temporary.c_str(), place.folder.get(), place.name.c_str()) == 0)
      return;
    const base::Error error = failure("link", path);
    ::unlinkat(place.folder.get(), temporary.c_str(), 0);
    throw error;  // NOLINT(misc-throw-by-value-catch-by-reference)
  }

  static void remove_at(int folder, const std::string& name, const std::string& path) {
    if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return;
    if (errno != EISDIR && errno != EPERM) throw failure("remove", path);
    Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) throw failure("remove", path);
    const Fd again(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 3));
    for (const std::string& inner : names_in(std::move(fd), path))
      remove_at(again.get(), inner, fmt::format("{}/{}", path, inner));  // NOLINT(misc-no-recursion)
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) != 0) throw failure("remove", path);
  }

  static int number_of(const std::string& text, const std::string& source) {
    int id = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), id);
    if (failure == std::errc() && end == text.data() + text.size() && id >= 0) return id;
    throw base::Error(fmt::format("{} has the owner '{}', which is no id of a user or group", source,
                                  base::printable(text)))
        .hint(fmt::format("an id is a number up to {}", INT_MAX));
  }

  // An id of an archive's member: a number as it is, a name by the image's own list.
  int id_of(const std::string& owner, const std::string& list) {
    if (!owner.empty() && owner.find_first_not_of("0123456789") == std::string::npos)
      return number_of(owner, "the archive");
    if (owner == "root") return 0;
    for (const std::string& line : base::lines(read(list))) {
      const std::vector<std::string> fields = base::split(line, ':');
      if (fields.size() > 2 && fields[0] == owner) return number_of(fields[2], list + " of the image");
    }
    throw base::Error("the archive has files of '" + owner + "', whom " + list +
                      " of the image does not know");
  }

  Mount& mount_;
  Fd root_;
};

void MountedFiles::unpack(const fs::path& tar, const std::string& directory) {
  // Directories get their times last, when nothing more is written into them.
  std::vector<std::pair<std::string, std::int64_t>> folders;
  const std::string base = directory == "/" ? "" : directory;
  host::read_archive(tar, [&](const host::Member& member, const host::Content& content) {
    host::check_interrupt();
    const std::string path = base + "/" + member.path;
    Attributes attributes;
    attributes.mode = member.mode;
    attributes.uid = id_of(member.owner, "/etc/passwd");
    attributes.gid = id_of(member.group, "/etc/group");
    const auto there = find(path);
    if (member.kind == 'd') {
      // A link to a directory (/lib on a merged system) stays one, and what it leads to keeps its mode.
      if (there && there->kind == 'l' && open_inside(path, O_PATH | O_DIRECTORY)) return;
      if (there && there->kind != 'd') remove(path);
      make_directory(path, attributes);
      folders.emplace_back(path, member.mtime);
      return;
    }
    if (there && there->kind == 'd') remove(path);
    const Place place = place_of(path, false);
    switch (member.kind) {
      case 'f':
        put_file(place, path, content(), attributes, &member.mtime);
        break;
      case 'l':
        put_link(place, path, member.target);
        ::fchownat(place.folder.get(), place.name.c_str(), static_cast<uid_t>(attributes.uid),
                   static_cast<gid_t>(attributes.gid), AT_SYMLINK_NOFOLLOW);
        set_time(place.folder.get(), place.name, member.mtime);
        break;
      case 'h': {
        const Place from = place_of(base + "/" + member.target, false);
        if (there) remove(path);
        if (::linkat(from.folder.get(), from.name.c_str(), place.folder.get(), place.name.c_str(), 0) != 0)
          throw failure("link", path);
        break;
      }
      default:
        throw base::Error("'" + tar.string() + "' holds " + member.path +
                          ", which is neither file, directory nor link");
    }
  });
  for (auto folder = folders.rbegin(); folder != folders.rend(); ++folder) {
    const Place place = place_of(folder->first, false);
    set_time(place.folder.get(), place.name, folder->second);
  }
}

}  // namespace

std::unique_ptr<Mount> Mount::open(const host::Host& host, const fs::path& image, const fs::path& scratch,
                                   bool read_only) {
  return std::make_unique<LayerMount>(host, image, scratch, read_only);
}

std::unique_ptr<Mount> Mount::folder(fs::path root) {
  return std::make_unique<Folder>(std::move(root));
}

std::unique_ptr<Files> mounted_files(Mount& mount) {
  return std::make_unique<MountedFiles>(mount);
}

}  // namespace kiln::image
