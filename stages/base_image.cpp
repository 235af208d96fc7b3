// base_image: a ready disk image as the base. See `doc` below.

#include <array>
#include <filesystem>
#include <fmt/format.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "host/atomic_file.hpp"
#include "image/disk.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/url.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view doc =
    R"(Takes a cloud image, qcow2 or raw, pinned by its sha256, from a URL or a local file.

    - base_image:
        url: https://example.org/server-cloudimg-amd64.img
        sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef

The disk may have an MBR or a GPT. Its root file system is the one labelled `cloudimg-rootfs`, or else its only Linux
file system. Images that need other files (a backing file, an external data file) and encrypted ones are refused.

While the image is built its disk has `size:`; the root partition must be the last one then.)";

constexpr std::array<stage::Option, 4> options = {{
    {.name = "file",
     .type = stage::Type::file,
     .fallback = {},
     .doc = "A local image; either this or `url`.",
     .pinned_by = "sha256"},
    {.name = "url",
     .type = stage::Type::text,
     .fallback = {},
     .doc = "Where to fetch the image.",
     .pattern = target::url_pattern,
     .write = target::url_write},
    stage::published_sha256,
    {.name = "size",
     .type = stage::Type::size,
     .fallback = "8G",
     .doc = "Disk while the image is built, at least; 0 leaves it as it is.",
     .minimum = 0,
     .maximum = 1LL << 42U},
}};

constexpr std::array<std::string_view, 4> tools = {"e2fsck", "qemu-img", "resize2fs", "sfdisk"};

class BaseImage : public stage::Stage {
 public:
  explicit BaseImage(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    const std::string from =
        options_.has("url") ? options_.text("url") : options_.path("file").filename().string();
    return fmt::format("{} {} as the base", tense == stage::Tense::will ? "Take" : "Taking", from);
  }

  // The digest is an option, so it is in the key.
  void describe(stage::KeyWriter& key) const override {
    key.tool("qemu-img");
    if (options_.number("size") != 0) {
      // These write into the disk when it grows.
      for (const char* program : {"sfdisk", "e2fsck", "resize2fs"}) key.tool(program);
    }
  }

  void run(stage::Workspace& work) const override {
    work.observer().doing("reading the image");
    fs::path from;
    if (options_.has("url")) {
      from = work.blob(options_.text("url"), options_.text("sha256"));
    } else {
      // The very bytes that are digested are used, whatever happens to the file meanwhile.
      from = work.scratch() / "base";
      host::copy_sparse(options_.path("file"), from);
      check_digest(base::sha256_file(from));
    }
    const image::DiskInfo info = image::disk_info(work.host(), from);
    refuse(info);
    image::check_image(work.host(), from);

    const auto size = static_cast<std::uint64_t>(options_.number("size"));
    if (size <= info.virtual_size) {
      image::convert(work.host(), from, work.new_disk(), "qcow2", false);
      return;
    }
    work.observer().doing("growing the root file system");
    const fs::path raw = work.scratch() / "disk.raw";
    image::convert(work.host(), from, raw, "raw", false);
    image::resize_disk(work.host(), raw, size);
    image::convert(work.host(), raw, work.new_disk(), "qcow2", false);
  }

 private:
  void check_digest(const std::string& found) const {
    if (found == options_.text("sha256")) return;
    throw base::Error(
        fmt::format("base_image: the file's sha256 is {}, not {}", found, options_.text("sha256")),
        base::Exit::usage)
        .at(options_.where("sha256"))
        .hint("if the image was meant to change, write its new digest here");
  }

  void refuse(const image::DiskInfo& info) const {
    try {
      image::require_self_contained(info, "base_image: the image");
      if (info.virtual_size > (1ULL << 42U)) {
        throw base::Error(
            fmt::format("base_image: the image claims a size of {}", base::human_size(info.virtual_size)),
            base::Exit::usage)
            .hint("make a plain qcow2 of it with `qemu-img convert -O qcow2`");
      }
    } catch (base::Error& error) {
      error.at(options_.where(options_.has("url") ? "url" : "file"));
      throw;
    }
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  if (given.has("file") == given.has("url")) {
    throw base::Error(
        given.has("file") ? "base_image: both 'file' and 'url' are given" : "base_image: no image is given",
        base::Exit::usage)
        .at(given.step)
        .hint("give either 'file:' or 'url:'");
  }
  target::refuse_login(
      "base_image", given.text("url"), given.where("url"),
      "fetch the image yourself and name it with 'file:', or take a URL that asks for no login");
  return std::make_unique<BaseImage>(given);
}

}  // namespace

extern const stage::StageType base_image;
const stage::StageType base_image = {
    .name = "base_image",
    .summary = "A ready cloud image, pinned by its digest",
    .doc = doc,
    .kind = stage::Kind::base,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
