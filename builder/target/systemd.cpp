#include "target/systemd.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "target/paths.hpp"

namespace kiln::target {
namespace {

constexpr std::string_view admin = "/etc/systemd/system";
// In the order in which systemd looks; /lib and /usr/lib are one on a merged system.
constexpr std::array<std::string_view, 4> folders = {admin, "/usr/local/lib/systemd/system",
                                                     "/lib/systemd/system", "/usr/lib/systemd/system"};
constexpr std::array<std::string_view, 11> suffixes = {".service", ".socket",    ".target", ".timer",
                                                       ".mount",   ".automount", ".path",   ".slice",
                                                       ".swap",    ".scope",     ".device"};
constexpr std::array<std::string_view, 3> link_folders = {".wants", ".requires", ".upholds"};

bool has_suffix(std::string_view name) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return name.ends_with(suffix); });
}

struct Name {
  std::string prefix;    // "getty" of getty@tty1.service
  std::string instance;  // "tty1"
  std::string suffix;    // ".service"
  bool at = false;

  explicit Name(std::string_view unit) {
    const std::size_t dot = unit.find_last_of('.');
    suffix = unit.substr(dot);
    const std::string_view stem = unit.substr(0, dot);
    const std::size_t sign = stem.find('@');
    at = sign != std::string_view::npos;
    prefix = stem.substr(0, sign);
    if (at) instance = stem.substr(sign + 1);
  }
  [[nodiscard]] std::string text() const { return prefix + (at ? "@" + instance : "") + suffix; }
  [[nodiscard]] std::string template_name() const { return prefix + "@" + suffix; }
  [[nodiscard]] bool is_template() const { return at && instance.empty(); }
  [[nodiscard]] bool is_instance() const { return at && !instance.empty(); }
};

// The specifiers that make sense in [Install].
std::string specified(std::string_view text, const Name& unit) {
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%' || i + 1 == text.size()) {
      result += text[i];
      continue;
    }
    switch (text[++i]) {
      case 'i':
      case 'I':
        result += unit.instance;
        break;
      case 'p':
      case 'P':
        result += unit.prefix;
        break;
      case 'n':
        result += unit.text();
        break;
      case 'N':
        result += unit.prefix + (unit.at ? "@" + unit.instance : "");
        break;
      case '%':
        result += '%';
        break;
      default:
        result += '%';
        result += text[i];
    }
  }
  return result;
}

void assign(std::vector<std::string>& list, std::string_view value) {
  if (value.empty()) {
    list.clear();
    return;
  }
  for (std::string& word : base::words(value)) list.push_back(std::move(word));
}

std::string last_part(std::string_view path) {
  return std::string(path.substr(path.find_last_of('/') + 1));
}

}  // namespace

Install read_install(std::string_view unit_text) {
  Install result;
  bool inside = false;
  std::string logical;
  for (const std::string& raw : base::lines(unit_text)) {
    const std::string_view line = base::trim(raw);
    if (line.starts_with('#') || line.starts_with(';')) continue;  // also between continued lines
    if (line.ends_with('\\')) {
      logical += std::string(line.substr(0, line.size() - 1)) + " ";
      continue;
    }
    logical += line;
    const std::string whole(base::trim(logical));
    logical.clear();
    if (whole.starts_with('[')) {
      inside = whole == "[Install]";
      continue;
    }
    const std::size_t equals = whole.find('=');
    if (!inside || equals == std::string::npos) continue;
    const std::string_view key = base::trim(std::string_view(whole).substr(0, equals));
    const std::string_view value = base::trim(std::string_view(whole).substr(equals + 1));
    if (key == "WantedBy") assign(result.wanted_by, value);
    if (key == "RequiredBy") assign(result.required_by, value);
    if (key == "Alias") assign(result.alias, value);
    if (key == "Also") assign(result.also, value);
    if (key == "DefaultInstance") result.default_instance = value;
  }
  return result;
}

std::string unit_name(std::string_view name) {
  return has_suffix(name) ? std::string(name) : std::string(name) + ".service";
}

std::optional<UnitFile> Systemd::find(std::string_view unit) {
  Name name(unit_name(unit));
  // An alias is a link to another name in the same or another folder; more than a few in a row is a circle.
  for (int hops = 0; hops < 8; ++hops) {
    std::optional<image::Stat> stat;
    std::string path;
    const auto look_for = [&](const std::string& file) {
      for (const std::string_view folder : folders) {
        path = join_path(std::string(folder), file);
        stat = files_.find(path);
        if (stat) return true;
      }
      return false;
    };
    if (!look_for(name.text()) && !(name.is_instance() && look_for(name.template_name())))
      return std::nullopt;
    if (stat->kind != 'l') {
      // An empty unit file masks too.
      return UnitFile{name.text(), path, stat->size == 0};
    }
    if (stat->target == "/dev/null") return UnitFile{name.text(), path, true};
    const std::string real = last_part(stat->target);
    if (!has_suffix(real) || real == name.text() || real == name.template_name()) {
      // A unit file kept elsewhere and linked in by the same name.
      return UnitFile{name.text(), path, false};
    }
    Name next(real);
    if (next.is_template()) next.instance = name.instance;
    name = next;
  }
  throw base::Error(fmt::format("the unit '{}' is a circle of aliases in the image", unit));
}

