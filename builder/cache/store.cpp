#include "cache/store.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "cache/folders.hpp"
#include "host/atomic_file.hpp"
#include "host/io_error.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::array kFolders = {"layers", "stages",   "artifacts", "keys",    "verdicts",
                                 "blobs",  "packages", "failed",    "settled", "tmp"};
constexpr std::size_t kKeptFailures = 20;
constexpr std::size_t kKeptKeys = 20;
constexpr std::size_t kKeptOutside = 200;  // published files that are known unread
// Each takes some 200 MiB; what a developer goes back and forth between is few.
constexpr std::size_t kKeptSettled = 4;

// What a failed call means when the store is made or written. A full file system is named, with what is free
// on it; for all else another place is asked for.
base::Error failure(const std::string& deed, const fs::path& path, int code) {
  if (code != ENOSPC && code != EDQUOT)
    return base::Error(fmt::format("cannot {} {}: {}", deed, path.string(), host::errno_text(code)),
                       base::Exit::missing)
        .hint("give a store that can be written with --store DIR");
  std::error_code ignored;
  const fs::path place = fs::is_directory(path, ignored) ? path : path.parent_path();
  return base::Error(fmt::format("cannot {} {}: {}", deed, path.string(), host::errno_text(code)))
      .hint(fmt::format(
          "the file system of '{}' has {} free; make room, or give another place with --store DIR",
          place.string(), base::human_size(host::free_space(place))));
}

// Like mkdir -p.
void make_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw failure("make", folder, error.value());
}

std::string owner_name(uid_t uid) {
  std::array<char, 4096> buffer{};
  passwd entry{};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) == 0 && found != nullptr)
    return fmt::format("'{}' (uid {})", found->pw_name, uid);
  return fmt::format("uid {}", uid);
}

// A profile's or step's name as one path component.
std::string component(std::string_view name) {
  std::string safe;
  for (char c : name) safe += (c == '/' || c == '\0') ? '_' : c;
  if (safe.empty() || safe == "." || safe == "..") safe = "_" + safe;
  return safe;
}

