// The one tool behind every test that says "same": what is in an image, path by path.
//
//   content IMAGE                        prints a line a path: type, mode, owner, size or link target,
//   extended attributes, sha256 content A B [EXCEPTIONS]             compares two images; exit 1 and a line
//   for each difference that EXCEPTIONS does not allow
//
// Root only (it mounts the images read-only). EXCEPTIONS has one regular expression a line, matched against a
// whole path, followed by " # " and the reason.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <regex>
#include <string>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"
#include "image/mount.hpp"

namespace {

namespace fs = std::filesystem;
using kiln::base::Error;
using Content = std::map<std::string, std::string>;  // path below the image's root -> what is there

std::string extended_attributes(const fs::path& path) {
  std::vector<char> names(65536);
  const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
  if (length <= 0) return {};
  std::vector<std::string> found;
  for (ssize_t at = 0; at < length;) {
    const std::string name(names.data() + at);
    at += static_cast<ssize_t>(name.size()) + 1;
    std::vector<char> value(65536);
    const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    found.push_back(
        name + "=" +
        kiln::base::sha256({value.data(), size > 0 ? static_cast<std::size_t>(size) : 0}).substr(0, 16));
  }
  std::sort(found.begin(), found.end());
  return " " + kiln::base::join(found, ",");
}

std::string node(const fs::path& path) {
  struct stat st{};
  if (::lstat(path.c_str(), &st) != 0) throw Error(fmt::format("cannot look at '{}'", path.string()));
  const std::string owner = fmt::format("{:04o} {}:{}", st.st_mode & 07777U, st.st_uid, st.st_gid);
  const std::string attributes = extended_attributes(path);
  switch (st.st_mode & S_IFMT) {
    case S_IFDIR:
      return fmt::format("dir {}{}", owner, attributes);
    case S_IFLNK:
      return fmt::format("link {}:{} -> {}", st.st_uid, st.st_gid, fs::read_symlink(path).string());
    case S_IFREG:
      return fmt::format("file {} {} {}{}", owner, st.st_size, kiln::base::sha256_file(path), attributes);
    default:
      return fmt::format("special {:o} {} {}{}", st.st_mode & S_IFMT, owner, st.st_rdev, attributes);
  }
}

void collect(const fs::path& root, const fs::path& below, Content& content) {
  for (const auto& entry : fs::directory_iterator(below)) {
    // Lexically, for a link is looked at and not followed.
    const std::string path = "/" + entry.path().lexically_relative(root).string();
    if (path == "/lost+found") continue;
    content[path] = node(entry.path());
    if (entry.is_directory() && !entry.is_symlink()) collect(root, entry.path(), content);
  }
}

Content read_image(const kiln::host::Host& host, const fs::path& image) {
  const kiln::host::TempDir scratch;
  const auto mount = kiln::image::Mount::open(host, fs::absolute(image), scratch.path(), true);
  Content content;
  collect(mount->root(), mount->root(), content);
  mount->close();
  return content;
}

std::vector<std::regex> read_exceptions(const fs::path& file) {
  std::vector<std::regex> allowed;
  for (const auto& line : kiln::base::lines(kiln::host::read_file(file))) {
    if (line.empty() || line.front() == '#') continue;
    const auto reason = line.find(" # ");
    if (reason == std::string::npos)
      throw Error(fmt::format("'{}': an exception without a reason", line)).at({file.string()});
    allowed.emplace_back(std::string(kiln::base::trim(line.substr(0, reason))));
  }
  return allowed;
}

int compare(const Content& a, const Content& b, const std::vector<std::regex>& allowed) {
  std::size_t different = 0;
  std::size_t excepted = 0;
  const auto differs = [&](const std::string& path, const std::string& left, const std::string& right) {
    if (std::any_of(allowed.begin(), allowed.end(),
                    [&](const std::regex& e) { return std::regex_match(path, e); })) {
      ++excepted;
      return;
    }
    ++different;
    fmt::print("{}\n  a: {}\n  b: {}\n", path, left, right);
  };
  for (const auto& [path, what] : a) {
    const auto other = b.find(path);
    if (other == b.end()) {
      differs(path, what, "-");
    } else if (other->second != what) {
      differs(path, what, other->second);
    }
  }
  for (const auto& [path, what] : b)
    if (!a.contains(path)) differs(path, "-", what);
  fmt::print("{} paths, {} differ, {} more are excepted\n", a.size(), different, excepted);
  return different == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const auto host = kiln::host::Host::system();
    if (argc < 2 || argc > 4) {
      fmt::print(stderr, "usage: content IMAGE | content A B [EXCEPTIONS]\n");
      return 2;
    }
    const Content a = read_image(host, argv[1]);
    if (argc == 2) {
      for (const auto& [path, what] : a) fmt::print("{} {}\n", path, what);
      return 0;
    }
    return compare(a, read_image(host, argv[2]),
                   argc == 4 ? read_exceptions(argv[3]) : std::vector<std::regex>{});
  } catch (const std::exception& error) {
    fmt::print(stderr, "content: {}\n", error.what());
    return 3;
  }
}
