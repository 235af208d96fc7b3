// What is written for people says what the program does: README's table of stages, its verbs, options and
// example, the published schema, the packages of ci/packages.
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "base/text.hpp"
#include "cli/app.hpp"
#include "engine/tools.hpp"
#include "env/check.hpp"
#include "env/option.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/runner.hpp"
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

std::set<std::string> verbs_of_env() {
  return all_matches(between(help_of({"env"}), "ubcommands:", "\nExample:"), "\n  ([a-z]+) ");
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

TEST(Docs, ThePublishedSchemaOfEnvironmentsIsTheOneKilnPrints) {
  const fs::path file = kSource / "profiles/env.schema.json";
  const std::string schema = env::schema();
  expect_generated(file, fs::exists(file) ? host::read_file(file) : "", schema, schema);
}

// What a validator of JSON Schema says of each YAML text: "" or its first complaint.
std::vector<std::string> complaints(const std::vector<std::string>& texts,
                                    const fs::path& schema = "profiles/profile.schema.json") {
  constexpr const char* script = R"(
import json, sys, jsonschema, yaml
schema, texts = json.load(sys.stdin)
jsonschema.Draft202012Validator.check_schema(schema)
validator = jsonschema.Draft202012Validator(schema)
first = lambda text: next((error.message for error in validator.iter_errors(yaml.safe_load(text))), "")
json.dump([first(text) for text in texts], sys.stdout)
)";
  using nlohmann::json;
  host::Command command({"python3", "-c", script});
  command.input = json({json::parse(host::read_file(kSource / schema)), texts}).dump();
  const host::Finished done = host::system_runner()->run(command);
  EXPECT_EQ(done.exit, 0) << done.err;
  if (done.exit != 0) return std::vector<std::string>(texts.size(), "no validator");
  return json::parse(done.out).get<std::vector<std::string>>();
}

