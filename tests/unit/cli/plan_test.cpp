#include "plan/plan.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/digest.hpp"
#include "cache/store.hpp"
#include "host/atomic_file.hpp"
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
  EXPECT_THAT(said.out, HasSubstr("  proof-bios    miss  Boot p.qcow2 (BIOS) and check it"));
  EXPECT_THAT(said.out, HasSubstr("export missed\n  3 of 3 steps to run, and at most 1 boot\n"));
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
  EXPECT_THAT(said.out, Not(HasSubstr("proof")));
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
  const json proofs = object["profiles"][0]["proofs"];
  ASSERT_EQ(proofs.size(), 1U);
  EXPECT_EQ(proofs[0]["id"], "proof-bios");
  EXPECT_EQ(proofs[0]["hit"], false);
  EXPECT_EQ(proofs[0]["why"], "export missed");
}

// The base has a layer, made of one release that has moved since, one that has not, and one nobody serves.
TEST_F(PlanVerbTest, OnlineSaysWhatHasMovedSince) {
  const auto release = [&](const std::string& suite) { return dir_.path() / "dists" / suite / "InRelease"; };
  nlohmann::json served;
  for (const std::string suite : {"bookworm", "bookworm-security", "bookworm-updates"}) {
    fs::create_directories(release(suite).parent_path());
    std::ofstream(release(suite)) << suite;
    served["file://" + release(suite).string()] = base::sha256_file(release(suite));
  }
  kiln_.uid = static_cast<int>(::geteuid());
  {
    const host::Host host = kiln_.host();
    const auto keys = plan::make_keys(plan::load_plan(profile(), stage::StageSet(stages::all())), host);
    cache::Store made(host, store());
    auto entry = made.begin();
    host::write_file(entry.image(), "a disk");
    entry.commit(keys[0].key, "", 1, json({{"served", served}}).dump());
  }
  Said said = kiln_.run({"plan", "--store", store(), "--online", profile()});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("  as recorded\n"));
  EXPECT_THAT(said.out, Not(HasSubstr("--from")));

  std::ofstream(release("bookworm-security")) << "newer";
  fs::remove(release("bookworm-updates"));
  said = kiln_.run({"plan", "--store", store(), "--online", profile()});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("  moved: bookworm-security; not reached: bookworm-updates\n"));
  EXPECT_THAT(said.out, HasSubstr("  to take what mirrors serve now: --from base\n"));
  EXPECT_THAT(said.err, HasSubstr("note: cannot fetch file://" + release("bookworm-updates").string()));
  said = kiln_.run({"plan", "--store", store(), "--online", "--json", profile()});
  const json steps = json::parse(said.out)["profiles"][0]["steps"];
  EXPECT_EQ(steps[0]["mirrors"]["moved"], json({"bookworm-security"}));
  EXPECT_EQ(steps[0]["mirrors"]["as_recorded"], json({"bookworm"}));
  EXPECT_EQ(steps[0]["mirrors"]["not_reached"], json({"bookworm-updates"}));
  EXPECT_EQ(steps[1]["mirrors"], nullptr);

  said = kiln_.run({"plan", "--store", store(), profile()});
  EXPECT_THAT(said.out, Not(HasSubstr("moved"))) << "nobody is asked without --online";
  EXPECT_EQ(said.err, "");
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
