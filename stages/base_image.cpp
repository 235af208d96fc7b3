// base_image: a disk image made elsewhere as the base. See `doc` below.

#include <array>
#include <filesystem>
#include <fmt/format.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "image/disk.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"

namespace kiln::stages {
namespace {

using base::Error;
using base::Exit;

constexpr std::string_view doc =
    R"(Starts from a disk image that somebody else made: a cloud image, or one of kiln's own.

    - base_image:
        url: https://cloud-images.example.org/xenial-server-cloudimg-amd64-disk1.img
        sha256: 4d1f...             # 64 digits, from the publisher's signed list
        size: 8G                    # of the disk while stages work on it; the export shrinks again

`url` is pinned by `sha256`, and so is a local `file` when `sha256` is given. The image is qcow2 or raw (`.img` may be
either), whole in itself: one with a backing file, an external data file or encryption is refused. `size` grows the
disk, its root partition and the ext4 file system in it, so that there is room to work.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "file",
     .type = stage::Type::file,
     .fallback = {},
     .required = false,
     .doc = "A local image, qcow2 or raw."},
    {.name = "url",
     .type = stage::Type::text,
     .fallback = {},
     .required = false,
     .doc = "Where to fetch the image; needs `sha256`.",
     .pattern = "(https?|file)://[^\\s]+"},
    {.name = "sha256",
     .type = stage::Type::text,
     .fallback = {},
     .required = false,
     .doc = "Digest of the file as published, before any conversion.",
     .pattern = "[0-9a-f]{64}"},
    {.name = "size",
     .type = stage::Type::size,
     .fallback = {},
     .required = false,
     .doc = "Size of the disk while stages work on it; default: as the image is.",
     .minimum = 64LL << 20,
     .maximum = 2LL << 40},
}};

constexpr std::array<std::string_view, 3> tools = {"qemu-img", "sfdisk", "resize2fs"};

void refuse_what_is_not_whole(const image::DiskInfo& info, const std::string& name) {
  const auto refuse = [&](const std::string& why) {
    throw Error(fmt::format("base_image: '{}' {}", name, why))
        .hint("make it whole first: qemu-img convert -O qcow2 OLD NEW, and pin the new file");
  };
  if (!info.backing.empty()) refuse(fmt::format("needs a backing file ('{}')", info.backing.string()));
  if (!info.data_file.empty())
    refuse(fmt::format("keeps its content in another file ('{}')", info.data_file.string()));
  if (info.encrypted) refuse("is encrypted");
}

class BaseImage : public stage::Stage {
 public:
  explicit BaseImage(const stage::Options& given)
      : file_(given.path("file")),
        url_(given.text("url")),
        sha256_(given.text("sha256")),
        size_(static_cast<std::uint64_t>(given.number("size"))) {
    if (url_.empty() == file_.empty())
      throw Error("base_image: give either 'file' or 'url'", Exit::usage).at(given.step);
    if (!url_.empty() && sha256_.empty())
      throw Error(fmt::format("base_image: '{}' is not pinned", url_), Exit::usage)
          .at(given.where("url"))
          .hint("set 'sha256:' to the digest its publisher signs");
  }

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} the base image {}", tense == stage::Tense::will ? "Take" : "Taking", name());
  }

  void describe(stage::KeyWriter& key) const override { key.tool("qemu-img"); }

  void run(stage::Workspace& work) const override {
    const auto source = url_.empty() ? work.input(file_) : work.blob(url_, sha256_);
    if (url_.empty() && !sha256_.empty()) {
      const std::string digest = base::sha256_file(source);
      if (digest != sha256_)
        throw Error(
            fmt::format("base_image: '{}' has sha256 {}, the profile pins {}", name(), digest, sha256_))
            .hint("find out which of the two is right; the image is not used");
    }
    const auto info = image::disk_info(work.host(), source);
    refuse_what_is_not_whole(info, name());
    if (size_ != 0 && size_ < info.virtual_size)
      throw Error(fmt::format("base_image: '{}' is a disk of {}, more than the size of {} it should get",
                              name(), base::human_size(info.virtual_size), base::human_size(size_)))
          .hint("raise 'size:'; the export has a 'size:' of its own and can be smaller");
    if (size_ <= info.virtual_size) {
      image::convert(work.host(), source, work.new_disk(), "qcow2", false);
      return;
    }
    const auto raw = work.scratch() / "base.raw";
    image::convert(work.host(), source, raw, "raw", false);
    image::resize_disk(work.host(), raw, size_);
    image::convert(work.host(), raw, work.new_disk(), "qcow2", false);
    std::filesystem::remove(raw);
  }

 private:
  [[nodiscard]] std::string name() const {
    return url_.empty() ? file_.filename().string() : url_.substr(url_.rfind('/') + 1);
  }

  std::filesystem::path file_;
  std::string url_;
  std::string sha256_;
  std::uint64_t size_;
};

}  // namespace

extern const stage::StageType base_image;
const stage::StageType base_image = {
    .name = "base_image",
    .summary = "A disk image made elsewhere, pinned by its digest",
    .doc = doc,
    .kind = stage::Kind::base,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = [](const stage::Options& given) -> std::unique_ptr<stage::Stage> {
      return std::make_unique<BaseImage>(given);
    },
};

}  // namespace kiln::stages
