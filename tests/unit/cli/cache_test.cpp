#include <algorithm>
#include <array>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.hpp"
#include "cache/store.hpp"
#include "engine/lookup.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "plan/plan.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::ContainsRegex;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class CacheVerbTest : public testing::Test {
 protected:
  CacheVerbTest() {
    kiln_.uid = static_cast<int>(::geteuid());
    std::ofstream(dir_.path() / "p.yml")
        << "steps:\n  - id: base\n    base_debian:\n  - seal:\n  - export_qcow2:\n";
  }
  std::string profile() { return (dir_.path() / "p.yml").string(); }
  std::string store() { return (dir_.path() / "store").string(); }
  // What a build of the profile would leave in the store.
  void build() {
    const host::Host host = kiln_.host();
    const auto keys = plan::make_keys(plan::load_plan(profile(), stage::StageSet(stages::all())), host);
    cache::Store made(host, store());
    const auto layer = [&](const std::string& key, const std::string& parent, const std::string& info) {
      auto entry = made.begin();
      host::write_file(entry.image(), "disk on " + parent);
      return entry.commit(key, parent, 1, info);
    };
    base_ = layer(keys[0].key, "", R"({"step": "base", "stage": "base_debian", "profile": "p"})");
    seal_ = layer(keys[1].key, base_->id, R"({"step": "seal", "stage": "seal", "profile": "p"})");
    const auto scratch = made.scratch();
    fs::create_directories(scratch.folder() / "out");
    host::write_file(scratch.folder() / "out/p.qcow2", "an export");
    made.keep_artifact(engine::artifact_key("p", keys[2].key, seal_->id), scratch.folder() / "out", 1,
                       R"({"step": "export_qcow2", "stage": "export_qcow2", "layer": ")" + seal_->id + "\"}");
    made.keep_keys("another", {{"base", keys[0].key, "text", 1}});
    host::write_file(made.packages("debs") / "a.deb", "a package");
  }
  static void damage(const fs::path& file) {
    ::chmod(file.c_str(), 0600);
    std::fstream(file, std::ios::in | std::ios::out) << '!';
    ::chmod(file.c_str(), 0444);
  }
  CommandLine kiln_;
  host::TempDir dir_;
  std::optional<cache::Layer> base_, seal_;
};

TEST_F(CacheVerbTest, WithoutAStoreThereIsNothingAndNoneIsMade) {
  for (const char* action : {"ls", "gc", "verify"}) {
    const Said said = kiln_.run({"cache", action, "--store", store()});
    EXPECT_EQ(said.status, 0) << said.err;
    EXPECT_THAT(said.out, HasSubstr("0 B")) << action;
    EXPECT_EQ(json::parse(kiln_.run({"cache", action, "--json", "--store", store()}).out)["ok"], true);
  }
  EXPECT_EQ(kiln_.run({"cache", "path", "--store", store()}).out, store() + "\n");
  EXPECT_EQ(kiln_.run({"cache", "path", "abc", "--store", store()}).status, 1);
  EXPECT_FALSE(fs::exists(store()));
}

TEST_F(CacheVerbTest, LayersAreListedBelowWhatTheyStandOn) {
  build();
  const Said said = kiln_.run({"cache", "ls", "--store", store()});
  EXPECT_EQ(said.status, 0) << said.err;
  const auto lines = base::lines(said.out);
  ASSERT_GT(lines.size(), 9U) << said.out;
  EXPECT_THAT(lines[0], StartsWith("id        step "));
  EXPECT_THAT(lines[1], ContainsRegex("^" + base_->id.substr(0, 8) +
                                      "  base \\(base_debian\\)  another, p .* just now +just now$"));
  EXPECT_THAT(lines[2],
              ContainsRegex("^" + seal_->id.substr(0, 8) + "    seal  .* p .* just now +just now$"));
  EXPECT_THAT(lines[3], ContainsRegex("^[0-9a-f]{8}      export_qcow2 "));
  EXPECT_THAT(said.out, ContainsRegex("\nlayers +2 .*\nexports +1 .*\ndownloads +1 .*\nevidence +0 .*0 B\n"));
  EXPECT_THAT(said.out, ContainsRegex("\nall .* of at most [^\n]*, in " + store() + "\n$"));
}

