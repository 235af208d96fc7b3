#include "target/salt.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "host/atomic_file.hpp"

namespace kiln::target {
namespace {

using Strings = std::vector<std::string>;

// Outputs of Salt 3006.28, as they came.
std::string recorded(const std::string& name) {
  return host::read_file(std::string(KILN_TESTS_DIR "/unit/target/salt/") + name);
}
const auto everybody = [](const std::string&) { return false; };
const auto by_name = [](const std::string& sls) { return "salt/" + sls + ".sls"; };

TEST(Salt, ReadsStatesInTheOrderTheyRan) {
  const Highstate highstate = read_highstate(recorded("failed.json"), everybody);
  ASSERT_EQ(highstate.states.size(), 5U);
  EXPECT_EQ(highstate.states[0].id, "motd");
  EXPECT_EQ(highstate.states[0].function, "file.managed");
  EXPECT_EQ(highstate.states[0].name, "/etc/motd");
  EXPECT_EQ(highstate.states[0].sls, "common");
  EXPECT_NEAR(highstate.states[0].seconds, 0.0098, 0.0001);
  EXPECT_TRUE(highstate.states[0].changed);
  EXPECT_TRUE(highstate.states[2].failed);
  EXPECT_EQ(highstate.states[2].output, "out\nwrong");
  EXPECT_EQ(highstate.changed(), 4U);
  EXPECT_EQ(highstate.failed(), 2U);
  EXPECT_EQ(highstate.summary(38.2), "5 states, 4 changed, 2 failed, 38 s");
}

TEST(Salt, NamesWhatItStillHadToInstall) {
  EXPECT_EQ(read_highstate(recorded("failed.json"), everybody).installed(), Strings{"tree"});
}

TEST(Salt, AFailureNamesTheCauseNotWhatFollowedFromIt) {
  const base::Error error = failure(read_highstate(recorded("failed.json"), everybody), by_name);
  EXPECT_EQ(error.message(),
            "salt/common.sls: the state 'tree' (cmd.run) failed: Command \"sh -c 'echo out; echo wrong >&2; "
            "exit 3'\" run");
  EXPECT_EQ(error.detail_text(),
            "tree (cmd.run, salt/common.sls): Command \"sh -c 'echo out; echo wrong >&2; exit 3'\" run\n"
            "out\n"
            "wrong\n"
            "after (test.nop, salt/common.sls): One or more requisite failed: common.tree");
  EXPECT_NE(error.hint_text(), "");
}

TEST(Salt, DiffsOfPrivateFilesAreNotKept) {
  const std::string output = recorded("failed.json");
  EXPECT_EQ(diffed_paths(output), (Strings{"/etc/motd", "/root/secret.env"}));
  ASSERT_NE(output.find("OLD-SECRET"), std::string::npos);
  const Highstate highstate =
      read_highstate(output, [](const std::string& path) { return path == "/root/secret.env"; });
  EXPECT_EQ(highstate.json.find("OLD-SECRET"), std::string::npos);
  EXPECT_EQ(highstate.json.find("NEW-SECRET"), std::string::npos);
  const auto kept = nlohmann::json::parse(highstate.json);
  EXPECT_EQ(kept["states"][0]["changes"]["diff"], "--- \n+++ \n@@ -1 +1 @@\n-old\n+hello\n");
  EXPECT_TRUE(kept["states"][1]["changes"].contains("diff"));  // that it changed is told
}

TEST(Salt, DiffsBelowAFolderArePrivateByTheirOwnPath) {
  const std::string output =
      R"({"local": {"file_|-d_|-/d_|-recurse": {"result": true, "name": "/d", "__id__": "d",
      "changes": {"/d/a": {"diff": "open"}, "/d/b": {"diff": "closed"}}}}})";
  EXPECT_EQ(diffed_paths(output), (Strings{"/d/a", "/d/b"}));
  const Highstate highstate = read_highstate(output, [](const std::string& path) { return path == "/d/b"; });
  EXPECT_NE(highstate.json.find("open"), std::string::npos);
  EXPECT_EQ(highstate.json.find("closed"), std::string::npos);
}

