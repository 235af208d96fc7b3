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

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class ExplainTest : public testing::Test {
 protected:
  void SetUp() override {
    kiln_.uid = static_cast<int>(::geteuid());
    kiln_.runner = host::system_runner();
    fs::create_directories(dir_.path() / "tree/etc");
    put("tree/etc/motd", "hello\n");
    write("jq");
  }
  void put(const std::string& name, const std::string& text) { std::ofstream(dir_.path() / name) << text; }
  void write(const std::string& package) {
    put("p.yml",
        "steps:\n  - base_debian:\n  - packages: {install: [" + package + "]}\n  - overlay: {tree: tree}\n");
  }
  // As if it were built: layers that are never looked at.
  void build() {
    const auto host = kiln_.host();
    cache::Store made(host, store());
    const auto plan = plan::load_plan(profile(), stage::StageSet(stages::all()));
    const auto keys = plan::make_keys(plan, host);
    std::string parent;
    std::vector<cache::Store::KeyRecord> records;
    for (std::size_t i = 0; i < keys.size(); ++i) {
      auto entry = made.begin();
      host::write_file(entry.image(), "a disk");
      parent = entry.commit(keys[i].key, parent, 1, "{}").id;
      records.push_back({plan.steps[i].id, keys[i].key, keys[i].text, 1});
    }
    made.keep_keys("p", records);
  }
  Said explain(const std::string& step) {
    return kiln_.run({"explain", "--store", store(), profile(), step});
  }
  std::string profile() { return (dir_.path() / "p.yml").string(); }
  std::string store() { return (dir_.path() / "store").string(); }
  CommandLine kiln_;
  host::TempDir dir_;
};

TEST_F(ExplainTest, WithoutABuildItShowsWhatTheKeyIsMadeOf) {
  const Said said = explain("packages");
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("packages: miss, never built\n"));
  EXPECT_THAT(said.out, HasSubstr("\noption install = [\"jq\"]\n"));
  EXPECT_FALSE(fs::exists(store()));
}

TEST_F(ExplainTest, AHitHasItsInputsStill) {
  build();
  EXPECT_EQ(explain("packages").out, "packages: hit\nIts own inputs are those of the last build.\n");
}

TEST_F(ExplainTest, AMissShowsTheLinesThatDiffer) {
  build();
  write("nginx");
  const std::string said = explain("packages").out;
  EXPECT_THAT(said,
              HasSubstr("packages: miss, option changed: install (+nginx, -jq)\n\n--- last\n+++ now\n"));
  EXPECT_THAT(said, HasSubstr("\n-option install = [\"jq\"]\n+option install = [\"nginx\"]\n"));
  EXPECT_THAT(said, Not(HasSubstr("parent")));
}

TEST_F(ExplainTest, AFileOfATreeIsNamed) {
  build();
  put("tree/etc/motd", "goodbye\n");
  const std::string said = explain("overlay").out;
  EXPECT_THAT(said, HasSubstr("overlay: miss, input changed: tree: etc/motd\n"));
  EXPECT_THAT(said, HasSubstr("\n-  file 0644 "));
}

TEST_F(ExplainTest, WhatAStepStandsOnIsTheCauseOfItsMiss) {
  build();
  write("nginx");
  const std::string said = explain("overlay").out;
  EXPECT_EQ(said,
            "overlay: miss, parent missed\n"
            "  stands on 'packages': miss, option changed: install (+nginx, -jq)\n"
            "Its own inputs are those of the last build.\n"
            "See kiln explain " +
                profile() + " packages\n");
}

TEST_F(ExplainTest, JsonHasBothAndTheDifference) {
  build();
  write("nginx");
  const json object =
      json::parse(kiln_.run({"explain", "--json", "--store", store(), profile(), "overlay"}).out);
  EXPECT_EQ(object["hit"], false);
  EXPECT_EQ(object["why"], "parent missed");
  EXPECT_EQ(object["parents"][0]["step"], "packages");
  EXPECT_EQ(object["diff"], "");
  EXPECT_THAT(object["text"].get<std::string>(), HasSubstr("stage overlay"));
}

TEST_F(ExplainTest, AnUnknownStepGetsAGuess) {
  const Said said = explain("overlya");
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("explain: p has no step 'overlya', did you mean 'overlay'?"));
}

}  // namespace
}  // namespace kiln::cli
