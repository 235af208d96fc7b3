#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "host/temp_dir.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class CheckTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_.path() / name) << text;
    return (dir_.path() / name).string();
  }
  CommandLine kiln_;
  host::TempDir dir_;
};

TEST_F(CheckTest, AGoodProfileGetsOneLine) {
  const std::string file = write("good.yml", "steps: [{base_debian: }, {seal: }, {export_qcow2: }]\n");
  const std::string none = write("none.yml", "steps: [{base_debian: }]\n");
  const Said said = kiln_.run({"check", file, none});
  EXPECT_EQ(said.status, 0);
  EXPECT_EQ(said.out, file + ": 3 steps, ok\n" + none +
                          ": 1 steps, ok; it exports nothing: a build of it leaves no image\n");
  EXPECT_EQ(said.err, "");
}

TEST_F(CheckTest, ShippedProfilesAreGood) {
  for (const char* name : {"minimal", "ecs-bookworm", "ecs-xenial"}) {
    const Said said = kiln_.run({"check", std::string(KILN_SOURCE_DIR) + "/profiles/" + name + ".yml"});
    EXPECT_EQ(said.status, 0) << said.err;
  }
}

TEST_F(CheckTest, AllMistakesOfAllFilesAreTold) {
  const std::string good = write("good.yml", "steps: [{base_debian: }]\n");
  const std::string one = write("one.yml", "steps: [{base_debain: }]\n");
  const std::string two = write("two.yml", "steps:\n  - base_debian: {sise: 1}\n  - overlay: {tree: none}\n");
  const Said said = kiln_.run({"check", one, good, two});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.out, HasSubstr(good + ": 1 steps, ok"));
  EXPECT_EQ(said.err,
            "error: " + one + ":1:9: unknown stage 'base_debain', did you mean 'base_debian'?\n" +
                "error: " + two + ":2:19: base_debian: unknown option 'sise', did you mean 'size'?\n" +
                "error: " + two + ":3:21: overlay: no directory at 'none'; set 'tree:' to its path\n");
}

TEST_F(CheckTest, JsonListsProfilesOrErrors) {
  const std::string good = write("good.yml", "steps: [{base_debian: }]\n");
  const json fine = json::parse(kiln_.run({"check", "--json", good}).out);
  EXPECT_EQ(fine["ok"], true);
  EXPECT_EQ(fine["profiles"][0]["profile"], "good");
  EXPECT_EQ(fine["profiles"][0]["steps"], 1);
  EXPECT_EQ(fine["profiles"][0]["exports"], false);
  const std::string bad = write("bad.yml", "a: 1\nb: 2\nsteps: [{base_debian: }]\n");
  const json wrong = json::parse(kiln_.run({"check", "--json", good, bad}).out);
  EXPECT_EQ(wrong["ok"], false);
  EXPECT_EQ(wrong["errors"].size(), 2U);
  EXPECT_EQ(wrong["errors"][1]["where"], bad + ":2:1");
}

TEST_F(CheckTest, WhatAStageCannotReadShowsHereAlready) {
  write("list.txt", "nginx\nno such name!\n");
  const Said said =
      kiln_.run({"check", write("p.yml", "steps: [{base_debian: }, {packages: {from: [list.txt]}}]\n")});
  EXPECT_NE(said.status, 0);
  EXPECT_THAT(said.err, HasSubstr("list.txt:2"));
}

}  // namespace
}  // namespace kiln::cli