// Waits for a flock without going deaf to ^C: a blocking flock would be restarted after the signal.
void lock_patiently(int fd, int how, const fs::path& file) {
  while (::flock(fd, how | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      throw base::Error(fmt::format("cannot lock {}: {}", file.string(), host::errno_text(errno)));
    host::check_interrupt();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

host::Fd open_lock_file(const fs::path& file) {
  host::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) throw failure("open", file, errno);
  return fd;
}

// All below `folder` read-only and on the disk, folders last.
void settle(const fs::path& folder, unsigned mode = 0444) {
  for (const auto& item : children(folder)) {
    const auto kind = fs::symlink_status(item).type();
    if (kind == fs::file_type::directory) {
      settle(item, mode);
    } else if (kind == fs::file_type::regular) {
      ::chmod(item.c_str(), mode);
      host::sync_path(item);
    }
  }
  host::sync_path(folder);
}

json parse_info(const std::string& info) {
  return info.empty() ? json::object() : json::parse(info);
}

}  // namespace

// ---- Entry

Entry::Entry(Store& store, fs::path folder, std::string id, host::Fd lock)
    : store_(&store), folder_(std::move(folder)), id_(std::move(id)), lock_(std::move(lock)) {}

Entry::Entry(Entry&& other) noexcept
    : store_(other.store_),
      folder_(std::exchange(other.folder_, fs::path())),
      id_(std::move(other.id_)),
      lock_(std::move(other.lock_)) {}

Entry::~Entry() {
  if (!folder_.empty()) remove_tree(folder_);
}

Layer Entry::commit(const std::string& key, const std::string& parent, double seconds,
                    const std::string& info) {
  if (folder_.empty()) throw std::logic_error("a layer is committed once");
  if (!fs::is_regular_file(image()))
    throw base::Error(fmt::format("the step left no disk image at {}", image().string()));

  // Read-only before it is read: what is digested is what stays.
  ::chmod(image().c_str(), 0444);
  host::sync_path(image());
  const auto stamp = Store::digest(image());

  Layer layer;
  layer.id = id_;
  layer.parent = parent;
  layer.key = key;
  layer.sha256 = stamp.sha256;
  layer.size = stamp.size;
  layer.seconds = std::max(0.0, seconds);
  layer.built = store_->host_.now();
  json all = parse_info(info);
  all.update({{"id", id_},
              {"parent", parent},
              {"key", key},
              {"sha256", layer.sha256},
              {"size", layer.size},
              {"seconds", layer.seconds},
              {"built", layer.built}});
  layer.info = all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  host::write_file(folder_ / "info.json", layer.info, 0444);
  settle(folder_);

  const auto lock = store_->take_lock();
  const std::string place = "layers/" + id_;
  layer.folder = store_->put_in_place(*this, place, {{place + "/image.qcow2", stamp}});
  const fs::path list = store_->root_ / "stages" / key;
  const std::string before = fs::exists(list) ? host::read_file(list) : "";
  host::write_file(list, id_ + "\n" + before, 0600);
  return layer;
}

// ---- opening

Store::Store(const host::Host& host, const fs::path& root)
    : host_(host), root_(fs::absolute(root).lexically_normal()) {
  if (!root_.has_filename()) root_ = root_.parent_path();
  open_root();
  if (writable_) sweep();
}

void Store::open_root() {
  std::error_code error;
  const bool existed = fs::exists(root_, error);
  if (!existed) {
    fs::create_directories(root_.parent_path(), error);
    if (error) throw failure("make the store", root_, error.value());
    if (::mkdir(root_.c_str(), 0700) != 0 && errno != EEXIST) throw failure("make the store", root_, errno);
  }
  struct stat status{};
  if (::stat(root_.c_str(), &status) != 0)
    throw base::Error(fmt::format("cannot read the store {}: {}", root_.string(), host::errno_text(errno)),
                      base::Exit::missing)
        .hint("give another place with --store DIR");
  if (!S_ISDIR(status.st_mode))
    throw base::Error(fmt::format("the store {} is not a directory", root_.string()), base::Exit::usage)
        .hint("give another place with --store DIR");
  if (static_cast<int>(status.st_uid) != host_.uid)
    throw base::Error(fmt::format("the store {} belongs to {}, and kiln runs as {}", root_.string(),
                                  owner_name(status.st_uid), owner_name(static_cast<uid_t>(host_.uid))),
                      base::Exit::missing)
        .hint("run kiln as its owner, or give a store of your own with --store DIR");
  require_ours();
  if ((status.st_mode & 0077U) != 0) ::chmod(root_.c_str(), 0700);

  try {
    // Its marks come first: what is made below them is known for ours from then on.
    open_lock_file(root_ / "lock");
    users_ = open_lock_file(root_ / "users");
    for (const auto* folder : kFolders) {
      const fs::path path = root_ / folder;
      if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) throw failure("make", path, errno);
      if (::faccessat(AT_FDCWD, path.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
        throw failure("write to", path, errno);
    }
    if (::faccessat(AT_FDCWD, root_.c_str(), W_OK | X_OK, AT_EACCESS) != 0)
      throw failure("write to", root_, errno);
  } catch (const base::Error& failed) {
    writable_ = false;
    why_not_writable_ = failed;
    users_.reset(::open((root_ / "users").c_str(), O_RDONLY | O_CLOEXEC));
  }
  share();
}

void Store::share() {
  if (users_) lock_patiently(users_.get(), LOCK_SH, root_ / "users");
}

// A folder of somebody's own files would be made 0700, have its tmp/ swept and be trimmed: only what bears a
// store's marks, or is empty, is taken for one.
void Store::require_ours() const {
  std::error_code ignored;
  // Listed first: whoever makes the store at this moment makes its marks before the rest.
  const auto items = children(root_);
  const bool marked = fs::exists(root_ / "users", ignored) && fs::exists(root_ / "lock", ignored);
  for (const auto& item : items) {
    const std::string name = item.filename();
    const bool mark = name == "users" || name == "lock";  // one may be there, from a start that was killed
    const bool ours = mark || name == "lost+found" ||
                      (marked && (std::find(kFolders.begin(), kFolders.end(), name) != kFolders.end() ||
                                  name == "machine" || name == "settled" || name.starts_with(".") ||
                                  name.starts_with("stamps.json")));
    if (!ours)
      throw base::Error(
          fmt::format("{} is not a store: there is '{}' in it{}", root_.string(), name,
                      marked ? "" : ", and not the files 'lock' and 'users' by which a store is known"),
          base::Exit::usage)
          .hint("give --store a directory that is empty or not there yet");
  }
}

void Store::require_writable() const {
  if (why_not_writable_) throw base::Error(*why_not_writable_);
}

host::Fd Store::take_lock() {
  require_writable();
  auto fd = open_lock_file(root_ / "lock");
  lock_patiently(fd.get(), LOCK_EX, root_ / "lock");
  return fd;
}

void Store::sweep() {
  // Whose lock can be had is dead, whatever its name or the process ids of today. Only the looking is done
  // under the store's lock: begin() makes and locks its folder under it too, so none is seen half made.
  std::vector<std::pair<fs::path, host::Fd>> dead;
  {
    const auto lock = take_lock();
    for (const auto& folder : children(root_ / "tmp")) {
      host::Fd fd(::open((folder / ".lock").c_str(), O_RDWR | O_CLOEXEC));
      if (fd && ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
      dead.emplace_back(folder, std::move(fd));
    }
  }
  for (const auto& [folder, fd] : dead) remove_tree(folder);
}

Entry Store::begin() {
  const std::string id = base::random_hex(16);
  const fs::path folder = root_ / "tmp" / id;
  const auto lock = take_lock();
  if (::mkdir(folder.c_str(), 0700) != 0) throw failure("make", folder, errno);
  try {
    auto fd = open_lock_file(folder / ".lock");
    lock_patiently(fd.get(), LOCK_EX, folder / ".lock");
    return Entry(*this, folder, id, std::move(fd));
  } catch (...) {
    remove_tree(folder);
    throw;
  }
}

// ---- layers

std::optional<Layer> Store::find_layer_by_id(const std::string& id) const {
  if (!is_id(id)) return std::nullopt;
  const fs::path folder = root_ / "layers" / id;
  const auto info = read_json(folder / "info.json");
  if (!info) return std::nullopt;
  Layer layer;
  try {
    layer.id = info->at("id").get<std::string>();
    layer.parent = info->at("parent").get<std::string>();
    layer.key = info->at("key").get<std::string>();
    layer.sha256 = info->at("sha256").get<std::string>();
    layer.size = info->at("size").get<std::uint64_t>();
    layer.seconds = info->at("seconds").get<double>();
    layer.built = info->at("built").get<std::int64_t>();
  } catch (const json::exception&) {
    return std::nullopt;
  }
  if (layer.id != id) return std::nullopt;
  layer.info = info->dump(2);
  layer.folder = folder;
  return layer;
}

bool Store::known(const std::string& key) const {
  std::error_code ignored;
  return !key.empty() && fs::exists(root_ / "stages" / key, ignored);
}

std::optional<Layer> Store::find_layer(const std::string& key, const std::string& parent, std::string* why) {
  if (why != nullptr) why->clear();
  if (!known(key)) return std::nullopt;
  bool damaged = false;
  bool other_parent = false;
  for (const auto& id : base::lines(host::read_file(root_ / "stages" / key))) {
    const fs::path folder = root_ / "layers" / id;
    std::error_code ignored;
    if (!is_id(id) || !fs::exists(folder, ignored)) continue;
    const auto layer = find_layer_by_id(id);
    if (!layer || layer->key != key) {
      damaged = true;
      if (writable_) {
        const auto lock = take_lock();
        move_aside(folder);
      }
      continue;
    }
    if (layer->parent != parent) {
      other_parent = true;
      continue;
    }
    if (!intact(*layer)) {
      damaged = true;
      set_aside(*layer);
      continue;
    }
    touch(folder);
    return layer;
  }
  // Damage is what somebody has to know of first; a layer on another parent was once right and is no loss.
  if (why != nullptr) *why = damaged ? "damaged" : other_parent ? "parent missed" : "evicted";
  return std::nullopt;
}

void Store::set_aside(const Layer& layer) {
  if (!writable_) return;
  const auto lock = take_lock();
  move_aside(layer.folder);
}

std::optional<fs::path> Store::move_aside(const fs::path& folder) {
  fs::path to = root_ / "failed" / ("damaged-" + folder.filename().string());
  std::error_code ignored;
  if (!fs::exists(folder, ignored)) return std::nullopt;
  if (fs::exists(to, ignored)) remove_tree(to);
  host::rename_synced(folder, to);
  touch(to, false);
  prune_failed();
  return to;
}

// ---- damage (rule 6)

std::optional<Store::Stamp> Store::stamp_of(const fs::path& file) {
  struct stat status{};
  if (::lstat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return Stamp{status.st_ino, static_cast<std::uint64_t>(status.st_size), nanoseconds(status.st_mtim),
               nanoseconds(status.st_ctim), ""};
}

Store::Stamp Store::digest(const fs::path& file) {
  const auto before = stamp_of(file);
  Stamp stamp;
  if (before) stamp = *before;
  const std::string sha256 = base::sha256_file(file);
  if (!before || stamp_of(file) != before)
    throw base::Error(fmt::format("{} changed while it was read", file.string()));
  stamp.sha256 = sha256;
  return stamp;
}

std::map<std::string, Store::Stamp> Store::read_stamps() const {
  std::map<std::string, Stamp> stamps;
  const auto all = read_json(root_ / "stamps.json");
  if (!all) return stamps;
  for (const auto& [name, value] : all->items()) {
    try {
      stamps[name] = Stamp{value.at(0).get<std::uint64_t>(), value.at(1).get<std::uint64_t>(),
                           value.at(2).get<std::int64_t>(), value.at(3).get<std::int64_t>(),
                           value.at(4).get<std::string>()};
    } catch (const json::exception&) {
      continue;  // without its stamp a file is digested again
    }
  }
  return stamps;
}

// When the oldest of the files outside that are remembered last changed.
std::int64_t Store::oldest_outside(const std::map<std::string, Stamp>& stamps) {
  std::vector<std::int64_t> times;
  for (const auto& [name, stamp] : stamps)
    if (name.starts_with('/')) times.push_back(stamp.ctime);
  if (times.size() <= kKeptOutside) return std::numeric_limits<std::int64_t>::min();
  std::sort(times.begin(), times.end(), std::greater<>());
  return times[kKeptOutside - 1];
}

// The caller holds the store's lock.
void Store::keep_stamps(const std::map<std::string, Stamp>& stamps) {
  auto all = read_stamps();
  for (const auto& [name, stamp] : stamps) all[name] = stamp;
  json out = json::object();
  std::error_code ignored;
  const std::int64_t oldest = oldest_outside(all);
  for (const auto& [name, stamp] : all) {
    // Files outside are not looked for: they may lie where nobody answers.
    if (name.starts_with('/') ? stamp.ctime < oldest : !fs::exists(root_ / name, ignored)) continue;
    out[name] = {stamp.inode, stamp.size, stamp.mtime, stamp.ctime, stamp.sha256};
  }
  host::write_file(root_ / "stamps.json", out.dump(1) + "\n", 0600);
  stamps_ = std::move(all);
}

bool Store::unchanged(const std::string& name, const std::string& sha256, std::uint64_t size) {
  const fs::path file = root_ / name;
  auto now = stamp_of(file);
  if (!now || now->size != size) return false;
  now->sha256 = sha256;
  const auto known_stamp = [&] {
    const auto found = stamps_.find(name);
    return found != stamps_.end() && found->second == *now;
  };
  if (known_stamp()) return true;
  stamps_ = read_stamps();
  if (known_stamp()) return true;
  Stamp read;
  try {
    read = digest(file);
  } catch (const base::Error& error) {
    if (error.exit() != base::Exit::failed) throw;
    return false;  // a file that cannot be read to its end is damaged
  }
  if (read.sha256 != sha256) return false;
  if (writable_) {
    const auto lock = take_lock();
    keep_stamps({{name, read}});
  } else {
    stamps_[name] = read;
  }
  return true;
}

bool Store::has_content(const fs::path& file, const std::string& sha256, std::uint64_t size) {
  return unchanged(fs::absolute(file).lexically_normal().string(), sha256, size);
}

bool Store::intact(const Layer& layer) {
  return unchanged("layers/" + layer.id + "/image.qcow2", layer.sha256, layer.size);
}

// ---- what lies beside the layers

host::Fd Store::lock_key(const std::string& key, const std::function<void(const std::string& who)>& on_wait) {
  require_writable();
  const fs::path file = root_ / "stages" / fmt::format(".{}.lock", component(key));
  auto fd = open_lock_file(file);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    on_wait(std::string(base::trim(host::read_file(file))));
    lock_patiently(fd.get(), LOCK_EX, file);
  }
  // For those who wait; the lock itself is the flock and outlives nobody.
  const auto who = fmt::format("process {}\n", ::getpid());
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), who.data(), who.size(), 0) < 0)
    throw host::io_error("write", file, errno);
  return fd;
}

