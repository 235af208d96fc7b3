#include "host/layer.hpp"

#include <array>
#include <cerrno>
#include <climits>
#include <dirent.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <vector>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/io_error.hpp"

namespace kiln::host {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view mark = ".wh.";
constexpr std::string_view mark_emptied = ".wh..wh..opq";

std::string capabilities(const fs::path& file) {
  std::array<char, 256> value{};
  const ssize_t size = ::lgetxattr(file.c_str(), "security.capability", value.data(), value.size());
  return size <= 0 ? "" : std::string(value.data(), static_cast<std::size_t>(size));
}

// NOLINTNEXTLINE(misc-no-recursion)
void scan(const fs::path& root, const std::string& below, std::map<std::string, TreeEntry>& found) {
  check_interrupt();
  for (const auto& each : fs::directory_iterator(root / below)) {
    const std::string name = each.path().filename();
    const std::string path = below.empty() ? name : fmt::format("{}/{}", below, name);
    struct stat status{};
    if (::lstat(each.path().c_str(), &status) != 0) throw io_error("look at", each.path(), errno);
    TreeEntry entry;
    entry.mode = status.st_mode & 07777U;
    entry.uid = static_cast<int>(status.st_uid);
    entry.gid = static_cast<int>(status.st_gid);
    if (S_ISDIR(status.st_mode)) {
      entry.kind = 'd';
    } else if (S_ISLNK(status.st_mode)) {
      entry.kind = 'l';
      entry.mode = 0777;
      entry.content = fs::read_symlink(each.path());
    } else if (S_ISREG(status.st_mode)) {
      entry.content = base::sha256_file(each.path());
      entry.capabilities = capabilities(each.path());
    } else {
      continue;
    }
    const bool folder = entry.kind == 'd';
    found.emplace(path, std::move(entry));
    if (folder) scan(root, path, found);
  }
}

std::string above(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

std::map<std::string, TreeEntry> scan_tree(const fs::path& root) {
  std::map<std::string, TreeEntry> found;
  scan(root, "", found);
  return found;
}

bool write_layer(const Host& host, const fs::path& root, const std::map<std::string, TreeEntry>& below,
                 const fs::path& to) {
  const std::map<std::string, TreeEntry> now = scan_tree(root);
  std::set<std::string> listed;
  const auto list = [&](std::string path) {
    for (; !path.empty(); path = above(path)) listed.insert(path);
  };
  for (const auto& [path, entry] : now) {
    const auto old = below.find(path);
    if (old == below.end() || old->second != entry) list(path);
  }
  std::vector<fs::path> marks;
  const base::ScopeExit unmark([&] {
    for (const fs::path& file : marks) ::unlink(file.c_str());
  });
  for (const auto& [path, entry] : below) {
    if (now.contains(path)) continue;
    const std::string folder = above(path);
    // With its folder it goes by itself.
    if (!folder.empty() && (!now.contains(folder) || now.at(folder).kind != 'd')) continue;
    const std::string marked =
        (folder.empty() ? "" : folder + "/") + std::string(mark) + fs::path(path).filename().string();
    write_file(root / marked, "");
    marks.push_back(root / marked);
    list(marked);
  }
  if (listed.empty()) return false;

  Command command{"tar", "--create", "--file", to.string(), "--directory", root.string(), "--no-recursion",
                  "--null", "--verbatim-files-from", "--files-from=-", "--format=pax",
                  // What of the process or the moment would stand in the headers.
                  "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
                  fmt::format("--mtime=@{}", layer_time), "--numeric-owner", "--xattrs",
                  "--xattrs-include=security.capability", "--no-acls", "--no-selinux"};
  // A set is sorted by bytes, so a folder comes before what is in it.
  for (const std::string& path : listed) command.input.append(path).push_back('\0');
  command.env["LC_ALL"] = "C";
  command.purpose = "writing a layer";
  require(*host.runner, command);
  return true;
}

Whiteouts read_layer(const fs::path& tar) {
  Whiteouts found;
  read_archive(tar, [&](const Member& member, const Content&) {
    if (member.kind == 'o')
      throw base::Error(fmt::format("the layer holds '{}', which is a device, a fifo or a socket",
                                    base::printable(member.path)))
          .hint("an engine makes what a container needs of these; take an image without them");
    const std::string name = fs::path(member.path).filename();
    const std::string folder = above(member.path);
    if (!name.starts_with(mark)) return;
    // The folder itself, or the one above it: no engine writes these.
    if (const std::string gone = name.substr(mark.size()); gone.empty() || gone == "." || gone == "..")
      throw base::Error(
          fmt::format("the layer holds '{}', which marks no file as gone", base::printable(member.path)))
          .hint("it may be damaged or hostile; do not use this image");
    found.marks.insert(member.path);
    if (name == mark_emptied) {
      found.emptied.insert(folder);
    } else if (!name.starts_with(".wh..wh.")) {
      found.removed.insert((folder.empty() ? "" : folder + "/") + name.substr(mark.size()));
    }
  });
  return found;
}

}  // namespace kiln::host
