#include "stages/all.hpp"

#include <array>

namespace kiln::stages {

extern const stage::StageType base_debian;
extern const stage::StageType base_image;
extern const stage::StageType packages;
extern const stage::StageType overlay;
extern const stage::StageType salt_install;
extern const stage::StageType salt_highstate;
extern const stage::StageType systemd_units;
extern const stage::StageType seal;
extern const stage::StageType export_qcow2;

std::span<const stage::StageType* const> all() {
  static constexpr std::array<const stage::StageType*, 9> types = {
      &base_debian,    &base_image,    &packages, &overlay,      &salt_install,
      &salt_highstate, &systemd_units, &seal,     &export_qcow2,
  };
  return types;
}

}  // namespace kiln::stages