host::Fd Store::lock_blob(const std::string& sha256) {
  require_writable();
  const fs::path file = root_ / "blobs" / (component(sha256) + ".lock");
  auto fd = open_lock_file(file);
  lock_patiently(fd.get(), LOCK_EX, file);
  return fd;
}

fs::path Store::packages(const std::string& kind) {
  const fs::path folder = root_ / "packages" / component(kind);
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return folder;
  require_writable();
  make_folders(folder);
  return folder;
}

void Store::keep_keys(const std::string& profile, const std::vector<KeyRecord>& records) {
  const auto lock = take_lock();
  const fs::path folder = root_ / "keys" / component(profile);
  make_folders(folder);
  std::vector<long> numbers;
  for (const auto& file : children(folder)) {
    const std::string stem = file.stem();
    if (file.extension() == ".json" && !stem.empty() && stem.size() < 10 &&
        stem.find_first_not_of("0123456789") == std::string::npos)
      numbers.push_back(std::stol(stem));
  }
  std::sort(numbers.begin(), numbers.end());
  json all = json::array();
  for (const auto& record : records)
    all.push_back({{"step", record.step},
                   {"key", record.key},
                   {"text", record.text},
                   {"seconds", std::max(0.0, record.seconds)}});
  const long next = numbers.empty() ? 1 : numbers.back() + 1;
  const json file = {{"built", host_.now()}, {"steps", all}};
  host::write_file(folder / fmt::format("{}.json", next),
                   file.dump(1, ' ', false, json::error_handler_t::replace) + "\n", 0600);
  numbers.push_back(next);
  for (std::size_t i = 0; i + kKeptKeys < numbers.size(); ++i)
    ::unlink((folder / fmt::format("{}.json", numbers[i])).c_str());
}

