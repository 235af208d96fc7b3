#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cache/store.hpp"
#include "engine/lookup.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "plan/plan.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class BuildTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() / name) << text;
    return (dir_.path() / name).string();
  }
  std::string store() { return (dir_.path() / "store").string(); }
  CommandLine kiln_;
  host::TempDir dir_;
};

TEST_F(BuildTest, AMistakeInTheLastProfileShowsBeforeTheFirstIsBuilt) {
  const std::string good = write("good.yml", "steps: [{base_debian: }, {id: last, seal: }]\n");
  const std::string until = write("until.yml", "steps: [{base_debian: }, {id: lost, seal: }]\n");
  write("list.txt", "no such name!\n");
  const std::string list =
      write("list.yml", "steps: [{base_debian: }, {id: last, packages: {from: [list.txt]}}]\n");
  const Said said = kiln_.run({"build", good, until, list, "--until", "last", "--store", store()});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("--until: until has no step 'last', did you mean 'lost'?"));
  EXPECT_THAT(said.err, HasSubstr("list.txt:1"));
  EXPECT_FALSE(std::filesystem::exists(store())) << "nothing was begun";
}

// A file of an earlier build must not be taken for this one's.
TEST_F(BuildTest, TheEventsSayHowItEndedAlsoWhenNothingWasBegun) {
  const std::string bad = write("bad.yml", "steps: [{base_debain: }]\n");
  const std::string events = write("events", "{\"event\":\"ends\",\"exit\":0}\n");
  EXPECT_EQ(kiln_.run({"build", bad, "--events", events, "--store", store()}).status, 2);
  std::ifstream file(events);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_EQ(json::parse(line)["event"], "begins");
  ASSERT_TRUE(std::getline(file, line));
  const json end = json::parse(line);
  EXPECT_EQ(end["event"], "ends");
  EXPECT_EQ(end["exit"], 2);
  EXPECT_THAT(end["error"].get<std::string>(), HasSubstr("did you mean 'base_debian'?"));
  EXPECT_FALSE(std::getline(file, line));
}

TEST_F(BuildTest, TwoProfilesOfOneNameWouldBeOneImage) {
  std::filesystem::create_directories(dir_.path() / "b");
  const std::string steps = "steps: [{base_debian: }]\n";
  const std::string one = write("web.yml", steps);
  const std::string two = write("b/web.yml", steps);
  const std::string three = write("three.yml", "name: web\n" + steps);
  Said said = kiln_.run({"build", one, two, three, "--store", store(), "--output", store()});
  EXPECT_EQ(said.status, 2);
  const std::string hint = "; give one of them another 'name:', or build them in two calls with --output\n";
  EXPECT_EQ(said.err, "error: " + two + ": 'web' is the name of " + one + " too" + hint + "error: " + three +
                          ": 'web' is the name of " + one + " too" + hint);
  said = kiln_.run({"build", one, one, "--store", store()});
  EXPECT_EQ(said.status, 2);
  EXPECT_EQ(said.err, "error: " + one + ": profile 'web' is named twice; name it once\n");
  EXPECT_FALSE(std::filesystem::exists(store())) << "nothing was begun";
}

// All of it is in the store: it is published only.
TEST_F(BuildTest, TheCommandsItNamesAreOfThisKilnAndThisStore) {
  kiln_.uid = static_cast<int>(::geteuid());
  const std::string file = write("done.yml", "steps: [{base_debian: }, {export_qcow2: {sealed: false}}]\n");
  const host::Host host = kiln_.host();
  {
    const auto keys = plan::make_keys(plan::load_plan(file, stage::StageSet(stages::all())), host);
    cache::Store made(host, store());
    auto entry = made.begin();
    host::write_file(entry.image(), "a disk");
    const auto layer = entry.commit(keys[0].key, "", 1, "{}");
    const auto scratch = made.scratch();
    std::filesystem::create_directories(scratch.folder() / "out");
    host::write_file(scratch.folder() / "out/done.qcow2", "an export");
    made.keep_artifact(engine::artifact_key("done", keys[1].key, layer.id), scratch.folder() / "out", 1,
                       "{}");
  }
  const std::string output = (dir_.path() / "out").string();
  const std::string image = output + "/done.qcow2";
  Said said = kiln_.run({"build", file, "--no-boot", "--store", store(), "--output", output});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("prove it again: kiln boot " + image + " --store " + store() + "\n"));
  EXPECT_THAT(said.out, HasSubstr(": kiln boot " + image + " --store " + store() + " --shell\n"));

  kiln_.program = "build/release/bin/kiln";
  kiln_.env["XDG_CACHE_HOME"] = dir_.path().string();
  std::filesystem::rename(store(), dir_.path() / "kiln");
  said = kiln_.run({"build", file, "--no-boot", "--output", output});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("prove it again: build/release/bin/kiln boot " + image + "\n"));
}

// The first profile's one layer is in the store; for the second no tool is there.
TEST_F(BuildTest, WhatIsDoneStandsBesideTheErrorOfALaterBuild) {
  kiln_.uid = static_cast<int>(::geteuid());
  const std::string done = write("done.yml", "steps: [{base_debian: }]\n");
  const std::string fails = write("fails.yml", "steps: [{base_debian: {suite: trixie}}]\n");
  const host::Host host = kiln_.host();
  {
    const auto plan = plan::load_plan(done, stage::StageSet(stages::all()));
    cache::Store made(host, store());
    auto entry = made.begin();
    host::write_file(entry.image(), "a disk");
    entry.commit(plan::make_keys(plan, host).front().key, "", 1, "{}");
  }
  const Said said = kiln_.run({"build", "--json", done, fails, "--store", store()});
  EXPECT_EQ(said.status, 3) << said.err;
  const json object = json::parse(said.out);
  EXPECT_EQ(object["ok"], false);
  EXPECT_THAT(object["error"]["message"].get<std::string>(), HasSubstr("mmdebstrap"));
  ASSERT_EQ(object["builds"].size(), 1U);
  EXPECT_EQ(object["builds"][0]["profile"], "done");
}

}  // namespace
}  // namespace kiln::cli
