#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "cache/store.hpp"
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
