// What is written for people says what the program does: README's table of stages, its verbs, options and
// example, the published schema, the packages of ci/packages.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "base/text.hpp"
#include "cli/app.hpp"
#include "engine/tools.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"
#include "plan/plan.hpp"
#include "stage/stage_set.hpp"
#include "stages/all.hpp"

namespace kiln {
namespace {

namespace fs = std::filesystem;

const fs::path kSource = KILN_SOURCE_DIR;

stage::StageSet stage_set() {
  return stage::StageSet(stages::all());
}

std::string readme() {
  return host::read_file(kSource / "README.md");
}

std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const auto from = text.find(begin);
  if (from == std::string::npos) return "";
  const auto to = text.find(end, from + begin.size());
  if (to == std::string::npos) return "";
  return text.substr(from + begin.size(), to - from - begin.size());
}

// Compares a generated text with the file that holds it; ACCEPT=1 writes it instead and skips.
void expect_generated(const fs::path& file, const std::string& now, const std::string& wanted,
                      const std::string& whole) {
  if (now == wanted) return;
  if (std::getenv("ACCEPT") != nullptr) {
    std::ofstream(file, std::ios::trunc) << whole;
    GTEST_SKIP() << "accepted: " << file;
  }
  ADD_FAILURE() << file << " is not what kiln says; ACCEPT=1 writes it:\n" << wanted;
}

std::string help_of(const std::vector<std::string>& words) {
  std::vector<const char*> argv = {"kiln"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  argv.push_back("--help");
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(cli::run(static_cast<int>(argv.size()), argv.data(), host::Host::system(), stage_set(), out, err),
            0)
      << err.str();
  return out.str();
}

std::set<std::string> all_matches(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::set<std::string> found;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), expression); at != std::sregex_iterator();
       ++at) {
    found.insert((*at)[1]);
  }
  return found;
}

std::set<std::string> verbs_of_help() {
  const std::string help = help_of({});
  return all_matches(between(help, "ubcommands:", "\nExample:"), "\n  ([a-z]+) ");
}

TEST(Docs, TheTableOfStagesIsTheOneKilnPrints) {
  const std::string text = readme();
  const std::string now = between(text, "<!-- stages -->\n", "<!-- /stages -->");
  const std::string table = stage::table(stage_set());
  std::string whole = text;
  const std::string begin = "<!-- stages -->\n";
  whole.replace(whole.find(begin) + begin.size(), now.size(), table);
  expect_generated(kSource / "README.md", now, table, whole);
}

TEST(Docs, ThePublishedSchemaIsTheOneKilnPrints) {
  const fs::path file = kSource / "profiles/profile.schema.json";
  const std::string schema = stage::schema(stage_set());
  expect_generated(file, fs::exists(file) ? host::read_file(file) : "", schema, schema);
}

TEST(Docs, TheTableOfVerbsNamesEveryVerbAndNoOther) {
  EXPECT_EQ(all_matches(between(readme(), "## Verbs", "## The road"), "\n\\| `kiln ([a-z]+)"),
            verbs_of_help());
}

TEST(Docs, EveryOptionReadmeNamesIsThere) {
  std::string help = help_of({});
  for (const std::string& verb : verbs_of_help()) help += help_of({verb});
  for (const std::string& option : all_matches(readme(), "`(--[a-z][a-z-]*)"))
    EXPECT_THAT(help, testing::HasSubstr(option)) << "README names " << option;
}

TEST(Docs, EveryVerbsHelpHasAnExample) {
  for (const std::string& verb : verbs_of_help())
    EXPECT_THAT(help_of({verb}), testing::HasSubstr("Example:\n  kiln " + verb)) << verb;
}

TEST(Docs, TheExampleProfileIsOne) {
  const std::string yaml = between(readme(), "```yaml\n", "```");
  ASSERT_FALSE(yaml.empty());
  const host::TempDir folder;
  std::ofstream(folder.path() / "web.yml") << yaml;
  EXPECT_EQ(plan::load_plan(folder.path() / "web.yml", stage_set()).profile.proof.ports.size(), 1U);
}

TEST(Docs, EveryStagesDocHasAnExample) {
  for (const auto* type : stages::all())
    EXPECT_THAT(std::string(type->doc), testing::HasSubstr("    - " + std::string(type->name) + ":"))
        << type->name << " has no example";
}

TEST(Docs, EveryProfileOfTheRepositoryIsRight) {
  for (const auto& entry : fs::directory_iterator(kSource / "profiles")) {
    if (entry.path().extension() != ".yml") continue;
    EXPECT_NO_THROW(plan::load_plan(entry.path(), stage_set())) << entry.path();
  }
}

TEST(Docs, EveryFileAndFolderReadmeLinksToIsThere) {
  for (const std::string& link : all_matches(readme(), "\\]\\(([^)]+)\\)"))
    EXPECT_TRUE(fs::exists(kSource / link)) << "README links to " << link;
}

// A tool on every Debian system needs no line in ci/packages.
TEST(Docs, EveryToolOfAStageComesFromAListedPackage) {
  const std::string packages = between(host::read_file(kSource / "ci/packages"), "[run]\n", "[build]");
  const std::set<std::string> essential = {"coreutils", "tar"};
  for (const auto* type : stages::all()) {
    for (const auto tool : type->tools) {
      const std::string package(engine::debian_package(tool));
      EXPECT_FALSE(package.empty()) << type->name << ": which package has " << tool << "?";
      if (essential.contains(package)) continue;
      EXPECT_THAT("\n" + packages, testing::ContainsRegex("\n" + package + "[ \n]")) << tool;
    }
  }
}

}  // namespace
}  // namespace kiln
