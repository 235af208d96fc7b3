#include "host/tree.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

bool left_out(const std::string& name) {
  if (name == ".git" || name.ends_with("~")) return true;
  return name.starts_with(".") && name.ends_with(".swp");
}

// Reads `fd` to its end through `each`; returns the bytes read.
template <typename Each>
std::uint64_t read_through(int fd, const fs::path& shown, Each each) {
  std::vector<char> buffer(std::size_t{1} << 18U);
  std::uint64_t size = 0;
  while (true) {
    check_interrupt();
    const ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw io_error("read", shown, errno);
    if (count == 0) return size;
    size += static_cast<std::uint64_t>(count);
    each(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
  }
}

void check_name(const std::string& name, const fs::path& shown) {
  if (name.find('\n') != std::string::npos || !base::is_utf8(name)) {
    throw base::Error("'" + base::printable(shown.string()) +
                      "' has a newline or bytes that are not UTF-8 in its name")
        .hint("rename it");
  }
}

// O_NONBLOCK: opening a fifo must not wait for a writer.
constexpr int open_flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;

TreeNode file_node(int fd, const struct stat& status, std::string path, const fs::path& shown) {
  TreeNode node;
  node.path = std::move(path);
  node.executable = (status.st_mode & 0111U) != 0;
  base::Sha256 digest;
  node.size = read_through(fd, shown, [&](std::string_view bytes) { digest.add(bytes); });
  node.sha256 = digest.hex();
  return node;
}

class Walker {
 public:
  explicit Walker(fs::path root) : root_(std::move(root)) {}

  void folder(Fd fd, const std::string& prefix) {
    const int listed = ::dup(fd.get());
    const std::unique_ptr<DIR, int (*)(DIR*)> dir(listed < 0 ? nullptr : ::fdopendir(listed), &::closedir);
    if (!dir) throw io_error("read", root_ / prefix, errno);
    while (true) {
      errno = 0;
      const dirent* entry = ::readdir(dir.get());  // NOLINT(concurrency-mt-unsafe)
      if (entry == nullptr) {
        if (errno != 0) throw io_error("read", root_ / prefix, errno);
        return;
      }
      const std::string name = entry->d_name;
      if (name == "." || name == ".." || left_out(name)) continue;
      one(fd.get(), name, (fs::path(prefix) / name).string());
    }
  }

  std::vector<TreeNode> nodes;

 private:
  void one(int parent, const std::string& name, const std::string& path) {
    const fs::path shown = root_ / path;
    check_name(name, shown);
    struct stat status{};
    if (::fstatat(parent, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
      throw io_error("read", shown, errno);
    TreeNode node;
    node.path = path;
    if (S_ISLNK(status.st_mode)) {
      std::array<char, 4096> target{};
      const ssize_t length = ::readlinkat(parent, name.c_str(), target.data(), target.size());
      if (length < 0) throw io_error("read", shown, errno);
      node.kind = NodeKind::link;
      node.target.assign(target.data(), static_cast<std::size_t>(length));
      check_name(node.target, shown);
      nodes.push_back(std::move(node));
      return;
    }
    if (!S_ISREG(status.st_mode) && !S_ISDIR(status.st_mode)) {
      throw base::Error("'" + shown.string() + "' is a device, socket or fifo")
          .hint("only files, directories and links can be an input; remove it");
    }
    Fd fd(::openat(parent, name.c_str(), open_flags));
    // What it is counts from here on: the name may point elsewhere by now.
    if (!fd || ::fstat(fd.get(), &status) != 0) throw io_error("read", shown, errno);
    if (S_ISDIR(status.st_mode)) {
      node.kind = NodeKind::directory;
      nodes.push_back(std::move(node));
      folder(std::move(fd), path);
    } else if (S_ISREG(status.st_mode)) {
      nodes.push_back(file_node(fd.get(), status, path, shown));
    } else {
      throw base::Error("'" + shown.string() + "' changed its type while it was read").hint("try again");
    }
  }

  fs::path root_;
};

std::string json_string(std::string_view text) {
  std::string quote = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quote += '\\';
      quote += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quote += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      quote += c;
    }
  }
  return quote + "\"";
}

void copy_file(const fs::path& from, const TreeNode& node, const fs::path& to) {
  // The root may be a link to a file; what lies below it may not.
  const Fd in(::open(from.c_str(), node.path.empty() ? open_flags & ~O_NOFOLLOW : open_flags));
  const base::Error changed = base::Error("'" + from.string() + "' changed after it was read for the key")
                                  .hint("run again; the change becomes part of the next build");
  if (!in) throw errno == ENOENT || errno == ELOOP ? changed : io_error("read", from, errno);
  const Fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!out) throw io_error("create", to, errno);
  base::Sha256 digest;
  read_through(in.get(), from, [&](std::string_view bytes) {
    digest.add(bytes);
    while (!bytes.empty()) {
      const ssize_t count = ::write(out.get(), bytes.data(), bytes.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw io_error("write", to, errno);
      bytes.remove_prefix(static_cast<std::size_t>(count));
    }
  });
  if (digest.hex() != node.sha256) throw changed;
  if (::fchmod(out.get(), node.executable ? 0755 : 0644) != 0) throw io_error("set the mode of", to, errno);
}

}  // namespace

std::vector<TreeNode> walk(const fs::path& root) {
  Fd fd(::open(root.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!fd || ::fstat(fd.get(), &status) != 0) throw io_error("read", root, errno);
  if (S_ISREG(status.st_mode)) return {file_node(fd.get(), status, "", root)};
  if (!S_ISDIR(status.st_mode)) {
    throw base::Error("'" + root.string() + "' is neither a file nor a directory").hint("name one of these");
  }
  Walker walker(root);
  walker.folder(std::move(fd), "");
  std::sort(walker.nodes.begin(), walker.nodes.end(),
            [](const TreeNode& a, const TreeNode& b) { return a.path < b.path; });
  return std::move(walker.nodes);
}

std::string tree_text(const std::vector<TreeNode>& nodes) {
  std::string text;
  for (const TreeNode& node : nodes) {
    switch (node.kind) {
      case NodeKind::file:
        text += fmt::format("file {} {} {}\n", node.executable ? "0755" : "0644", node.sha256,
                            json_string(node.path));
        break;
      case NodeKind::directory:
        text += fmt::format("dir {}\n", json_string(node.path));
        break;
      case NodeKind::link:
        text += fmt::format("link {} {}\n", json_string(node.target), json_string(node.path));
        break;
    }
  }
  return text;
}

void snapshot(const fs::path& root, const std::vector<TreeNode>& nodes, const fs::path& to) {
  if (nodes.size() == 1 && nodes.front().path.empty()) {
    copy_file(root, nodes.front(), to);
    return;
  }
  const auto make_folder = [](const fs::path& folder) {
    if (::mkdir(folder.c_str(), 0755) != 0) throw io_error("create", folder, errno);
    if (::chmod(folder.c_str(), 0755) != 0) throw io_error("set the mode of", folder, errno);
  };
  make_folder(to);
  for (const TreeNode& node : nodes) {
    switch (node.kind) {
      case NodeKind::directory:
        make_folder(to / node.path);
        break;
      case NodeKind::file:
        copy_file(root / node.path, node, to / node.path);
        break;
      case NodeKind::link:
        if (::symlink(node.target.c_str(), (to / node.path).c_str()) != 0) {
          throw io_error("create", to / node.path, errno);
        }
        break;
    }
  }
}

}  // namespace kiln::host
