#include "image/list_cache.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/io_error.hpp"

namespace kiln::image {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t short_digest = 32;

std::string shortened(std::string_view text) {
  return base::sha256(text).substr(0, short_digest);
}

void set_time(const fs::path& file, std::int64_t now) {
  const std::array<timespec, 2> times = {timespec{now, 0}, timespec{now, 0}};
  if (::utimensat(AT_FDCWD, file.c_str(), times.data(), 0) != 0)
    throw host::io_error("set the time of", file, errno);
}

}  // namespace

// apt starts a method, tells it "600 URI Acquire" with headers and an empty line for each file it wants, and
// is answered in the same way. It compares the digest with the one the signed release file has.
const std::string_view offline_method = R"sh(#!/bin/sh
# Serves apt what an earlier build kept, by the names apt gives its files.
lists=${0%/*}/../lists
printf '100 Capabilities\nVersion: 1.0\nSingle-Instance: true\n\n'
code='' uri='' file=''
while IFS= read -r line; do
  case $line in
    [0-9][0-9][0-9]' '*) code=${line%% *} uri='' file='' ;;
    'URI: '*) uri=${line#URI: } ;;
    'Filename: '*) file=${line#Filename: } ;;
    '')
      [ "$code" = 600 ] || continue
      from=$lists/${file##*/}
      if [ -f "$from" ] && cp -- "$from" "$file" && chmod 0644 "$file" && sum=$(sha256sum <"$file"); then
        printf '201 URI Done\nURI: %s\nFilename: %s\nSize: %s\nSHA256-Hash: %s\n\n' \
          "$uri" "$file" "$(($(wc -c <"$file")))" "${sum%% *}"
      else
        printf '400 URI Failure\nURI: %s\nMessage: it is not among the kept downloads\n\n' "$uri"
      fi
      code=''
      ;;
  esac
done
)sh";

bool is_kept_list(std::string_view file) {
  return file.find('_') != std::string_view::npos &&
         file.find("_i18n_Translation-") == std::string_view::npos;
}

std::optional<ListCache::Set> ListCache::newest(std::string_view sources) const {
  const std::string begin = shortened(sources) + "-";
  std::optional<Set> found;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    const std::string name = entry.path().filename();
    struct stat status{};
    if (!name.starts_with(begin) || entry.path().extension() != ".tar" ||
        name.size() != 2 * (short_digest + 1) + 64 + 4 || ::lstat(entry.path().c_str(), &status) != 0 ||
        !S_ISREG(status.st_mode) || (found && status.st_mtim.tv_sec < found->when))
      continue;
    found = Set{entry.path(), name.substr(begin.size(), short_digest),
                name.substr(begin.size() + short_digest + 1, 64), status.st_mtim.tv_sec};
  }
  return found;
}

std::optional<std::int64_t> ListCache::take(std::string_view sources, const fs::path& to) const {
  // Another build may replace the set at any time: it is linked first and looked at then.
  while (const auto set = newest(sources)) {
    fs::remove(to);
    if (::link(set->file.c_str(), to.c_str()) != 0) {
      if (errno == ENOENT) continue;
      throw host::io_error("link", to, errno);
    }
    if (base::sha256_file(to) == set->sha256) return set->when;
    fs::remove(set->file);
  }
  return std::nullopt;
}

void ListCache::keep(std::string_view sources, std::string_view releases, const fs::path& tar,
                     std::int64_t now) const {
  fs::create_directories(folder_);
  const std::string begin = shortened(sources) + "-";
  const fs::path kept =
      folder_ / fmt::format("{}{}-{}.tar", begin, shortened(releases), base::sha256_file(tar));
  set_time(tar, now);
  host::sync_path(tar);
  host::rename_synced(tar, kept);
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder_, none)) {
    if (entry.path() != kept && entry.path().filename().string().starts_with(begin))
      fs::remove(entry.path(), none);
  }
}

bool ListCache::refreshed(std::string_view sources, std::string_view releases, std::int64_t now) const {
  const auto set = newest(sources);
  if (!set || set->releases != shortened(releases) || base::sha256_file(set->file) != set->sha256)
    return false;
  set_time(set->file, now);
  return true;
}

void serve_lists(const fs::path& tar, const fs::path& folder) {
  const fs::path lists = folder / "lists";
  const fs::path methods = folder / "methods";
  for (const fs::path& made : {folder, lists, methods}) {
    fs::create_directory(made);
    fs::permissions(made, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                              fs::perms::others_read | fs::perms::others_exec);
  }
  host::read_archive(tar, [&](const host::Member& member, const host::Content& read) {
    const fs::path name = member.path;
    if (member.kind == 'f' && name == name.filename()) host::write_file(lists / name, read());
  });
  std::error_code none;
  for (const auto& entry : fs::directory_iterator("/usr/lib/apt/methods", none))
    fs::create_symlink(entry.path(), methods / entry.path().filename());
  for (const std::string_view name : network_methods) {
    fs::remove(methods / name);
    host::write_file(methods / name, offline_method, 0755);
  }
}

}  // namespace kiln::image
