#include "stages/all.hpp"

#include <array>

namespace kiln::stages {

extern const stage::StageType base_debian;
extern const stage::StageType base_image;
extern const stage::StageType packages;
extern const stage::StageType storage_layout;
extern const stage::StageType overlay;
extern const stage::StageType fetch;
extern const stage::StageType salt_install;
extern const stage::StageType salt_highstate;
extern const stage::StageType docker_images;
extern const stage::StageType systemd_units;
extern const stage::StageType kiln_env;
extern const stage::StageType seal;
extern const stage::StageType export_qcow2;
extern const stage::StageType export_disk;
extern const stage::StageType env_package;

std::span<const stage::StageType* const> all() {
  static constexpr std::array<const stage::StageType*, 15> types = {
      &base_debian, &base_image,   &packages,       &storage_layout, &overlay,
      &fetch,       &salt_install, &salt_highstate, &docker_images,  &systemd_units,
      &kiln_env,    &seal,         &export_qcow2,   &export_disk,    &env_package,
  };
  return types;
}

}  // namespace kiln::stages
