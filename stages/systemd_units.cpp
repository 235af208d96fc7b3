// systemd_units: units installed, enabled, disabled, masked. See `doc` below.

#include <array>
#include <fmt/format.h>
#include <map>

#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"
#include "target/systemd.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Installs unit files and says which units start at boot, as systemctl would, without booting.

    - systemd_units:
        install: [units/report.service, units/report.timer]
        enable: [report.timer, serial-getty@ttyS0]
        mask: [apt-daily.timer]

Unit files go to /etc/systemd/system. A name without a suffix means a .service. `enable` makes the links that the
unit's [Install] section asks for (WantedBy, RequiredBy, Alias, Also), instances of templates included; `disable`
removes all links to it; `mask` makes it impossible to start. An unknown unit is an error.)";

constexpr std::string_view unit_pattern = "[A-Za-z0-9:_.\\\\-]+(@[A-Za-z0-9:_.\\\\-]*)?";

constexpr std::string_view unit_words = "a unit's name, such as nginx, report.timer or serial-getty@ttyS0";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "install",
     .type = stage::Type::files,
     .fallback = {},
     .doc = "Unit files to copy to /etc/systemd/system."},
    {.name = "enable",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that start at boot, by their [Install] section.",
     .pattern = unit_pattern,
     .write = unit_words},
    {.name = "disable",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that do not start at boot of themselves.",
     .pattern = unit_pattern,
     .write = unit_words},
    {.name = "mask",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that cannot be started at all.",
     .pattern = unit_pattern,
     .write = unit_words},
}};

constexpr std::string_view folder = "/etc/systemd/system";

class SystemdUnits : public stage::Stage {
 public:
  explicit SystemdUnits(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    std::vector<std::string> parts;
    const auto add = [&](std::string_view will, std::string_view does,
                         const std::vector<std::string>& units) {
      if (units.empty()) return;
      constexpr std::size_t most = 3;
      std::vector<std::string> shown;
      for (const std::string& unit : units) {
        if (shown.size() < most) shown.push_back(target::unit_name(unit));
      }
      if (units.size() > most) shown.back() = "...";
      parts.push_back(fmt::format("{} {}{}", tense == stage::Tense::will ? will : does,
                                  units.size() > most ? fmt::format("{} units: ", units.size()) : "",
                                  base::join(shown, ", ")));
    };
    std::vector<std::string> files;
    for (const std::filesystem::path& unit : options_.paths("install")) files.push_back(unit.filename());
    add("install", "installing", files);
    add("enable", "enabling", options_.texts("enable"));
    add("disable", "disabling", options_.texts("disable"));
    add("mask", "masking", options_.texts("mask"));
    std::string all = base::join(parts, "; ");
    all.front() = static_cast<char>(all.front() - 'a' + 'A');
    return all;
  }

  void run(stage::Workspace& work) const override {
    image::Files& files = work.files();
    for (const std::filesystem::path& unit : options_.paths("install")) {
      const std::string path = target::join_path(std::string(folder), unit.filename().string());
      if (const auto there = files.find(path); there && there->kind == 'l' && there->target == "/dev/null") {
        throw base::Error(fmt::format("the unit '{}' is masked in the image", unit.filename().string()))
            .at(options_.where("install"))
            .hint(fmt::format("remove the link {} in an earlier step", path));
      }
      target::make_directories(files, std::string(folder));
      files.write(path, host::read_file(work.input(unit)), {.mode = 0644});
      work.log("installed " + path + "\n");
    }
    target::Systemd systemd(files);
    each(work, "enable", [&](const std::string& unit) { return systemd.enable(unit); });
    each(work, "disable", [&](const std::string& unit) { return systemd.disable(unit); });
    each(work, "mask", [&](const std::string& unit) {
      systemd.mask(unit);
      return std::vector<std::string>{target::join_path(std::string(folder), target::unit_name(unit))};
    });
  }

 private:
  template <typename Deed>
  void each(stage::Workspace& work, const std::string& option, const Deed& deed) const {
    for (const std::string& unit : options_.texts(option)) {
      work.observer().doing(fmt::format("{} {}", option, unit));
      try {
        for (const std::string& path : deed(unit)) work.log(fmt::format("{} {}: {}\n", option, unit, path));
      } catch (base::Error& error) {
        if (error.where() == base::Where{}) error.at(options_.where(option));
        throw;
      }
    }
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  std::vector<base::Error> errors;
  bool any = !given.paths("install").empty();
  std::map<std::string, std::string> wanted;
  for (const std::string option : {"enable", "disable", "mask"}) {
    for (const std::string& unit : given.texts(option)) {
      any = true;
      const auto [there, fresh] = wanted.emplace(target::unit_name(unit), option);
      if (fresh || there->second == option) continue;
      errors.push_back(base::Error(fmt::format("the unit '{}' is in both '{}' and '{}'", there->first,
                                               there->second, option),
                                   base::Exit::usage)
                           .at(given.where(option)));
    }
  }
  for (const std::filesystem::path& unit : given.paths("install")) {
    const std::string name = unit.filename().string();
    if (target::unit_name(name) != name) {
      errors.push_back(base::Error(fmt::format("'{}' is no name of a unit file", name), base::Exit::usage)
                           .at(given.where("install"))
                           .hint("name it by its kind, such as NAME.service"));
    }
  }
  if (!any) {
    errors.push_back(base::Error("systemd_units: nothing to do", base::Exit::usage)
                         .at(given.step)
                         .hint("name units in install, enable, disable or mask"));
  }
  if (errors.size() == 1) throw std::move(errors.front());
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return std::make_unique<SystemdUnits>(given);
}

}  // namespace

extern const stage::StageType systemd_units;
const stage::StageType systemd_units = {
    .name = "systemd_units",
    .summary = "Units installed, enabled, disabled, masked",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