std::vector<std::string> Store::profiles() const {
  std::vector<std::string> names;
  for (const auto& folder : children(root_ / "keys")) names.push_back(folder.filename());
  return names;
}

std::vector<Store::KeyRecord> Store::last_keys(const std::string& profile) const {
  long newest = 0;
  const fs::path folder = root_ / "keys" / component(profile);
  for (const auto& file : children(folder)) {
    const std::string stem = file.stem();
    if (file.extension() == ".json" && !stem.empty() && stem.size() < 10 &&
        stem.find_first_not_of("0123456789") == std::string::npos)
      newest = std::max(newest, std::stol(stem));
  }
  std::vector<KeyRecord> records;
  const auto file = read_json(folder / fmt::format("{}.json", newest));
  if (!file) return records;
  try {
    for (const auto& step : file->at("steps"))
      records.push_back({step.at("step").get<std::string>(), step.at("key").get<std::string>(),
                         step.at("text").get<std::string>(), step.at("seconds").get<double>()});
  } catch (const json::exception&) {
    records.clear();
  }
  return records;
}

fs::path Store::verdict_file(const std::string& sha256, const std::string& firmware,
                             const std::string& name) const {
  return root_ / "verdicts" / fmt::format("{}-{}.{}", sha256, component(firmware), component(name));
}