TEST(Salt, KeptResultsHaveWhatPeopleAskFor) {
  const auto kept = nlohmann::json::parse(read_highstate(recorded("failed.json"), everybody).json);
  const auto& state = kept["states"][4];
  EXPECT_EQ(state["id"], "less");
  EXPECT_EQ(state["function"], "pkg.installed");
  EXPECT_EQ(state["result"], true);
  EXPECT_EQ(state["seconds"], 1.497);
  EXPECT_EQ(state["changes"]["tree"]["new"], "2.1.0-1");
}

TEST(Salt, RenderErrorsAreTold) {
  const Highstate highstate = read_highstate(recorded("render.json"), everybody);
  EXPECT_TRUE(highstate.states.empty());
  const std::string error = failure(highstate, by_name).what();
  EXPECT_NE(error.find("Rendering SLS 'base:common' failed: mapping values are not allowed"),
            std::string::npos)
      << error;
}

TEST(Salt, PillarErrorsAreTold) {
  const std::string error = failure(read_highstate(recorded("pillar.json"), everybody), by_name).message();
  EXPECT_EQ(error,
            "Salt could not render the states: Pillar failed to render with the following messages: "
            "Rendering SLS 'bad' failed. Please see master log for details.");
}

TEST(Salt, WhatIsNoResultIsAnError) {
  for (const char* output : {"", "Traceback", "[]", "{}", "{\"local\": 3}", "{\"local\": {\"x\": 3}}"}) {
    EXPECT_THROW(read_highstate(output, everybody), base::Error) << output;
  }
}

TEST(Salt, TheLogTellsProgressAndDropsChanges) {
  Strings doings;
  std::string lines;
  SaltLog log([&](std::string_view what) { doings.emplace_back(what); },
              [&](std::string_view line) { lines += std::string(line) + "\n"; });
  // In pieces, as a pipe gives them.
  const std::string whole = recorded("failed-log.txt");
  for (std::size_t at = 0; at < whole.size(); at += 7) log.add(std::string_view(whole).substr(at, 7));
  log.finish();
  EXPECT_EQ(doings, (Strings{"file.managed /etc/motd", "file.managed /root/secret.env",
                             "cmd.run sh -c 'echo out; echo wrong >&2; exit 3'", "pkg.installed less"}));
  EXPECT_EQ(lines.find("SECRET"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("+hello"), std::string::npos) << lines;
  EXPECT_NE(lines.find("[ERROR   ] stderr: wrong"), std::string::npos) << lines;
  EXPECT_NE(lines.find("Completed state [less]"), std::string::npos) << lines;
}

TEST(Salt, ADiffLoggedAsAnErrorIsDroppedToo) {
  std::string lines;
  SaltLog log([](std::string_view) {}, [&](std::string_view line) { lines += std::string(line) + "\n"; });
  log.add("[ERROR   ] File changed:\n-OLD-SECRET\n[ERROR   ] Traceback\nsecond line\n[WARNING ] x\n");
  log.finish();
  EXPECT_EQ(lines, "[ERROR   ] Traceback\nsecond line\n[WARNING ] x\n");
}

TEST(Salt, CriticalLinesAreKeptForTheErrorWithoutTracebacks) {
  SaltLog log([](std::string_view) {}, [](std::string_view) {});
  log.add("[ERROR   ] Rendering exception occurred\nTraceback (most recent call last):\n");
  log.add(
      "[CRITICAL] Rendering SLS 'bad' failed, render error:\nJinja syntax error; line 1\nTraceback (most "
      "recent call last):\n");
  log.add("  File \"x\"\n[INFO    ] on\n");
  log.finish();
  EXPECT_EQ(log.errors(),
            (Strings{"[CRITICAL] Rendering SLS 'bad' failed, render error:", "Jinja syntax error; line 1"}));
}

TEST(Salt, TheMinionNeedsNoMaster) {
  const std::string text = minion_config("appliance", "/srv/salt", "/srv/pillar");
  EXPECT_NE(text.find("file_client: local\n"), std::string::npos);
  EXPECT_NE(text.find("id: appliance\n"), std::string::npos);
  EXPECT_NE(text.find("    - /srv/pillar\n"), std::string::npos);
  EXPECT_NE(text.find("\nlazy_loader_strict_matching: true\n"), std::string::npos);
}

}  // namespace
}  // namespace kiln::target
