// fetch: one published file, pinned by its sha256. See `doc` below.

#include <array>
#include <fmt/format.h>
#include <optional>

#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"
#include "target/url.hpp"

namespace kiln::stages {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view doc = R"(Puts one published file into the image, pinned by its sha256.

    - fetch:
        urls: [https://example.org/tool_1.2_amd64.deb]
        sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
        member: usr/bin/tool
        to: /usr/local/bin/tool
        mode: "0755"

The builder fetches it, so the guest needs no network; the store keeps it, so `--offline` finds it again. Addresses
are tried in their order until one serves what the digest says: name a second one where publishers drop old versions.

With `member:` the file is an archive (tar, zip, cpio or ar, also compressed) and only that file of it is taken; of a
Debian package it is one of the files that it would install. What is fetched is never run.

The file is root's. Folders that lead to it are made where they are missing, 0755.)";

constexpr std::array<stage::Option, 5> options = {{
    {.name = "urls",
     .type = stage::Type::texts,
     .fallback = {},
     .required = true,
     .doc = "Where to fetch it; the next one is asked when one fails.",
     .pattern = target::url_pattern,
     .write = target::url_write},
    stage::published_sha256,
    {.name = "member",
     .type = stage::Type::text,
     .fallback = {},
     .doc = "The path in the archive of the one file to take.",
     .pattern = "[^/\\s][^\\s]*",
     .write = "a path without spaces that does not begin with '/', such as usr/bin/tool"},
    {.name = "to",
     .type = stage::Type::text,
     .fallback = {},
     .required = true,
     .doc = "The path of the file in the image.",
     .pattern = "/([^\\s]*[^/\\s])",
     .write = "a whole path without spaces, such as /usr/local/bin/tool"},
    {.name = "mode",
     .type = stage::Type::text,
     .fallback = "\"0644\"",
     .doc = "Mode of the file, octal.",
     .pattern = "0[0-7]{3}",
     .write = "four octal digits in quotes, such as \"0755\""},
}};

constexpr std::string_view package_content =
    "data.tar";  // of a Debian package, with the compression's ending

// The content of the file `path` of an archive, or of the files of a Debian package.
std::optional<std::string> take(const fs::path& archive, const std::string& path) {
  std::optional<std::string> found;
  const host::EachMember look = [&](const host::Member& member, const host::Content& read) {
    if (member.kind == 'f' && member.path == path) found = read();
  };
  host::read_archive(archive, [&](const host::Member& member, const host::Content& read) {
    if (member.kind == 'f' && member.path.starts_with(package_content) && member.path != path)
      host::read_archive_in(read(), member.path, look);
    else
      look(member, read);
  });
  return found;
}

class Fetch : public stage::Stage {
 public:
  explicit Fetch(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} {}", tense == stage::Tense::will ? "Fetch" : "Fetching", options_.text("to"));
  }

  void run(stage::Workspace& work) const override {
    const fs::path file = fetched(work);
    std::optional<std::string> content;
    if (options_.has("member")) {
      content = take(file, options_.text("member"));
      if (!content) {
        throw base::Error(fmt::format("fetch: no file '{}' in the archive", options_.text("member")),
                          base::Exit::usage)
            .at(options_.where("member"))
            .hint("`bsdtar -tf` lists what is in it; of a Debian package `dpkg-deb -c`");
      }
    } else {
      content = host::read_file(file);
    }
    image::Files& files = work.files();
    const std::string to = target::resolve(files, options_.text("to"));
    if (const auto there = files.find(to); there && there->kind == 'd') {
      throw base::Error(fmt::format("fetch: {} is a directory in the image", options_.text("to")),
                        base::Exit::usage)
          .at(options_.where("to"))
          .hint("give the whole path of the file");
    }
    target::make_directories(files, target::parent(to));
    files.write(to, *content, {.mode = static_cast<unsigned>(std::stoul(options_.text("mode"), nullptr, 8))});
    work.log(fmt::format("{} {} bytes\n", to, content->size()));
  }

 private:
  // The file in the store. What the last address said is thrown, what those before it said is told.
  [[nodiscard]] fs::path fetched(stage::Workspace& work) const {
    const std::vector<std::string>& urls = options_.texts("urls");
    for (std::size_t i = 0; i + 1 < urls.size(); ++i) {
      try {
        return work.blob(urls[i], options_.text("sha256"));
      } catch (const base::Error& error) {
        if (error.exit() != base::Exit::failed) throw;
        work.observer().warn(fmt::format("{}; asking the next address", error.message()));
      }
    }
    try {
      return work.blob(urls.back(), options_.text("sha256"));
    } catch (base::Error& error) {
      error.at(options_.where("urls"));
      throw;
    }
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  for (const std::string& url : given.texts("urls")) {
    target::refuse_login(
        "fetch", url, given.where("urls"),
        "take a URL that asks for no login, or fetch the file yourself and name it as file://");
  }
  return std::make_unique<Fetch>(given);
}

}  // namespace

extern const stage::StageType fetch;
const stage::StageType fetch = {
    .name = "fetch",
    .summary = "One published file, pinned by its digest",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
