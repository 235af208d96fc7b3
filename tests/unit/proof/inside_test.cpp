#include "proof/inside.hpp"

#include <algorithm>
#include <filesystem>
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::proof {
namespace {

namespace fs = std::filesystem;
using Answers = std::map<std::string, std::vector<std::string>>;

const CheckResult& named(const std::vector<CheckResult>& checks, const std::string& name) {
  static const CheckResult none;
  const auto at = std::find_if(checks.begin(), checks.end(),
                               [&](const CheckResult& check) { return check.name == name; });
  EXPECT_NE(at, checks.end()) << name;
  return at == checks.end() ? none : *at;
}

// The script runs in this machine's shell, with a systemctl and a cloud-init that say what the test wants.
class InsideScriptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(folder.path() / "bin");
    tool("systemctl", R"(case "$*" in
  is-system-running) echo degraded ;;
  list-jobs*) echo "No jobs running." ;;
  list-units*) echo "broken.service loaded failed failed Breaks"; echo "flaky.service loaded failed failed Flakes" ;;
  *"-- good.service") printf 'LoadState=loaded\nActiveState=active\nSubState=running\nResult=success\n' ;;
  *"-- it's.service") printf 'LoadState=not-found\nActiveState=inactive\nSubState=dead\n' ;;
  *) printf 'LoadState=loaded\nActiveState=failed\nSubState=failed\nResult=exit-code\n' ;;
esac
)");
    tool("cloud-init", "echo .....; echo 'status: done'\n");
  }
  void tool(const std::string& name, const std::string& text) {
    host::write_file(folder.path() / "bin" / name, "#!/bin/sh\n" + text, 0755);
  }
  std::vector<CheckResult> run() {
    std::string script = inside_script(proof, 5);
    const std::string path = "PATH=/usr";
    script.replace(script.find(path), path.size(), "PATH=" + (folder.path() / "bin").string() + ":/usr");
    host::Command shell{"sh", "-c", "script=$(cat); eval \"$script\""};
    shell.input = script;
    const auto finished = host::Host::system().runner->run(shell);
    output = finished.out;
    EXPECT_EQ(finished.err, "");
    answers = read_answers("noise\n" + finished.out + "kiln-answer\nkiln-answers x =eA==\n");
    EXPECT_EQ(answers.count("end"), 1U);
    return judge(proof, answers, "missing");
  }

  host::TempDir folder;
  profile::Proof proof;
  std::string output;
  Answers answers;
};

TEST_F(InsideScriptTest, TellsUnitsAndFailures) {
  proof.units = {"good.service", "it's.service", "bad.service"};
  proof.may_fail = {"flaky.service"};
  auto checks = run();
  EXPECT_TRUE(named(checks, "good.service").passed);
  EXPECT_EQ(named(checks, "good.service").detail, "active (running)");
  EXPECT_FALSE(named(checks, "it's.service").passed);
  EXPECT_EQ(named(checks, "it's.service").detail, "there is no such unit");
  EXPECT_EQ(named(checks, "bad.service").detail, "failed (failed), exit-code");
  EXPECT_FALSE(named(checks, "no failed unit").passed);
  EXPECT_EQ(named(checks, "no failed unit").detail,
            "failed: broken.service; failed, as the profile allows: flaky.service");
  EXPECT_TRUE(named(checks, "cloud-init has finished").passed);
  EXPECT_TRUE(named(checks, "system has settled").passed);
  proof.may_fail.emplace_back("broken.service");
  EXPECT_TRUE(named(run(), "no failed unit").passed);
}

TEST_F(InsideScriptTest, SaysWhenCloudInitFailed) {
  tool("cloud-init", "echo 'status: error'; exit 1\n");
  EXPECT_FALSE(named(run(), "cloud-init has finished").passed);
}

