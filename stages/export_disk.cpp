// export_disk: the finished disk in the format of another hypervisor. See `doc` below.

#include <array>
#include <filesystem>

#include "image/disk.hpp"
#include "stage/export.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view doc =
    R"(Writes the disk as PROFILE.FORMAT, for what does not read qcow2, and reads it back to see that it is the same disk.

    - export_disk:
        format: vmdk

| format | for |
|---|---|
| `raw` | `dd` to a disk, clouds that take plain disks; a file with holes |
| `vmdk` | VMware; compressed (stream-optimized), as an OVF import wants it |
| `vdi` | VirtualBox |
| `vhdx` | Hyper-V |

It stands beside `export_qcow2`, or alone; each format is a step of its own, and steps that export run at once as
`--jobs` says. What is booted to be proven is the qcow2: a profile without `export_qcow2` ends unproven.
All exports of one image with one size are the same disk, byte for byte, whenever they are made.)";

constexpr std::array<std::string_view, 4> formats = {"raw", "vmdk", "vdi", "vhdx"};

constexpr std::array<stage::Option, 3> options = {{
    {.name = "format",
     .type = stage::Type::text,
     .fallback = "raw",
     .doc = "Format, and ending, of the file.",
     .choices = formats},
    stage::export_size,
    stage::export_sealed,
}};

class ExportDisk : public stage::Stage {
 public:
  explicit ExportDisk(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return (tense == stage::Tense::will ? "Export a " : "Exporting a ") + options_.text("format");
  }

  void describe(stage::KeyWriter& key) const override {
    for (const auto program : stage::export_tools) key.tool(std::string(program));
  }

  [[nodiscard]] std::string ending() const override { return "." + options_.text("format"); }

  void run(stage::Workspace& work) const override {
    const std::string format = options_.text("format");
    const fs::path to = work.output() / (work.profile_name() + ending());
    const fs::path raw = format == "raw" ? to : work.scratch() / "disk.raw";
    work.log(stage::export_raw(work, raw, static_cast<std::uint64_t>(options_.number("size"))) + "\n");
    if (format == "raw") return;
    work.observer().doing("writing the " + format);
    image::convert(work.host(), raw, to, format, format == "vmdk");
    work.observer().doing("comparing it with the disk");
    image::require_same_content(work.host(), raw, to, format);
  }

 private:
  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<ExportDisk>(given);
}

}  // namespace

extern const stage::StageType export_disk;
const stage::StageType export_disk = {
    .name = "export_disk",
    .summary = "The disk as raw, vmdk, vdi or vhdx",
    .doc = doc,
    .kind = stage::Kind::artifact,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = stage::export_tools,
    .make = make,
};

}  // namespace kiln::stages
