#include "stage/export.hpp"

#include "image/disk.hpp"

namespace kiln::stage {

std::string export_raw(Workspace& work, const std::filesystem::path& raw, std::uint64_t size) {
  return image::copy_to_fit(work.host(), work.image(), raw, size,
                            [&](std::string_view what) { work.observer().doing(what); });
}

void export_compressed(Workspace& work, const std::filesystem::path& raw, const std::filesystem::path& to) {
  work.observer().doing("compressing");
  image::convert(work.host(), raw, to, "qcow2", true);
  std::filesystem::remove(raw);
  image::check_image(work.host(), to);
}

}  // namespace kiln::stage
