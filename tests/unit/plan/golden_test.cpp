// tests/golden/<profile>/{plan.txt,keys.txt}: the steps of each shipped profile, and the key texts of a
// profile with a tree of its own. ACCEPT=1 rewrites them.
#include <cstdlib>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <gtest/gtest.h>
#include <set>
#include <sstream>

#include "base/text.hpp"
#include "fakes/host.hpp"
#include "plan/plan.hpp"
#include "stages/all.hpp"
#include "unit/plan/samples.hpp"

namespace kiln::plan {
namespace {

namespace fs = std::filesystem;

const fs::path kGolden = fs::path(KILN_TESTS_DIR) / "golden";

std::string content(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// Compares with what is kept; true when it was rewritten instead.
bool accepted(const fs::path& file, const std::string& now) {
  if (std::getenv("ACCEPT") != nullptr) {
    fs::create_directories(file.parent_path());
    std::ofstream(file) << now;
    return true;
  }
  EXPECT_EQ(now, content(file)) << "ACCEPT=1 takes this as the new " << file.filename();
  return false;
}

std::string steps_text(const Plan& plan) {
  std::string text = plan.profile.name + ": " + plan.profile.description + "\n";
  for (const PlannedStep& step : plan.steps) {
    text += fmt::format("{} | {} | {} | {}\n", step.id, step.type->name, step.stage->text(stage::Tense::will),
                        step.stage->text(stage::Tense::does));
  }
  return text;
}

class ShippedTest : public testing::TestWithParam<const char*> {};

TEST_P(ShippedTest, PlansToTheseSteps) {
  const fs::path file = fs::path(KILN_SOURCE_DIR) / "profiles" / (std::string(GetParam()) + ".yml");
  const Plan plan = load_plan(file, stage::StageSet(stages::all()));
  if (accepted(kGolden / GetParam() / "plan.txt", steps_text(plan))) GTEST_SKIP() << "plan.txt was rewritten";
}

TEST_P(ShippedTest, HasKeysWithoutNetworkRootOrAnyTool) {
  const fs::path file = fs::path(KILN_SOURCE_DIR) / "profiles" / (std::string(GetParam()) + ".yml");
  fakes::World bare;
  host::Host host = bare.host();
  host.tool_version = [](const std::string&) { return std::string("absent"); };
  const Plan plan = load_plan(file, stage::StageSet(stages::all()));
  const std::vector<StepKey> keys = make_keys(plan, host);
  ASSERT_EQ(keys.size(), plan.steps.size());
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (plan.steps[i].type->reuse == stage::Reuse::never) continue;
    EXPECT_EQ(keys[i].key.size(), 64U) << plan.steps[i].id;
    EXPECT_EQ(keys[i].text.find(KILN_SOURCE_DIR), std::string::npos)
        << "a key that knows where the checkout lies";
  }
}

TEST_P(ShippedTest, NamesItsSchemaForEditors) {
  const fs::path file = fs::path(KILN_SOURCE_DIR) / "profiles" / (std::string(GetParam()) + ".yml");
  EXPECT_TRUE(content(file).starts_with("# yaml-language-server: $schema=profile.schema.json\n"));
}

INSTANTIATE_TEST_SUITE_P(Profile, ShippedTest, testing::Values("minimal", "ecs-bookworm", "ecs-xenial"),
                         [](const auto& profile) {
                           std::string name = profile.param;
                           for (char& c : name) c = c == '-' ? '_' : c;
                           return name;
                         });

// "u NAME NUMBER" of each line that makes a user.
std::set<std::string> users(const fs::path& file) {
  std::set<std::string> result;
  for (const std::string& line : base::lines(content(file))) {
    if (!line.starts_with("u ")) continue;
    std::istringstream words(line);
    std::string type, name, number;
    words >> type >> name >> number;
    result.insert(fmt::format("{} {}", name, number));
  }
  return result;
}

TEST(PayloadTest, WhatLiesThereBeforeThePackagesIsWhatTheStatesWrite) {
  const fs::path ecs = fs::path(KILN_SOURCE_DIR) / "overlays" / "ecs";
  const std::set<std::string> numbers = users(ecs / "salt/common/sysusers.conf");
  EXPECT_GE(numbers.size(), 2U);
  for (const char* tree : {"early", "early-xenial"}) {
    EXPECT_EQ(users(ecs / tree / "etc/sysusers.d/appliance.conf"), numbers) << tree;
  }
  const std::string state = content(ecs / "salt/appliance/postgresql/init.sls");
  for (const std::string& line :
       base::lines(content(ecs / "early/etc/postgresql-common/createcluster.d/appliance.conf"))) {
    EXPECT_NE(state.find("        " + line + "\n"), std::string::npos) << line;
  }
}

TEST(GoldenKeysTest, OfAProfileWithATreeOfItsOwn) {
  const Plan plan = load_plan(kGolden / "sample" / "sample.yml", stage::StageSet(stages::all()));
  std::string text;
  for (const StepKey& key : make_keys(plan, fake_host())) text += key.text + "key " + key.key + "\n\n";
  if (accepted(kGolden / "sample" / "keys.txt", text)) GTEST_SKIP() << "keys.txt was rewritten";
}

}  // namespace
}  // namespace kiln::plan