std::optional<std::string> Store::find_verdict(const std::string& sha256, const std::string& firmware) const {
  const auto file = verdict_file(sha256, firmware, "json");
  if (!read_json(file)) return std::nullopt;
  return host::read_file(file);
}

void Store::keep_verdict(const std::string& sha256, const std::string& firmware, const std::string& text) {
  const auto lock = take_lock();
  const auto file = verdict_file(sha256, firmware, "json");
  host::write_file(file, text, 0600);
  used_.insert(file);
}

fs::path Store::put_in_place(Entry& entry, const std::string& place,
                             const std::map<std::string, Stamp>& stamps) {
  const fs::path to = root_ / place;
  std::error_code ignored;
  if (fs::exists(to, ignored)) remove_tree(to);
  ::unlink((entry.folder() / ".lock").c_str());  // no sweeper takes it for dead meanwhile
  host::rename_synced(entry.folder(), to);
  entry.folder_.clear();
  keep_stamps(stamps);
  touch(to);
  return to;
}

std::optional<Artifact> Store::find_artifact(const std::string& key) {
  const fs::path folder = root_ / "artifacts" / component(key);
  const auto info = read_json(folder / "info.json");
  if (!info) return std::nullopt;
  Artifact artifact;
  artifact.key = key;
  artifact.files = folder / "files";
  artifact.info = info->dump(2);
  try {
    if (info->at("key").get<std::string>() != key) return std::nullopt;
    artifact.seconds = info->at("seconds").get<double>();
    for (const auto& file : info->at("files"))
      artifact.list.push_back({file.at("name").get<std::string>(), file.at("sha256").get<std::string>(),
                               file.at("size").get<std::uint64_t>()});
  } catch (const json::exception&) {
    return std::nullopt;
  }
  for (const auto& file : artifact.list) {
    if (unchanged("artifacts/" + component(key) + "/files/" + file.name, file.sha256, file.size)) continue;
    if (writable_) {
      const auto lock = take_lock();
      move_aside(folder);
    }
    return std::nullopt;
  }
  touch(folder);
  return artifact;
}

