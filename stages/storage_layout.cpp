// storage_layout: folders and links that keep data apart from the system. See `doc` below.

#include <array>
#include <fmt/format.h>
#include <optional>

#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "stage/key_writer.hpp"
#include "stage/stage.hpp"
#include "stage/workspace.hpp"
#include "target/paths.hpp"

namespace kiln::stages {
namespace {

constexpr std::string_view doc =
    R"(Lays down the folders that data live in, and links to them from where services look for them.

    - storage_layout:
        table: overlays/site/tmpfiles.conf

The table has the form of tmpfiles.d, so that the machine can use the same one at boot; of its lines these two are known:

    # Type Path       Mode User Group Age Argument
    d /data/postgresql 0755 410 410
    L /var/lib/postgresql - - - - /data/postgresql

Users and groups are numbers, for a disk outlives the image that wrote it. Put it before the step that installs the
services: what they write then goes through the links. A folder that is empty gives way to a link; one that holds
something is an error, as is a link that leads elsewhere. Owner and mode of a folder that is there are set.)";

constexpr std::array<stage::Option, 1> options = {{
    {.name = "table",
     .type = stage::Type::file,
     .fallback = {},
     .required = true,
     .doc = "The file with one folder or link a line; # begins a comment."},
}};

struct Line {
  char kind = 'd';  // d folder, L link
  std::string path;
  image::Attributes attributes{.mode = 0755};
  std::string target;  // of a link
  base::Where where;
};

// Digits of `base` and nothing else; nullopt for anything more than `most`.
std::optional<int> number(std::string_view text, int base, int most) {
  if (text.empty()) return std::nullopt;
  int value = 0;
  for (const char c : text) {
    if (c < '0' || c >= '0' + base) return std::nullopt;
    value = value * base + (c - '0');
    if (value > most) return std::nullopt;
  }
  return value;
}

// Absolute, and none of its parts leads up.
bool whole(std::string_view path) {
  if (!path.starts_with('/') || path.size() < 2) return false;
  for (const std::string& part : base::split(path.substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

base::Error mistake(const Line& line, const std::string& what, const std::string& hint) {
  return base::Error(what, base::Exit::usage).at(line.where).hint(hint);
}

constexpr int highest_mode = 07777;
constexpr int highest_id = 65533;  // 65534 is nobody's

Line parse(const std::string& text, const base::Where& where) {
  const std::vector<std::string> words = base::words(text);
  Line line{.kind = 'd', .path = {}, .attributes = {.mode = 0755}, .target = {}, .where = where};
  if (words[0] != "d" && words[0] != "L") {
    throw mistake(line, fmt::format("the type '{}' is not known here", words[0]),
                  "d for a folder, L for a link");
  }
  line.kind = words[0][0];
  constexpr std::size_t of_folder = 5;
  constexpr std::size_t of_link = 7;
  if (words.size() != (line.kind == 'd' ? of_folder : of_link)) {
    throw mistake(
        line,
        fmt::format("a line of type {} has {} columns", line.kind, line.kind == 'd' ? of_folder : of_link),
        line.kind == 'd' ? "d PATH MODE USER GROUP" : "L PATH - - - - TARGET");
  }
  line.path = words[1];
  if (!whole(line.path)) {
    throw mistake(line, fmt::format("'{}' is no whole path", line.path),
                  "write it from / on, without . and ..");
  }
  if (line.kind == 'L') {
    line.target = words.back();
    if (!whole(line.target)) {
      throw mistake(line, fmt::format("'{}' is no whole path", line.target),
                    "write it from / on, without . and ..");
    }
    return line;
  }
  const auto mode = number(words[2], 8, highest_mode);
  if (!mode || words[2].size() < 3) {
    throw mistake(line, fmt::format("the mode '{}' is not octal", words[2]), "write it as 0750");
  }
  const auto user = number(words[3], 10, highest_id);
  const auto group = number(words[4], 10, highest_id);
  if (!user || !group) {
    throw mistake(line, fmt::format("'{} {}' are no numbers of a user and a group", words[3], words[4]),
                  "names get their numbers by the order of packages; a disk keeps numbers");
  }
  line.attributes = {.mode = static_cast<unsigned>(*mode), .uid = *user, .gid = *group};
  return line;
}

// Throws base::Errors with all mistakes; `shown` is the path for them.
std::vector<Line> read_table(const std::filesystem::path& file, const std::string& shown) {
  std::vector<Line> lines;
  std::vector<base::Error> errors;
  int number = 0;
  for (const std::string& raw : base::lines(host::read_file(file))) {
    ++number;
    const std::string text(base::trim(raw));
    if (text.empty() || text.starts_with('#')) continue;
    try {
      lines.push_back(parse(text, {shown, number, 0}));
    } catch (const base::Error& error) {
      errors.push_back(error);
    }
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return lines;
}

class StorageLayout : public stage::Stage {
 public:
  explicit StorageLayout(stage::Options given) : options_(std::move(given)) {}

  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return fmt::format("{} the folders and links of {}", tense == stage::Tense::will ? "Make" : "Making",
                       options_.path("table").filename().string());
  }

  // Adds nothing to the key; mistakes in the table are told before anything runs.
  void describe(stage::KeyWriter& /*key*/) const override {
    read_table(options_.path("table"), options_.path("table").string());
  }

  void run(stage::Workspace& work) const override {
    image::Files& files = work.files();
    for (const Line& line : read_table(work.input(options_.path("table")), options_.path("table").string())) {
      if (line.kind == 'd') {
        make_folder(files, line);
        work.log(fmt::format("d {:04o} {}:{} {}\n", line.attributes.mode, line.attributes.uid,
                             line.attributes.gid, line.path));
      } else {
        make_link(files, line);
        work.log(fmt::format("L {} -> {}\n", line.path, line.target));
      }
    }
  }

 private:
  static void make_folder(image::Files& files, const Line& line) {
    const std::string path = target::resolve(files, line.path);
    const auto there = files.find(path);
    if (there && there->kind != 'd') {
      throw base::Error(fmt::format("{} is no folder in the image", path)).at(line.where);
    }
    target::make_directories(files, target::parent(path));
    files.make_directory(path, line.attributes);
  }

  static void make_link(image::Files& files, const Line& line) {
    const std::string folder = target::resolve(files, target::parent(line.path));
    const std::string path =
        target::join_path(folder, std::string_view(line.path).substr(line.path.find_last_of('/') + 1));
    if (const auto there = files.find(path)) {
      if (there->kind == 'l' && there->target == line.target) return;
      if (there->kind == 'l') {
        throw base::Error(fmt::format("{} leads to {} in the image", path, there->target)).at(line.where);
      }
      if (there->kind != 'd' || !files.list(path).empty()) {
        throw base::Error(fmt::format("{} holds something in the image already", path))
            .at(line.where)
            .hint("put storage_layout before the step that fills it");
      }
      files.remove(path);
    }
    target::make_directories(files, folder);
    files.link(path, line.target);
  }

  stage::Options options_;
};

std::unique_ptr<stage::Stage> make(const stage::Options& given) {
  return std::make_unique<StorageLayout>(given);
}

}  // namespace

extern const stage::StageType storage_layout;
const stage::StageType storage_layout = {
    .name = "storage_layout",
    .summary = "Folders for data, with fixed owners, and links to them",
    .doc = doc,
    .kind = stage::Kind::image,
    .place = stage::Place::offline,
    .revision = 1,
    .options = options,
    .tools = {},
    .make = make,
};

}  // namespace kiln::stages