std::vector<std::string> Systemd::names() {
  std::vector<std::string> result;
  for (const std::string_view folder : folders) {
    const std::string path = resolve(files_, std::string(folder));
    if (!files_.find(path)) continue;
    for (std::string& name : files_.list(path)) {
      if (has_suffix(name)) result.push_back(std::move(name));
    }
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

UnitFile Systemd::require(std::string_view unit) {
  if (auto found = find(unit)) return *found;
  const std::string name = unit_name(unit);
  base::Error error(fmt::format("the image has no unit '{}'", name));
  const Name split(name);
  if (files_.find("/etc/init.d/" + split.prefix)) {
    throw std::move(error).hint(
        "it has an init script of that name only, which update-rc.d governs; write a unit file and give it "
        "in "
        "'install'");
  }
  const std::string guess = base::did_you_mean(name, names());
  throw std::move(error).hint(
      guess.empty() ? "install the package that brings it in an earlier step, or give its file in 'install'"
                    : fmt::format("did you mean '{}'?", guess));
}

void Systemd::make_link(const std::string& path, const std::string& target, std::vector<std::string>& made) {
  make_directories(files_, parent(path));
  files_.link(path, target);
  made.push_back(path);
}

void Systemd::enable(std::string_view unit, std::vector<std::string>& seen, std::vector<std::string>& made) {
  const UnitFile file = require(unit);
  if (std::find(seen.begin(), seen.end(), file.name) != seen.end()) return;
  seen.push_back(file.name);
  if (file.masked) {
    throw base::Error(fmt::format("the unit '{}' is masked in the image", file.name))
        .hint(fmt::format("remove the link {} in an earlier step, or do not enable it", file.path));
  }
  const Install install = read_install(files_.read(file.path));
  if (install.empty()) {
    throw base::Error(fmt::format("the unit '{}' cannot be enabled: it has no [Install] section", file.name))
        .hint(
            "it starts when another unit asks for it; to start it at boot, give a unit file with WantedBy= "
            "in "
            "'install'");
  }
  Name name(file.name);
  if (name.is_template()) {
    if (install.default_instance.empty()) {
      throw base::Error(fmt::format("the unit '{}' is a template", file.name))
          .hint(fmt::format("name an instance, such as '{}@NAME{}'", name.prefix, name.suffix));
    }
    name.instance = install.default_instance;
  }
  for (const auto& [targets, folder] :
       {std::pair(&install.wanted_by, ".wants"), std::pair(&install.required_by, ".requires")}) {
    for (const std::string& target : *targets) {
      make_link(fmt::format("{}/{}{}/{}", admin, specified(target, name), folder, name.text()), file.path,
                made);
    }
  }
  for (const std::string& alias : install.alias) {
    const std::string path = fmt::format("{}/{}", admin, specified(alias, name));
    if (path != file.path) make_link(path, file.path, made);
  }
  for (const std::string& also : install.also) enable(specified(also, name), seen, made);
}

std::vector<std::string> Systemd::enable(std::string_view unit) {
  std::vector<std::string> seen;
  std::vector<std::string> made;
  enable(unit, seen, made);
  return made;
}

void Systemd::disable(std::string_view unit, std::vector<std::string>& seen,
                      std::vector<std::string>& removed) {
  const UnitFile file = require(unit);
  if (std::find(seen.begin(), seen.end(), file.name) != seen.end()) return;
  seen.push_back(file.name);
  const Name name(file.name);
  // A link stands for this unit by its own name, or, as an alias, by where it leads.
  const auto is_ours = [&](std::string_view link) {
    if (!has_suffix(link)) return false;
    return link == file.name ||
           (name.is_template() && Name(link).template_name() == file.name && Name(link).at);
  };
  for (const std::string& entry : files_.list(std::string(admin))) {
    const std::string path = join_path(std::string(admin), entry);
    const auto stat = files_.find(path);
    if (!stat) continue;
    const bool of_links = std::any_of(link_folders.begin(), link_folders.end(),
                                      [&](std::string_view suffix) { return entry.ends_with(suffix); });
    if (stat->kind == 'd' && of_links) {
      std::size_t left = 0;
      for (const std::string& link : files_.list(path)) {
        const std::string inner = join_path(path, link);
        const auto inner_stat = files_.find(inner);
        if (is_ours(link) && inner_stat && inner_stat->kind == 'l') {
          files_.remove(inner);
          removed.push_back(inner);
        } else {
          ++left;
        }
      }
      if (left == 0) files_.remove(path);
    } else if (stat->kind == 'l' && stat->target != "/dev/null" && entry != file.name &&
               is_ours(last_part(stat->target))) {
      files_.remove(path);
      removed.push_back(path);
    }
  }
  if (file.masked) return;
  for (const std::string& also : read_install(files_.read(file.path)).also) {
    if (find(specified(also, name))) disable(specified(also, name), seen, removed);
  }
}

std::vector<std::string> Systemd::disable(std::string_view unit) {
  std::vector<std::string> seen;
  std::vector<std::string> removed;
  if (files_.find(std::string(admin))) disable(unit, seen, removed);
  return removed;
}

void Systemd::mask(std::string_view unit) {
  const UnitFile file = require(unit);
  const std::string path = fmt::format("{}/{}", admin, unit_name(unit));
  if (const auto stat = files_.find(path); stat && stat->kind != 'l') {
    throw base::Error(fmt::format("masking '{}' would lose the unit file {}", unit_name(unit), path))
        .hint("disable it instead, or leave that file out");
  }
  make_directories(files_, std::string(admin));
  files_.link(path, "/dev/null");
}

}  // namespace kiln::target
