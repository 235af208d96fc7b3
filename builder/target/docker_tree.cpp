#include "target/docker_tree.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/layer.hpp"
#include "host/tree.hpp"
#include "target/paths.hpp"

namespace kiln::target {
namespace {

namespace fs = std::filesystem;

// Days since 1970 of host::layer_time.
constexpr std::int64_t day = host::layer_time / 86'400;

std::string fields(const std::vector<std::string>& parts) {
  return base::join(parts, ":") + "\n";
}

}  // namespace

DockerTree::DockerTree(const fs::path& root) {
  fs::create_directories(root);
  mount_ = image::Mount::folder(fs::canonical(root));
  files_ = image::mounted_files(*mount_);
}

void DockerTree::lay(const fs::path& layer) {
  const host::Whiteouts gone = host::read_layer(layer);
  for (const std::string& folder : gone.emptied) remove_below("/" + folder);
  for (const std::string& path : gone.removed) files_->remove("/" + path);
  files_->unpack(layer, "/");
  for (const std::string& mark : gone.marks) files_->remove("/" + mark);
}

void DockerTree::add(const DockerImage::User& user) {
  const std::string id = std::to_string(user.id);
  const auto append = [&](const std::string& file, const std::vector<std::string>& parts, bool by_id,
                          unsigned mode) {
    const auto stat = files_->find(file);
    std::string content = stat ? files_->read(file) : "";
    for (const std::string& line : base::lines(content)) {
      const std::vector<std::string> old = base::split(line, ':');
      const bool same_name = old[0] == user.name;
      const bool same_id = by_id && old.size() > 2 && old[2] == id;
      if (same_name && (!by_id || same_id)) return;
      if (same_name || same_id)
        throw base::Error(fmt::format("the user {} with id {} cannot be made: {} has '{}'", user.name, id,
                                      file, base::printable(line)))
            .hint("take another name or number");
    }
    content += fields(parts);
    files_->write(file, content,
                  stat ? image::Attributes{.mode = stat->mode, .uid = stat->uid, .gid = stat->gid}
                       : image::Attributes{.mode = mode});
  };
  make_directories(*files_, "/etc");
  append("/etc/passwd", {user.name, "x", id, id, "", user.home, "/usr/sbin/nologin"}, true, 0644);
  append("/etc/group", {user.name, "x", id, ""}, true, 0644);
  append("/etc/shadow", {user.name, "!", std::to_string(day), "", "", "", "", "", ""}, false, 0640);
  append("/etc/gshadow", {user.name, "!", "", ""}, false, 0640);
  if (user.home == "/nonexistent" || files_->find(user.home)) return;
  make_directories(*files_, parent(user.home));
  files_->make_directory(user.home, {.mode = 0750, .uid = user.id, .gid = user.id});
}

void DockerTree::lay_files(const fs::path& from, const std::string& to, const fs::path& scratch) {
  const std::string top = resolve(*files_, to);
  std::vector<host::Member> members;
  for (const host::TreeNode& node : host::walk(from)) {
    if (node.path.empty() && node.kind == host::NodeKind::directory) continue;
    host::Member member;
    // Each folder where it really is: nothing in the archive goes through a link.
    const std::string path = join_path(top, node.path);
    const std::string real =
        node.path.empty() ? top
                          : join_path(resolve(*files_, parent(path)), fs::path(path).filename().string());
    member.path = real.substr(1);
    member.owner = member.group = "0";
    member.mtime = host::layer_time;
    switch (node.kind) {
      case host::NodeKind::directory:
        // One that is there keeps its owner and mode.
        if (files_->find(real)) continue;
        member.kind = 'd';
        member.mode = 0755;
        break;
      case host::NodeKind::link:
        member.kind = 'l';
        member.target = node.target;
        break;
      case host::NodeKind::file:
        member.mode = node.executable ? 0755 : 0644;
        member.source = node.path.empty() ? from : from / node.path;
        break;
    }
    members.push_back(std::move(member));
  }
  const bool single = !fs::is_directory(from);
  make_directories(*files_, single ? parent(top) : top);
  const fs::path tar = scratch / "files.tar";
  host::write_archive(tar, host::Format::tar, members);
  files_->unpack(tar, "/");
  fs::remove(tar);
}

void DockerTree::prepare() {
  for (const char* folder : {"/dev", "/proc", "/run", "/sys", "/tmp", "/var/cache/apt/archives",
                             // The Java runtime's package makes links to pages of the manual.
                             "/usr/share/man/man1"})
    make_directories(*files_, folder);
}

void DockerTree::remove_below(const std::string& folder, const std::string& but) {
  const auto stat = files_->find(folder);
  if (!stat || stat->kind != 'd') return;
  for (const std::string& name : files_->list(folder))
    if (name != but) files_->remove(join_path(folder, name));
}

// NOLINTNEXTLINE(misc-no-recursion)
void DockerTree::remove_files_below(const std::string& folder) {
  const auto stat = files_->find(folder);
  if (!stat || stat->kind != 'd') return;
  for (const std::string& name : files_->list(folder)) {
    const std::string path = join_path(folder, name);
    const auto there = files_->find(path);
    if (there && there->kind == 'd')
      remove_files_below(path);
    else
      files_->remove(path);
  }
}

void DockerTree::fix_dates(const std::string& file) {
  const auto stat = files_->find(file);
  if (!stat || stat->kind != 'f') return;
  std::string content;
  for (const std::string& line : base::lines(files_->read(file))) {
    std::vector<std::string> parts = base::split(line, ':');
    if (parts.size() > 2 && !parts[2].empty()) parts[2] = std::to_string(day);
    content += fields(parts);
  }
  files_->write(file, content, {.mode = stat->mode, .uid = stat->uid, .gid = stat->gid});
}

void DockerTree::clean() {
  // Licences stay where their authors put them.
  constexpr std::string_view documentation = "/usr/share/doc";
  if (files_->find(std::string(documentation)))
    for (const std::string& name : files_->list(std::string(documentation)))
      remove_below(join_path(std::string(documentation), name), "copyright");
  for (const char* folder :
       {"/usr/share/man", "/usr/share/info", "/usr/share/lintian", "/usr/share/groff", "/usr/share/linda",
        "/usr/share/bug", "/var/lib/apt/lists", "/tmp", "/var/tmp", "/run", "/dev", "/proc", "/sys"})
    remove_below(folder);
  remove_below("/usr/share/locale", "locale.alias");
  for (const char* folder : {"/var/cache", "/var/log"}) remove_files_below(folder);
  for (const char* file : {"/etc/.pwd.lock",
                           "/etc/apt/apt.conf.d/99mmdebstrap",
                           "/etc/dpkg/dpkg.cfg.d/kiln",
                           "/etc/group-",
                           "/etc/gshadow-",
                           "/etc/hostname",
                           "/etc/machine-id",
                           "/etc/passwd-",
                           "/etc/resolv.conf",
                           "/etc/shadow-",
                           "/etc/subgid-",
                           "/etc/subuid-",
                           "/root/.wget-hsts",
                           "/var/lib/apt/extended_states",
                           "/var/lib/dbus/machine-id",
                           "/var/lib/dpkg/available-old",
                           "/var/lib/dpkg/diversions-old",
                           "/var/lib/dpkg/lock",
                           "/var/lib/dpkg/lock-frontend",
                           "/var/lib/dpkg/statoverride-old",
                           "/var/lib/dpkg/status-old",
                           "/var/lib/dpkg/triggers/Lock",
                           "/var/lib/systemd/random-seed"})
    files_->remove(file);
  fix_dates("/etc/shadow");
}

}  // namespace kiln::target