TEST_F(CacheVerbTest, AListFitsIntoAHundredColumnsAndItsNamesDriveNoTerminal) {
  {
    const host::Host host = kiln_.host();
    cache::Store made(host, store());
    std::string parent;
    for (int n = 0; n < 30; ++n) {
      auto entry = made.begin();
      host::write_file(entry.image(), "disk");
      const json info = {{"step", "a-step-with-a-rather-long-name"},
                         {"stage", "systemd_units\x1b[2J"},
                         {"profile", "a-profile-with-a-long-name"}};
      parent = entry.commit(std::string(64, 'a'), parent, 1, info.dump()).id;
    }
  }
  const Said said = kiln_.run({"cache", "ls", "--store", store()});
  for (const auto& line : base::lines(said.out)) {
    if (line.starts_with("all ")) continue;  // names the store
    const auto columns = std::count_if(line.begin(), line.end(), [](char c) { return (c & 0xc0) != 0x80; });
    EXPECT_LE(columns, 100) << line;
  }
  EXPECT_THAT(said.out, Not(HasSubstr("\x1b")));
}

TEST_F(CacheVerbTest, AListAsJsonHasAllIdsWhole) {
  build();
  const json object = json::parse(kiln_.run({"cache", "ls", "--json", "--store", store()}).out);
  EXPECT_EQ(object["ok"], true);
  EXPECT_EQ(object["store"], store());
  ASSERT_EQ(object["layers"].size(), 2U);
  EXPECT_EQ(object["layers"][0]["id"], base_->id);
  EXPECT_EQ(object["layers"][0]["profiles"], json({"another", "p"}));
  EXPECT_EQ(object["layers"][1]["parent"], base_->id);
  EXPECT_EQ(object["layers"][1]["step"], "seal");
  EXPECT_EQ(object["exports"][0]["layer"], seal_->id);
  EXPECT_EQ(object["totals"]["layers"]["count"], 2);
  EXPECT_GT(object["max_size"], 0);
}

TEST_F(CacheVerbTest, WhatIsTrimmedIsTold) {
  build();
  const Said said = kiln_.run({"cache", "gc", "--max-size", "0", "--store", store()});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("  " + seal_->id.substr(0, 8) + "  seal\n"));
  EXPECT_THAT(said.out, ContainsRegex("removed  export .*\nremoved  layer .*\nremoved  layer "));
  EXPECT_THAT(said.out, ContainsRegex("removed  packages +[0-9.]+ KiB  1\n"));
  EXPECT_THAT(said.out, ContainsRegex(" freed, 0 B left of at most 0 B\n$"));
  EXPECT_TRUE(fs::is_empty(fs::path(store()) / "layers"));
  build();
  const json object =
      json::parse(kiln_.run({"cache", "gc", "--max-size", "0", "--json", "--store", store()}).out);
  EXPECT_EQ(object["removed"].size(), 4U);
  EXPECT_EQ(object["bytes"], 0);
}