std::string mistakes(const std::string& yaml) {
  const host::TempDir folder;
  std::ofstream(folder.path() / "p.yml") << yaml;
  try {
    plan::load_plan(folder.path() / "p.yml", stage_set());
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

TEST(Docs, TheSchemaAcceptsEveryProfileOfTheRepository) {
  std::vector<std::string> names;
  std::vector<std::string> texts;
  for (const auto& entry : fs::directory_iterator(kSource / "profiles")) {
    if (entry.path().extension() != ".yml") continue;
    names.push_back(entry.path().filename().string());
    texts.push_back(host::read_file(entry.path()));
  }
  ASSERT_FALSE(texts.empty());
  const auto said = complaints(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(said[i], "") << names[i];
}

TEST(Docs, TheSchemaAcceptsAndRefusesTheSizesThatKilnDoes) {
  const std::vector<std::string> good = {
      "4G",     "4g",       "4GiB",       "'4 GiB'",      "0.5T",        "4.25g",          "4096M",
      "' 4G '", "4194304K", "4294967296", "'4294967296'", "4294967296B", "'4294967296 B'", "0.00390625T"};
  const std::vector<std::string> bad = {"10GB", "10b",  "1.5",   "'1.5'",  "1.5B",          "10Gib", "10GIB",
                                        "10Gi", "10kb", "10E",   "-1",     "'-1'",          "''",    "G",
                                        ".5G",  "1.G",  "1..5G", "1.2.3G", "1.1234567890G", "big",   "[10G]",
                                        "true", "1"};
  // A petabyte is a size, and too much for any option: only what it says differs.
  EXPECT_THAT(mistakes("steps: [{base_debian: {size: 1P}}]\n"), testing::HasSubstr("expected"));
  std::vector<std::string> texts = {"steps: [{base_debian: {size: 1P}}]\n"};
  for (const auto* sizes : {&good, &bad})
    for (const std::string& size : *sizes)
      texts.push_back(fmt::format("guest: {{memory: {0}}}\nsteps: [{{base_debian: {{size: {0}}}}}]\n", size));
  const auto said = complaints(texts);
  EXPECT_EQ(said[0], "");
  for (std::size_t i = 1; i < texts.size(); ++i) {
    EXPECT_EQ(mistakes(texts[i]).empty(), i <= good.size()) << texts[i] << mistakes(texts[i]);
    EXPECT_EQ(said[i].empty(), i <= good.size()) << texts[i] << said[i];
  }
}

TEST(Docs, TheSchemaAcceptsTextsThatLookLikeNumbers) {
  const std::vector<std::string> texts = {
      "steps: [{base_debian: }, {salt_install: {lock: l, python_version: 3.11}}]\n",
      "description: 12\nsteps: [{id: 7, base_debian: }]\nproof: {commands: [{run: [sleep, 5], output: "
      "0}]}\n"};
  EXPECT_THAT(complaints(texts), testing::Each(""));
  EXPECT_EQ(mistakes(texts[1]), "");
}

TEST(Docs, TheSchemaOfEnvironmentsAcceptsAndRefusesWhatKilnDoes) {
  const std::string head = "#cloud-config\nappliance:\n  domain: x.org\n";
  const std::vector<std::string> good = {
      head,
      head + "disable_root: true\nruncmd: [x]\nusers:\n",
      head + "ecs: {git: {commitid: '0123'}}\n",
      head + "  ssl: {letsencrypt: {enabled: false}}\n  sentry: {dsn: 'https://x'}\nssh_authorized_keys:\n",
      head +
          "  extra: {files: [{path: /a, content: x}], packages: [vim], states: x}\n  allowed_hosts: [a, b]\n",
      host::read_file(kSource / "overlays/ecs/pillar/default-env.sls")};
  const std::vector<std::string> bad = {"#cloud-config\n",
                                        "#cloud-config\nappliance: {standby: true}\n",
                                        "#cloud-config\nappliance: {domain: a_b}\n",
                                        head + "unknown_key: 1\n",
                                        head + "  unknown_key: 1\n",
                                        head + "  standby: 1\n",
                                        head + "  backup: {url: x}\n",
                                        head + "  extra: {files: [{content: x}]}\n",
                                        head + "  extra: {files: [{path: x}]}\n",
                                        head + "  extra: {packages: [-x]}\n",
                                        head + "  dkim: {key: x}\n",
                                        head + "ecs: {vault_sign: x}\n",
                                        head + "ecs: {git: {commitid: 123}}\n",
                                        head + "ecs: {settings: [x]}\n"};
  std::vector<std::string> texts = good;
  texts.insert(texts.end(), bad.begin(), bad.end());
  const auto said = complaints(texts, "profiles/env.schema.json");
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_EQ(said[i].empty(), i < good.size()) << texts[i] << said[i];
    EXPECT_EQ(env::check({texts[i], "e.yml"}, host::Host::system()).empty(), i < good.size()) << texts[i];
  }
}

TEST(Docs, TheTableOfTestsHasItsMinutes) {
  const std::string table = between(readme(), "## Tests", "<!-- skips -->");
  EXPECT_EQ(all_matches(table, "\n\\| `([a-z]+)` \\| [^|]+ \\| (?:[0-9]+|hours) \\|"),
            (std::set<std::string>{"boot", "guest", "soak", "unit"}));
}

TEST(Docs, TheTableOfVerbsNamesEveryVerbAndNoOther) {
  EXPECT_EQ(all_matches(between(readme(), "## Verbs", "## The road"), "\n\\| `kiln ([a-z]+)"),
            verbs_of_help());
}

TEST(Docs, TheTableOfVerbsNamesEveryVerbOnEnvironments) {
  EXPECT_EQ(all_matches(between(readme(), "## Verbs", "## The road"), "\n\\| `kiln env ([a-z]+)"),
            verbs_of_env());
}

TEST(Docs, EveryOptionReadmeNamesIsThere) {
  std::string help = help_of({});
  for (const std::string& verb : verbs_of_help()) help += help_of({verb});
  for (const std::string& verb : verbs_of_env()) help += help_of({"env", verb});
  for (const std::string& option : all_matches(readme(), "`(--[a-z][a-z-]*)"))
    EXPECT_THAT(help, testing::HasSubstr(option)) << "README names " << option;
}

TEST(Docs, EveryVerbsHelpHasAnExample) {
  for (const std::string& verb : verbs_of_help())
    EXPECT_THAT(help_of({verb}), testing::HasSubstr("Example:\n  kiln " + verb)) << verb;
  for (const std::string& verb : verbs_of_env())
    EXPECT_THAT(help_of({"env", verb}), testing::HasSubstr("Example:\n  kiln env " + verb)) << verb;
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
