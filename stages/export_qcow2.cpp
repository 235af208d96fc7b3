// export_qcow2: the finished image as one compressed qcow2 file. See `doc` below.

#include <array>
#include <filesystem>
#include <fmt/format.h>

#include "base/size.hpp"
#include "image/disk.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc = R"(Writes PROFILE.qcow2: compressed with zstd, sparse, without backing file.

    - export_qcow2:
        size: 4G                    # of the virtual disk; default: the content and some head-room

The root file system is shrunk to what it holds and a quarter more (at least 512 MiB more), so that the file is quick
to upload; at its first boot the image grows to the disk it finds. An image that was not sealed still carries keys and
ids that every copy would share, so its export is refused unless `sealed: false` says that this is meant.)";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "size",
     .type = stage::Type::size,
     .fallback = {},
     .required = false,
     .doc = "Size of the virtual disk; default: content and head-room.",
     .minimum = 64LL << 20,
     .maximum = 2LL << 40},
    {.name = "sealed",
     .type = stage::Type::flag,
     .fallback = "true",
     .required = false,
     .doc = "Whether the last image stage must be `seal`."},
}};

constexpr std::array<std::string_view, 4> tools = {"qemu-img", "sfdisk", "e2fsck", "resize2fs"};

class ExportQcow2 : public stage::Stage {
 public:
  explicit ExportQcow2(const stage::Options& given)
      : size_(static_cast<std::uint64_t>(given.number("size"))) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Export a compressed qcow2" : "Exporting a compressed qcow2";
  }

  void describe(stage::KeyWriter& key) const override {
    key.tool("qemu-img");
    key.tool("resize2fs");
  }

  void run(stage::Workspace& work) const override {
    // Shrinking needs a disk to write to, and the layers are read-only: so a raw, sparse copy in between.
    const auto raw = work.scratch() / "export.raw";
    image::convert(work.host(), work.image(), raw, "raw", false);
    const std::uint64_t size = image::resize_disk(work.host(), raw, size_);
    work.log(fmt::format("virtual size {}\n", base::human_size(size)));
    const auto target = work.output() / (work.profile_name() + ".qcow2");
    image::convert(work.host(), raw, target, "qcow2", true);
    std::filesystem::remove(raw);
    image::check_image(work.host(), target);
  }

 private:
  std::uint64_t size_;
};

}  // namespace

extern const stage::StageType export_qcow2;
const stage::StageType export_qcow2 = {
    .name = "export_qcow2",
    .summary = "One compressed qcow2 file",
    .doc = doc,
    .kind = stage::Kind::artifact,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = [](const stage::Options& given) -> std::unique_ptr<stage::Stage> {
      return std::make_unique<ExportQcow2>(given);
    },
};

}  // namespace kiln::stages