Artifact Store::keep_artifact(const std::string& key, const fs::path& folder, double seconds,
                              const std::string& info) {
  // Put together in a tmp/ of its own, so that it appears whole: files/ and info.json in one rename.
  auto entry = begin();
  host::rename_synced(folder, entry.folder() / "files");
  settle(entry.folder());

  Artifact artifact;
  artifact.key = key;
  artifact.seconds = std::max(0.0, seconds);
  const std::string place = "artifacts/" + component(key);
  std::map<std::string, Stamp> stamps;
  json list = json::array();
  for (const auto& item : fs::recursive_directory_iterator(entry.folder() / "files")) {
    if (!item.is_regular_file() || item.is_symlink()) continue;
    const std::string name = item.path().lexically_relative(entry.folder() / "files");
    const auto stamp = digest(item.path());
    artifact.list.push_back({name, stamp.sha256, stamp.size});
    stamps[fmt::format("{}/files/{}", place, name)] = stamp;
  }
  std::sort(artifact.list.begin(), artifact.list.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  for (const auto& file : artifact.list)
    list.push_back({{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}});
  json all = parse_info(info);
  all.update({{"key", key}, {"seconds", artifact.seconds}, {"built", host_.now()}, {"files", list}});
  artifact.info = all.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  host::write_file(entry.folder() / "info.json", artifact.info, 0444);

  const auto lock = take_lock();
  artifact.files = put_in_place(entry, place, stamps) / "files";
  return artifact;
}

// ---- settled guests

std::optional<Settled> Store::find_settled(const std::string& of) {
  const std::string place = "settled/" + component(of);
  const auto info = read_json(root_ / place / "info.json");
  if (!info) return std::nullopt;
  Settled settled;
  settled.folder = root_ / place;
  settled.files.clear();
  try {
    settled.machine = info->at("machine").get<std::string>();
    for (const auto& [name, file] : info->at("files").items()) {
      settled.files.push_back(name);
      if (component(name) == name &&
          unchanged(fmt::format("{}/{}", place, name), file.at("sha256").get<std::string>(),
                    file.at("size").get<std::uint64_t>()))
        continue;
      drop_settled(of);
      return std::nullopt;
    }
  } catch (const json::exception&) {
    drop_settled(of);
    return std::nullopt;
  }
  touch(settled.folder);
  return settled;
}

Settled Store::keep_settled(const std::string& of, Settled made) {
  // Put together in a tmp/ of its own, as deep as its place, so that disk.qcow2 finds its layer from either.
  auto entry = begin();
  for (const auto& name : made.files) host::rename_synced(made.folder / name, entry.folder() / name);
  settle(entry.folder(), 0400);
  const std::string place = "settled/" + component(of);
  std::map<std::string, Stamp> stamps;
  json files = json::object();
  for (const auto& name : made.files) {
    const auto stamp = digest(entry.folder() / name);
    files[name] = {{"sha256", stamp.sha256}, {"size", stamp.size}};
    stamps[fmt::format("{}/{}", place, name)] = stamp;
  }
  const bool layer = is_id(of);
  const json info = {
      {layer ? "layer" : "image", of}, {"machine", made.machine}, {"built", host_.now()}, {"files", files}};
  host::write_file(entry.folder() / "info.json",
                   info.dump(2, ' ', false, json::error_handler_t::replace) + "\n", 0400);

  const auto lock = take_lock();
  made.folder = put_in_place(entry, place, stamps);
  auto all = children(root_ / "settled");
  std::erase_if(all, [&](const fs::path& one) { return is_id(one.filename().string()) != layer; });
  std::stable_sort(all.begin(), all.end(),
                   [](const fs::path& a, const fs::path& b) { return mtime_of(a) > mtime_of(b); });
  // One that is being resumed is copied from first; what a copy has open stays readable.
  for (std::size_t i = kKeptSettled; i < all.size(); ++i)
    if (!used_.contains(all[i])) remove_tree(all[i]);
  return made;
}

void Store::drop_settled(const std::string& of) {
  if (!writable_) return;
  const auto lock = take_lock();
  remove_tree(root_ / "settled" / component(of));
}

fs::path Store::keep_failure(const std::string& name, const fs::path& evidence) {
  const auto lock = take_lock();
  fs::path to = root_ / "failed" / component(name);
  std::error_code error;
  for (int n = 2; fs::exists(to, error); ++n)
    to = root_ / "failed" / fmt::format("{}-{}", component(name), n);
  if (::rename(evidence.c_str(), to.c_str()) != 0) {
    fs::copy(evidence, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
    if (error) throw host::io_error("keep the evidence at", to, error.value());
  }
  touch(to, false);
  prune_failed();
  return to;
}

// The caller holds the store's lock. A chain of damaged layers must not drive out what explains a failure.
void Store::prune_failed() {
  auto all = children(root_ / "failed");
  std::sort(all.begin(), all.end(), [](const fs::path& a, const fs::path& b) {
    const auto ta = mtime_of(a);
    const auto tb = mtime_of(b);
    return ta != tb ? ta > tb : a.filename() > b.filename();
  });
  std::map<bool, std::size_t> kept;  // damaged or not
  for (const auto& one : all)
    if (++kept[one.filename().string().starts_with("damaged-")] > kKeptFailures) remove_tree(one);
}

// The last use of something is the mtime of its folder or file; nothing else looks at that.
void Store::touch(const fs::path& path, bool mine) {
  if (mine) used_.insert(path);
  if (!writable_) return;
  // The host's clock counts seconds; the count orders what this run touches within one.
  const timespec time{static_cast<time_t>(host_.now()), touches_++ % 1'000'000'000};
  const std::array<timespec, 2> times = {time, time};
  ::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
}

}  // namespace kiln::cache