TEST_F(CacheVerbTest, AStoreInUseIsLeftAloneAndByWhomIsSaid) {
  build();
  std::array<int, 2> ready{};
  ASSERT_EQ(::pipe(ready.data()), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    const host::Host host = kiln_.host();
    const cache::Store theirs(host, store());
    if (::write(ready[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const Said said = kiln_.run({"cache", "gc", "--max-size", "0", "--store", store()});
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ready[0]);
  ::close(ready[1]);
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err,
              ContainsRegex("error: the store " + store() + " is in use by (process " +
                            std::to_string(child) + "|another kiln), and nothing was removed; wait"));
  EXPECT_THAT(said.err, HasSubstr("then run: kiln cache gc --max-size 0 --store " + store()));
  EXPECT_TRUE(fs::exists(seal_->folder));
}

TEST_F(CacheVerbTest, DamageIsNamedSetAsideAndAFailure) {
  build();
  Said said = kiln_.run({"cache", "verify", "--store", store()});
  EXPECT_EQ(said.status, 0) << said.out << said.err;
  EXPECT_THAT(said.out, StartsWith("2 layers, 1 export, 0 blobs read, "));
  EXPECT_THAT(said.err, HasSubstr("verify: Reading all of " + store()));
  damage(seal_->image());
  said = kiln_.run({"cache", "verify", "--quiet", "--store", store()});
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.err, "");
  EXPECT_THAT(said.out, HasSubstr("damaged: layer " + seal_->id + ", step 'seal'\n  " +
                                  seal_->image().string() + ": its sha256 is "));
  EXPECT_THAT(said.out, HasSubstr("set aside: " + store() + "/failed/damaged-" + seal_->id + "\n"));
  EXPECT_FALSE(fs::exists(seal_->folder));
  damage(base_->image());
  said = kiln_.run({"cache", "verify", "--json", "--store", store()});
  EXPECT_EQ(said.status, 1);
  const json object = json::parse(said.out);
  EXPECT_EQ(object["ok"], false);
  EXPECT_EQ(object["damaged"][0]["id"], base_->id);
  EXPECT_EQ(object["damaged"][0]["path"], base_->image().string());
}

TEST_F(CacheVerbTest, ALayersImageIsFoundByTheBeginningOfItsId) {
  build();
  const auto path = [&](const std::string& what) {
    return kiln_.run({"cache", "path", what, "--store", store()});
  };
  EXPECT_EQ(path(seal_->id.substr(0, 10)).out, seal_->image().string() + "\n");
  Said said = path(seal_->id[0] == '0' ? "1111111111" : "0000000000");
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err, HasSubstr("no layer or export in " + store() + " has an id that begins with"));
  fs::create_directories(fs::path(store()) / "layers" / (base_->id.substr(0, 31) + "x"));
  said = path(base_->id.substr(0, 31));
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("is the beginning of 2 ids; give more of one: " + base_->id.substr(0, 31)));
  said = path("minimal");
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("'minimal' is neither the beginning of an id nor PROFILE@STEP"));
}

TEST_F(CacheVerbTest, AStepsImageIsTheOneABuildWouldTake) {
  const auto path = [&](const std::string& what) {
    return kiln_.run({"cache", "path", what, "--store", store()});
  };
  Said said = path(profile() + "@seal");
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err, HasSubstr("step 'seal' of p is not in the store: never built; run: kiln build " +
                                  profile() + " --until seal --store " + store() + "\n"));
  EXPECT_FALSE(fs::exists(store()));
  build();
  EXPECT_EQ(path(profile() + "@seal").out, seal_->image().string() + "\n");
  EXPECT_EQ(path(profile() + "@base").out, base_->image().string() + "\n");
  EXPECT_THAT(path(profile() + "@export_qcow2").out,
              ContainsRegex("/artifacts/[0-9a-f]{64}/files/p.qcow2\n$"));
  EXPECT_EQ(json::parse(kiln_.run({"cache", "path", "--json", profile() + "@seal", "--store", store()}).out),
            json({{"ok", true}, {"path", seal_->image().string()}}));
  said = path(profile() + "@sael");
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err,
              HasSubstr("p has no step 'sael', did you mean 'seal'?; known are base, seal, export"));
  damage(seal_->image());
  said = path(profile() + "@seal");
  EXPECT_EQ(said.status, 1);
  EXPECT_THAT(said.err, HasSubstr("is not in the store: damaged; run: "));
}

TEST_F(CacheVerbTest, WordsAreChecked) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{"verfy"}, "cache: unknown action 'verfy', did you mean 'verify'?; known are ls, gc, verify, path"},
      {{"gc", "--max-size", "10GB"}, "--max-size: expected a size such as 20G or 512M, got '10GB'"},
      {{"ls", "--max-size", "1G"}, "cache ls: it does not trim; give --max-size to gc"},
      {{"gc", "more"}, "cache gc: 'more' is one word too many; see kiln cache --help"}};
  for (const auto& [words, message] : wrong) {
    std::vector<std::string> all = {"cache", "--store", store()};
    all.insert(all.end(), words.begin(), words.end());
    const Said said = kiln_.run(all);
    EXPECT_EQ(said.status, 2) << said.err;
    EXPECT_THAT(said.err, HasSubstr(message));
  }
  EXPECT_THAT(kiln_.run({"cache"}).err, HasSubstr("ACTION is required"));
}

}  // namespace
}  // namespace kiln::cli
