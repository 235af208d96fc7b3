#include "engine/publish.hpp"

#include <cerrno>
#include <charconv>
#include <chrono>
#include <fcntl.h>
#include <fmt/core.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/size.hpp"
#include "host/atomic_file.hpp"
#include "host/io_error.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPart = ".kiln-part-";

int number(const std::optional<std::string>& text) {
  int value = -1;
  if (!text) return -1;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), value);
  return error == std::errc() && end == text->data() + text->size() ? value : -1;
}

fs::path nearest_existing(fs::path path) {
  path = fs::absolute(path);
  std::error_code ignored;
  while (!fs::exists(path, ignored) && path.has_parent_path() && path != path.parent_path())
    path = path.parent_path();
  return path;
}

}  // namespace

fs::path mount_point(const fs::path& path) {
  fs::path here = nearest_existing(path);
  std::error_code ignored;
  if (auto real = fs::canonical(here, ignored); !ignored) here = real;
  struct stat status{};
  if (::stat(here.c_str(), &status) != 0) return here;
  const auto device = status.st_dev;
  while (here != here.parent_path() && ::stat(here.parent_path().c_str(), &status) == 0 &&
         status.st_dev == device)
    here = here.parent_path();
  return here;
}

void require_space(const fs::path& path, std::uint64_t need, const std::string& what) {
  const auto free = host::free_space(nearest_existing(path));
  if (free >= need) return;
  throw base::Error(fmt::format("the file system at {} has {} free, and {} needs {}",
                                mount_point(path).string(), base::human_size(free), what,
                                base::human_size(need)))
      .hint("make room there, or use another place with --store or --output");
}

void require_output(const fs::path& output) {
  fs::path place = fs::absolute(output).lexically_normal();
  std::error_code ignored;
  while (!fs::exists(fs::symlink_status(place, ignored)) && place != place.parent_path())
    place = place.parent_path();
  std::string why;
  if (!fs::is_directory(place, ignored))
    why = fmt::format("{} is no directory", place.string());
  else if (::access(place.c_str(), W_OK | X_OK) != 0)
    why = fmt::format("{}: {}", place.string(), host::errno_text(errno));
  if (why.empty()) return;
  throw base::Error(fmt::format("nothing can be published in {}: {}", output.string(), why),
                    base::Exit::usage)
      .hint("give another with --output DIR");
}

Publisher::Publisher(const host::Host& host, const fs::path& output)
    : host_(host), output_(fs::absolute(output).lexically_normal()) {
  if (!output_.has_filename()) output_ = output_.parent_path();
  if (host.root) {
    uid_ = number(host.env("SUDO_UID"));
    gid_ = number(host.env("SUDO_GID"));
  }
  std::vector<fs::path> missing;
  std::error_code ignored;
  for (fs::path path = output_; !fs::exists(path, ignored) && path != path.parent_path();
       path = path.parent_path())
    missing.push_back(path);
  for (auto path = missing.rbegin(); path != missing.rend(); ++path) {
    if (::mkdir(path->c_str(), 0755) != 0 && errno != EEXIST)
      throw base::Error(
          fmt::format("cannot make the output directory {}: {}", path->string(), host::errno_text(errno)))
          .hint("give another with --output DIR");
    hand_over(*path);
  }
  lock_.reset(::open(output_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock_)
    throw base::Error(
        fmt::format("cannot open the output directory {}: {}", output_.string(), host::errno_text(errno)))
        .hint("give another with --output DIR");
  while (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      throw base::Error(fmt::format("cannot lock {}: {}", output_.string(), host::errno_text(errno)));
    host::check_interrupt();
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  // Whoever holds the lock is alone here: parts of a killed build can go. What was being written into a part
  // has the part's name inside its own.
  for (const auto& item : fs::directory_iterator(output_, ignored))
    if (item.path().filename().string().find(kPart) != std::string::npos) ::unlink(item.path().c_str());
}

void Publisher::hand_over(const fs::path& path) const {
  if (uid_ < 0 || gid_ < 0) return;
  if (::lchown(path.c_str(), static_cast<uid_t>(uid_), static_cast<gid_t>(gid_)) != 0)
    throw base::Error(
        fmt::format("cannot give {} to uid {}: {}", path.string(), uid_, host::errno_text(errno)));
}

bool Publisher::has(const std::string& name, const std::string& sha256, std::uint64_t size) const {
  const fs::path target = output_ / name;
  struct stat status{};
  if (::lstat(target.c_str(), &status) != 0 || !S_ISREG(status.st_mode) ||
      static_cast<std::uint64_t>(status.st_size) != size)
    return false;
  return base::sha256_file(target) == sha256;
}

fs::path Publisher::file(const fs::path& from, const std::string& name, const std::string& sha256) {
  if (!sha256.empty() && has(name, sha256, fs::file_size(from))) return output_ / name;
  return copy(from, name, 0644);
}

fs::path Publisher::secret(const fs::path& from, const std::string& name) {
  return copy(from, name, 0600);
}

fs::path Publisher::copy(const fs::path& from, const std::string& name, mode_t mode) {
  require_space(output_, fs::file_size(from) + (64ULL << 20), name);
  fs::path folder = output_;
  for (const auto& part : fs::path(name).parent_path()) {
    folder /= part;
    const bool secret = mode == 0600;
    const bool fresh = ::mkdir(folder.c_str(), secret ? 0700 : 0755) == 0;
    if (!fresh && errno != EEXIST) throw host::io_error("make the folder", folder, errno);
    if (secret && ::chmod(folder.c_str(), 0700) != 0) throw host::io_error("set the mode of", folder, errno);
    if (fresh || secret) hand_over(folder);
  }
  const fs::path target = output_ / name;
  land(target, mode, [&](const fs::path& part) { host::copy_sparse(from, part, mode); });
  return target;
}

fs::path Publisher::text(const std::string& name, const std::string& content) {
  const fs::path target = output_ / name;
  std::error_code ignored;
  if (fs::is_regular_file(target, ignored) && fs::file_size(target, ignored) == content.size() &&
      host::read_file(target) == content)
    return target;
  land(target, 0644, [&](const fs::path& part) { host::write_file(part, content, 0644); });
  return target;
}

void Publisher::land(const fs::path& target, mode_t mode,
                     const std::function<void(const fs::path& part)>& write) const {
  const fs::path part = output_ / fmt::format("{}{}", kPart, base::random_hex(8));
  base::ScopeExit drop([&] { ::unlink(part.c_str()); });
  write(part);
  if (::chmod(part.c_str(), mode) != 0)
    throw base::Error(fmt::format("cannot set the mode of {}: {}", part.string(), host::errno_text(errno)));
  hand_over(part);
  host::rename_synced(part, target);
  drop.release();
}

void Publisher::retract(const std::string& name) {
  if (::unlink((output_ / name).c_str()) == 0) host::sync_path(output_);
}

}  // namespace kiln::engine