TEST_F(InsideScriptTest, LooksAtFiles) {
  const std::string root = folder.path().string() + "/it's $HOME \"here\"";
  fs::create_directories(root);
  host::write_file(root + "/file", "one\nsecret=42\n", 0640);
  fs::create_symlink("file", root + "/link");
  fs::create_symlink("nowhere", root + "/dangling");
  struct Case {
    profile::FileCheck check;
    bool passed;
    std::string part;
  };
  const std::vector<Case> cases = {
      {{root + "/file", "file", "", "0640", "", "^secret=[0-9]+$", {}}, true, "regular file, mode 640"},
      {{root + "/file", "file", "", "640", "nobody", "", {}}, false, "expected owner nobody"},
      {{root + "/file", "file", "", "", "", "^nothing$", {}}, false, "'^nothing$' is not in it"},
      {{root + "/file", "directory", "", "", "", "", {}}, false, "expected a directory"},
      {{root + "/file", "link", "", "", "", "", {}}, false, "expected a link"},
      {{root + "/file", "absent", "", "", "", "", {}}, false, "expected nothing there"},
      {{root, "directory", "", "", "", "", {}}, true, "directory"},
      {{root + "/link", "link", "file", "", "", "", {}}, true, "a link to file"},
      {{root + "/link", "link", "other", "", "", "", {}}, false, "expected a link to other"},
      {{root + "/link", "file", "", "0640", "", "secret", {}}, true, "a link to file, mode 640"},
      {{root + "/dangling", "link", "nowhere", "", "", "", {}}, true, "a link to nowhere"},
      {{root + "/dangling", "file", "", "", "", "", {}}, false, "it leads nowhere"},
      {{root + "/none", "absent", "", "", "", "", {}}, true, "absent"},
      {{root + "/none", "file", "", "", "", "", {}}, false, "absent"},
  };
  for (const auto& one : cases) proof.files.push_back(one.check);
  const auto checks = run();
  std::vector<CheckResult> files;
  for (const auto& check : checks) {
    if (check.kind == "file") files.push_back(check);
  }
  ASSERT_EQ(files.size(), cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    EXPECT_EQ(files[i].passed, cases[i].passed) << i << ": " << files[i].detail;
    EXPECT_NE(files[i].detail.find(cases[i].part), std::string::npos) << i << ": " << files[i].detail;
  }
}

TEST_F(InsideScriptTest, RunsCommandsAsTheyAreWritten) {
  proof.commands = {
      {{"printf", "%s|", "", "a  b", "$(id)", "it's", "\n"}, 0, "^\\|a  b\\|\\$\\(id\\)\\|it's\\|", {}},
      {{"cat"}, 0, "^$", {}},
      {{"sh", "-c", "echo words; echo why >&2; exit 4"}, 0, "", {}},
      {{"sh", "-c", "exit 4"}, 4, "", {}},
      {{"echo", "kiln-answer end"}, 0, "other", {}}};
  const auto checks = run();
  std::vector<CheckResult> commands;
  for (const auto& check : checks) {
    if (check.kind == "command") commands.push_back(check);
  }
  ASSERT_EQ(commands.size(), 5U);
  EXPECT_TRUE(commands[0].passed) << commands[0].detail;
  EXPECT_TRUE(commands[1].passed) << commands[1].detail;
  EXPECT_EQ(commands[2].detail, "exit status 4; expected 0; output: words; errors: why");
  EXPECT_TRUE(commands[3].passed);
  EXPECT_EQ(commands[4].detail, "exit status 0; 'other' is not in its output; output: kiln-answer end");
}

TEST(InsideTest, CountsNothingThatDidNotAnswer) {
  profile::Proof proof;
  proof.units = {"nginx.service"};
  proof.commands = {{{"true"}, 0, "", {}}};
  // A command whose answer was cut off.
  for (const auto& check : judge(proof, read_answers("kiln-answer command-0 =MA==\n"), "cut off")) {
    EXPECT_FALSE(check.passed) << check.name;
    EXPECT_FALSE(check.ran) << check.name;
    EXPECT_EQ(check.detail, "cut off");
  }
}

TEST(InsideTest, SeesWhetherTheRootHasGrown) {
  const auto grown = [](const std::string& disk, const std::string& ends, const std::string& part,
                        const std::string& system) {
    const Answers answers = {
        {"cloud-init", {"0", "status: done"}}, {"growth", {disk, ends, part, system}}, {"end", {}}};
    return named(judge({}, answers, ""), "root file system has grown");
  };
  // 4 GiB disk in sectors of 512; a file system of blocks of 4 KiB.
  EXPECT_TRUE(grown("8388608", "8388574", "8126464", "970000 4096").passed);
  const auto partition = grown("8388608", "6291422", "6029312", "720000 4096");
  EXPECT_FALSE(partition.passed);
  EXPECT_NE(partition.detail.find("the last 1 GiB of the disk are unused"), std::string::npos)
      << partition.detail;
  EXPECT_FALSE(grown("8388608", "8388574", "8126464", "720000 4096").passed);
  EXPECT_FALSE(grown("", "", "", "").passed);
}

TEST(InsideTest, ReadsBase64) {
  const auto answers = read_answers("kiln-answer a =YQ== =YWI= =YWJj = =//79\r\nkiln-answer b\n");
  EXPECT_EQ(answers.at("a"), (std::vector<std::string>{"a", "ab", "abc", "", "\xff\xfe\xfd"}));
  EXPECT_TRUE(answers.at("b").empty());
}

}  // namespace
}  // namespace kiln::proof
