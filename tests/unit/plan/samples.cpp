#include "unit/plan/samples.hpp"

#include <array>
#include <fstream>

#include "stage/key_writer.hpp"

namespace kiln::plan {

namespace {

using stage::Kind;
using stage::Option;
using stage::Place;
using stage::StageType;
using stage::Type;

class Idle : public stage::Stage {
 public:
  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return tense == stage::Tense::will ? "Do nothing" : "Doing nothing";
  }
  void run(stage::Workspace& /*work*/) const override {}
};

class Exports : public Idle {
 public:
  explicit Exports(std::string ending) : ending_(std::move(ending)) {}
  [[nodiscard]] std::string ending() const override { return ending_; }

 private:
  std::string ending_;
};

class Versioned : public Idle {
 public:
  void describe(stage::KeyWriter& key) const override { key.tool("mktool"); }
};

std::unique_ptr<stage::Stage> idle(const stage::Options& /*options*/) {
  return std::make_unique<Idle>();
}
std::unique_ptr<stage::Stage> exports_x(const stage::Options& /*options*/) {
  return std::make_unique<Exports>(".x");
}
std::unique_ptr<stage::Stage> exports_y(const stage::Options& /*options*/) {
  return std::make_unique<Exports>(".y");
}
std::unique_ptr<stage::Stage> versioned(const stage::Options& /*options*/) {
  return std::make_unique<Versioned>();
}
std::unique_ptr<stage::Stage> picky(const stage::Options& options) {
  if (options.has("text") && options.text("text") == "clash" && options.has("flag")) {
    throw base::Error("change: 'clash' does not go with 'flag'", base::Exit::usage);
  }
  return idle(options);
}

constexpr std::array<std::string_view, 2> kChoices = {"red", "blue"};
constexpr std::array<Option, 9> kOptions = {{
    {.name = "text", .type = Type::text, .fallback = {}, .doc = "A text."},
    {.name = "choice", .type = Type::text, .fallback = "red", .doc = "A choice.", .choices = kChoices},
    {.name = "flag", .type = Type::flag, .fallback = {}, .doc = "A flag."},
    {.name = "number", .type = Type::number, .fallback = "1", .doc = "A number."},
    {.name = "size", .type = Type::size, .fallback = {}, .doc = "A size."},
    {.name = "texts", .type = Type::texts, .fallback = {}, .doc = "Texts."},
    {.name = "file", .type = Type::file, .fallback = {}, .doc = "A file."},
    {.name = "tree", .type = Type::tree, .fallback = {}, .doc = "A tree."},
    {.name = "files", .type = Type::files, .fallback = {}, .doc = "Files."},
}};
constexpr std::array<Option, 1> kExportOptions = {{
    {.name = "sealed", .type = Type::flag, .fallback = "true", .doc = "Whether it has to be sealed."},
}};
constexpr std::array<Option, 1> kSecretOptions = {{
    {.name = "token", .type = Type::text, .fallback = {}, .doc = "A secret.", .secret = true},
}};
constexpr std::array<std::string_view, 2> kTools = {"there", "gone"};

const StageType kBaseA = {.name = "base_a",
                          .summary = "A",
                          .doc = "A",
                          .kind = Kind::base,
                          .options = {},
                          .tools = kTools,
                          .make = versioned};
constexpr std::array<Option, 2> kPinnedOptions = {{
    {.name = "image", .type = stage::Type::file, .fallback = {}, .doc = "I", .pinned_by = "sha256"},
    {.name = "sha256", .type = stage::Type::text, .fallback = {}, .doc = "S"},
}};
const StageType kBasePinned = {.name = "base_pinned",
                               .summary = "P",
                               .doc = "P",
                               .kind = Kind::base,
                               .options = kPinnedOptions,
                               .tools = {},
                               .make = idle};
const StageType kBaseB = {.name = "base_b",
                          .summary = "B",
                          .doc = "B",
                          .kind = Kind::base,
                          .options = {},
                          .tools = {},
                          .make = idle};
const StageType kChange = {
    .name = "change", .summary = "C", .doc = "C", .options = kOptions, .tools = {}, .make = picky};
const StageType kBoots = {.name = "boots",
                          .summary = "G",
                          .doc = "G",
                          .place = Place::guest,
                          .options = {},
                          .tools = {},
                          .make = idle};
const StageType kSeal = {
    .name = "seal", .summary = "S", .doc = "S", .options = {}, .tools = {}, .make = idle};
const StageType kExport = {.name = "export",
                           .summary = "E",
                           .doc = "E",
                           .kind = Kind::artifact,
                           .options = kExportOptions,
                           .tools = {},
                           .make = exports_x};
const StageType kExportToo = {.name = "export_too",
                              .summary = "E",
                              .doc = "E",
                              .kind = Kind::artifact,
                              .options = kExportOptions,
                              .tools = {},
                              .make = exports_y};
const StageType kSecret = {.name = "secret",
                           .summary = "N",
                           .doc = "N",
                           .kind = Kind::artifact,
                           .reuse = stage::Reuse::never,
                           .options = kSecretOptions,
                           .tools = {},
                           .make = idle};
constexpr std::array<const StageType*, 9> kAll = {&kBaseA, &kBasePinned, &kBaseB,     &kChange, &kBoots,
                                                  &kSeal,  &kExport,     &kExportToo, &kSecret};

}  // namespace

const stage::StageSet& samples() {
  static const stage::StageSet set(kAll);
  return set;
}

host::Host fake_host() {
  host::Host host;
  host.tool_version = [](const std::string& program) { return program + " 1.0"; };
  return host;
}

std::filesystem::path Desk::write(const std::string& name, const std::string& text, bool executable) {
  const std::filesystem::path file = path(name);
  std::filesystem::create_directories(file.parent_path());
  std::ofstream(file) << text;
  if (executable) std::filesystem::permissions(file, std::filesystem::perms(0755));
  return file;
}

Plan Desk::plan(const std::string& text) {
  return load_plan(write("p.yml", text), samples());
}

std::vector<std::string> Desk::mistakes(const std::string& text) {
  std::vector<std::string> result;
  try {
    plan(text);
  } catch (const base::Errors& errors) {
    const std::string folder = dir_.path().string() + "/";
    for (const base::Error& error : errors.all()) {
      std::string message = error.what();
      for (auto at = message.find(folder); at != std::string::npos; at = message.find(folder)) {
        message.erase(at, folder.size());
      }
      result.push_back(std::move(message));
    }
  }
  return result;
}

}  // namespace kiln::plan
