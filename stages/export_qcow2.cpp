// export_qcow2: the finished disk as one qcow2 file. See `doc` below.

#include <array>
#include <filesystem>

#include "stage/export.hpp"
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

constexpr std::array<stage::Option, 2> options = {stage::export_size, stage::export_sealed};

class ExportQcow2 : public stage::Stage {
 public:
  explicit ExportQcow2(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Export a qcow2" : "Exporting a qcow2";
  }

  void describe(stage::KeyWriter& key) const override {
    for (const char* program : {"sfdisk", "e2fsck", "resize2fs", "qemu-img"}) key.tool(program);
  }

  [[nodiscard]] std::string ending() const override { return ".qcow2"; }

  void run(stage::Workspace& work) const override {
    const fs::path raw = work.scratch() / "disk.raw";
    work.log(stage::export_raw(work, raw, static_cast<std::uint64_t>(options_.number("size"))) + "\n");
    stage::export_compressed(work, raw, work.output() / (work.profile_name() + ending()));
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
    .revision = 2,
    .options = options,
    .tools = stage::export_tools,
    .make = make,
};

}  // namespace kiln::stages
