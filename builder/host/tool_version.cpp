#include "host/tool_version.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <sys/stat.h>
#include <system_error>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view list_suffix = ".list";

// Debian's merged /usr: the database has some files under the name they had before the merge.
std::vector<std::string> names_of(const std::string& path) {
  std::vector<std::string> names{path};
  if (path.starts_with("/usr/")) {
    for (const std::string_view folder : {"/usr/bin/", "/usr/sbin/", "/usr/lib/"}) {
      if (path.starts_with(folder)) names.push_back(path.substr(4));
    }
  } else {
    names.push_back("/usr" + path);
  }
  return names;
}

bool lists(const fs::path& list, const std::vector<std::string>& names) {
  std::string text;
  try {
    text = "\n" + read_file(list);
  } catch (const base::Error&) {
    return false;  // dpkg may be at work; a program without an owner gets a stamp
  }
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return text.find("\n" + name + "\n") != std::string::npos;
  });
}

std::string_view field(std::string_view stanza, std::string_view name) {
  const std::string begin = "\n" + std::string(name) + ": ";
  const std::size_t at = stanza.find(begin);
  if (at == std::string_view::npos) return {};
  stanza.remove_prefix(at + begin.size());
  return base::trim(stanza.substr(0, stanza.find('\n')));
}

}  // namespace

ToolVersions::ToolVersions(fs::path root) : root_(std::move(root)) {}

std::string ToolVersions::of(const fs::path& path) {
  const std::lock_guard guard(mutex_);
  const auto known = known_.find(path.string());
  if (known != known_.end()) return known->second;
  return known_[path.string()] = look_up(path);
}

std::string ToolVersions::look_up(const fs::path& path) {
  // A fresh system's /sbin/mkfs.ext4 is /usr/sbin/mke2fs: the file that runs is what counts.
  std::error_code code;
  fs::path real = fs::canonical(path, code);
  if (code) return "absent";
  const fs::path base = fs::canonical(root_, code);
  if (const fs::path below = real.lexically_relative(base); !below.empty() && *below.begin() != "..") {
    real = fs::path("/") / below;
  }
  const std::string package = owner(path.filename().string(), real.string());
  if (!package.empty()) {
    read_status();
    const auto found = versions_.find(package);
    if (found != versions_.end()) return package.substr(0, package.find(':')) + " " + found->second;
  }
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return "absent";
  return fmt::format("{} {} bytes of {}.{:09}", real.string(), status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec);
}

std::string ToolVersions::owner(const std::string& program, const std::string& real) const {
  const std::vector<std::string> names = names_of(real);
  const fs::path info = root_ / "var/lib/dpkg/info";
  // Most programs live in a package of their own name.
  if (lists(info / (program + ".list"), names)) return program;
  std::vector<fs::path> all;
  std::error_code code;
  for (fs::directory_iterator entry(info, code), end; !code && entry != end; entry.increment(code)) {
    if (entry->path().extension() == list_suffix) all.push_back(entry->path());
  }
  std::sort(all.begin(), all.end());
  for (const fs::path& list : all) {
    if (lists(list, names)) return list.stem().string();
  }
  return {};
}

void ToolVersions::read_status() {
  if (status_read_) return;
  status_read_ = true;
  std::string text;
  try {
    text = read_file(root_ / "var/lib/dpkg/status");
  } catch (const base::Error&) {
    return;  // another distribution: stamps serve
  }
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = rest.find("\n\n");
    const std::string stanza = "\n" + std::string(rest.substr(0, end));
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 2);
    if (!field(stanza, "Status").ends_with(" installed")) continue;
    const std::string name(field(stanza, "Package"));
    const std::string version(field(stanza, "Version"));
    versions_[name + ":" + std::string(field(stanza, "Architecture"))] = version;
    versions_.emplace(name, version);
  }
}

}  // namespace kiln::host
