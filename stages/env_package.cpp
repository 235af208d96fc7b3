// env_package: environments packed for print, boot and safe keeping, beside the image. See `doc` below.

#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <map>
#include <utility>
#include <vector>

#include "base/error.hpp"
#include "env/package.hpp"
#include "host/atomic_file.hpp"
#include "image/disk.hpp"
#include "stage/export.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view doc =
    R"(Packs environments as `kiln env package` does, into folders of their own: env/DOMAIN/ beside the image, mode 0700.

    - env_package:
        files: [hospital.yml, clinic.yml]

The packages are made anew in each build: nothing of them is kept in the store, named in image.json, or in the image. What
lies beside a file (gpgkeys.txt, meta-data.custom) is used; nothing is mailed.

`embed: true` makes for each environment a disk of its own as well, env/DOMAIN/PROFILE.qcow2, that has it in /app/env.yml.
**Whoever has that disk has every key and password of the environment.** It is not booted: what is proven is the image
without it.)";

constexpr std::array<stage::Option, 3> options = {{
    {.name = "files",
     .type = stage::Type::files,
     .fallback = {},
     .required = true,
     .doc = "Environments, made by `kiln env create`.",
     .secret = true},
    {.name = "embed",
     .type = stage::Type::flag,
     .fallback = "false",
     .doc = "Also write a disk for each that has the secrets in it."},
    {.name = "sealed",
     .type = stage::Type::flag,
     .fallback = "true",
     .doc = "The last image step must be `seal`; false embeds into an image with the build's keys and ids."},
}};

constexpr std::array<std::string_view, 8> tools = {"debugfs",  "e2fsck",    "gpg",    "pdftoppm",
                                                   "qemu-img", "resize2fs", "sfdisk", "xorriso"};

constexpr const char* kInImage = "/app/env.yml";  // the first source of `kiln env update`

using Domains = std::map<std::string, fs::path>;

void claim(Domains& domains, const std::string& domain, const fs::path& file) {
  const auto [there, fresh] = domains.emplace(domain, file);
  if (fresh) return;
  if (there->second == file)
    throw base::Error("is named twice", base::Exit::usage)
        .at({file.string(), 0, 0})
        .hint("leave it out once");
  throw base::Error(fmt::format("is of the domain {}, as '{}' is: one package would replace the other",
                                domain, there->second.string()),
                    base::Exit::usage)
      .at({file.string(), 0, 0})
      .hint("leave one of them out");
}

class EnvPackage : public stage::Stage {
 public:
  explicit EnvPackage(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    const auto count = options_.paths("files").size();
    return fmt::format("{} {} environment{}{}", tense == stage::Tense::will ? "Pack" : "Packing", count,
                       count == 1 ? "" : "s", options_.flag("embed") ? ", also into disks" : "");
  }

  // It has no key, and nothing of its inputs leaves here but their mistakes.
  void describe(stage::KeyWriter& key) const override {
    std::vector<base::Error> errors;
    Domains domains;
    for (const fs::path& file : options_.paths("files")) {
      try {
        claim(domains, env::packable(file, key.host()), file);
      } catch (const base::Errors& several) {
        errors.insert(errors.end(), several.all().begin(), several.all().end());
      } catch (const base::Error& error) {
        // Without gpg the keys in it cannot be looked at; the build asks for it before anything runs.
        if (error.exit() != base::Exit::missing) errors.push_back(error);
      }
    }
    if (!errors.empty()) throw base::Errors(std::move(errors));
  }

  void run(stage::Workspace& work) const override {
    Domains domains;
    for (const fs::path& file : options_.paths("files")) {
      work.observer().doing(fmt::format("packing {}", file.filename().string()));
      const env::Bundle bundle = env::bundle(file, work.host());
      claim(domains, bundle.domain, file);
      const fs::path folder = work.output() / "env" / bundle.domain;
      fs::create_directories(folder);
      for (const auto& [name, bytes] : bundle.files) host::write_file(folder / name, bytes, 0600);
      if (options_.flag("embed")) embed(work, bundle, folder);
    }
  }

 private:
  static void embed(stage::Workspace& work, const env::Bundle& bundle, const fs::path& folder) {
    const fs::path raw = work.scratch() / "disk.raw";
    const fs::path to = folder / (work.profile_name() + ".qcow2");
    stage::export_raw(work, raw, 0);
    image::write_private(work.host(), raw, kInImage, bundle.text);
    stage::export_compressed(work, raw, to);
    work.observer().warn(fmt::format("env/{}/{} has every secret of {} in it: keep it as you keep those",
                                     bundle.domain, to.filename().string(), bundle.domain));
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<EnvPackage>(given);
}

}  // namespace

extern const stage::StageType env_package;
const stage::StageType env_package = {
    .name = "env_package",
    .summary = "Environments packed for print, boot and safe keeping, beside the image",
    .doc = doc,
    .kind = stage::Kind::artifact,
    .place = stage::Place::offline,
    .revision = 1,
    .reuse = stage::Reuse::never,
    .options = options,
    .tools = tools,
    .make = make,
};

}  // namespace kiln::stages
