#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "host/temp_dir.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class PlanVerbTest : public testing::Test {
 protected:
  void SetUp() override {
    std::ofstream(dir_.path() / "p.yml")
        << "steps:\n  - id: base\n    base_debian:\n  - seal:\n  - export_qcow2:\n";
  }
  std::string profile() { return (dir_.path() / "p.yml").string(); }
  std::string store() { return (dir_.path() / "store").string(); }
  CommandLine kiln_;
  host::TempDir dir_;
};

TEST_F(PlanVerbTest, WithoutAStoreAllIsToBeBuiltAndNoStoreIsMade) {
  const Said said = kiln_.run({"plan", "--store", store(), profile()});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("  base          miss  "));
  EXPECT_THAT(said.out, HasSubstr("  export_qcow2  miss  "));
  EXPECT_THAT(said.out, HasSubstr("  3 of 3 steps to run\n"));
  EXPECT_FALSE(fs::exists(store()));
}

TEST_F(PlanVerbTest, LinesEndWithTheReason) {
  const Said said = kiln_.run({"plan", "--store", store(), profile()});
  int reasons = 0;
  for (std::size_t at = said.out.find("never built\n"); at != std::string::npos;
       at = said.out.find("never built\n", at + 1)) {
    ++reasons;
  }
  EXPECT_EQ(reasons, 3);
}

TEST_F(PlanVerbTest, UntilCutsThePlanBehindAStep) {
  const Said said = kiln_.run({"plan", "--store", store(), "--until", "seal", profile()});
  EXPECT_EQ(said.status, 0);
  EXPECT_THAT(said.out, HasSubstr("2 of 2 steps"));
  EXPECT_THAT(said.out, Not(HasSubstr("export_qcow2")));
}

TEST_F(PlanVerbTest, AnUnknownStepGetsAGuess) {
  const Said said = kiln_.run({"plan", "--store", store(), "--until", "sael", profile()});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(
      said.err,
      HasSubstr("--until: p has no step 'sael', did you mean 'seal'?; known are base, seal, export_qcow2"));
}

TEST_F(PlanVerbTest, AForcedStepIsOneOfThePlan) {
  Said said = kiln_.run({"plan", "--store", store(), "--from", "sael", profile()});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("--from: p has no step 'sael', did you mean 'seal'?"));
  said = kiln_.run({"plan", "--store", store(), "--from", "export_qcow2", "--until", "seal", profile()});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("--from: 'export_qcow2' comes after 'seal', behind which --until stops"));
  said = kiln_.run({"plan", "--store", store(), "--from", "seal", "--no-cache", profile()});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("--no-cache runs all steps and --from some; leave out one of them"));
}

TEST_F(PlanVerbTest, JsonHasAKeyAndAReasonForEachStep) {
  const json object = json::parse(kiln_.run({"plan", "--json", "--store", store(), profile()}).out);
  EXPECT_EQ(object["ok"], true);
  const json steps = object["profiles"][0]["steps"];
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[0]["id"], "base");
  EXPECT_EQ(steps[0]["stage"], "base_debian");
  EXPECT_EQ(steps[0]["hit"], false);
  EXPECT_EQ(steps[0]["why"], "never built");
  EXPECT_EQ(steps[0]["key"].get<std::string>().size(), 64U);
  EXPECT_EQ(steps[0]["last_seconds"], nullptr);
}

TEST_F(PlanVerbTest, AnEmptyStoreIsAsGoodAsNone) {
  fs::create_directories(store());
  fs::permissions(store(), fs::perms::owner_all);
  kiln_.root = ::geteuid() == 0;
  const Said said = kiln_.run({"plan", "--store", store(), profile()});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("3 of 3 steps to run"));
}

}  // namespace
}  // namespace kiln::cli
