// export_qcow2: the finished disk as one qcow2 file. See `doc` below.

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

namespace fs = std::filesystem;

constexpr std::string_view doc =
    R"(Writes the disk as PROFILE.qcow2: one file without backing file, compressed with zstd, with holes where nothing is.

    - export_qcow2:
        size: 4G

`size:` is the virtual size of the exported disk; without it the disk has its content and a quarter more, at least
512 MiB more. The root file system shrinks or grows to it, and grows again at the first boot of a larger disk.

The image must have been sealed (see `seal`) unless `sealed: false` says that it need not be.)";

constexpr std::array<stage::Option, 2> options = {{
    {.name = "size",
     .type = stage::Type::size,
     .fallback = {},
     .doc = "Virtual size of the disk; its content and head-room without it.",
     .minimum = 1LL << 28U,
     .maximum = 1LL << 42U},
    {.name = "sealed",
     .type = stage::Type::flag,
     .fallback = "true",
     .doc = "The step before this must be `seal`; false exports an image with the build's keys and ids."},
}};

constexpr std::array<std::string_view, 4> tools = {"e2fsck", "qemu-img", "resize2fs", "sfdisk"};

class ExportQcow2 : public stage::Stage {
 public:
  explicit ExportQcow2(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Export a qcow2" : "Exporting a qcow2";
  }

  // All four write into the exported file.
  void describe(stage::KeyWriter& key) const override {
    for (const char* program : {"sfdisk", "e2fsck", "resize2fs", "qemu-img"}) key.tool(program);
  }

  void run(stage::Workspace& work) const override {
    const fs::path raw = work.scratch() / "disk.raw";
    work.observer().doing("reading the disk");
    image::convert(work.host(), work.image(), raw, "raw", false);
    const auto size = options_.has("size") ? static_cast<std::uint64_t>(options_.number("size")) : 0;
    const image::FileSystem root = image::root_file_system(work.host(), raw);
    if (root.kind == "ext4" || size != 0) {
      work.observer().doing("fitting the root file system");
      const std::uint64_t fitted = image::resize_disk(work.host(), raw, size);
      work.log(fmt::format("the disk has {}\n", base::human_size(fitted)));
    } else {
      work.observer().note(fmt::format("the root file system is {}, so the disk keeps its size", root.kind));
    }
    work.observer().doing("compressing");
    const fs::path to = work.output() / (work.profile_name() + ".qcow2");
    image::convert(work.host(), raw, to, "qcow2", true);
    fs::remove(raw);
    image::check_image(work.host(), to);
  }

 private:
  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<ExportQcow2>(given);
}

}  // namespace

extern const stage::StageType export_qcow2;
const stage::StageType export_qcow2 = {
    .name = "export_qcow2",
    .summary = "The disk as one compressed qcow2 file",
    .doc = doc,
    .kind = stage::Kind::artifact,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
