// systemd_units: units installed, enabled, disabled, masked. See `doc` below.

#include <array>

#include "stage/stage.hpp"

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

constexpr std::array<stage::Option, 4> options = {{
    {.name = "install",
     .type = stage::Type::files,
     .fallback = {},
     .doc = "Unit files to copy to /etc/systemd/system."},
    {.name = "enable",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that start at boot, by their [Install] section.",
     .pattern = unit_pattern},
    {.name = "disable",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that do not start at boot of themselves.",
     .pattern = unit_pattern},
    {.name = "mask",
     .type = stage::Type::texts,
     .fallback = {},
     .doc = "Units that cannot be started at all.",
     .pattern = unit_pattern},
}};

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
};

}  // namespace kiln::stages
