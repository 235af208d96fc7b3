#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "stage/key_writer.hpp"
#include "target/salt.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType salt_highstate;
}

namespace kiln::tests {
namespace {

class SaltHighstateTest : public ::testing::Test {
 protected:
  SaltHighstateTest() {
    tree.file("salt/top.sls", "base: {'*': [common]}\n");
    tree.file("salt/common/init.sls", "x: {test.nop: []}\n");
    tree.file("salt/run.sh", "#!/bin/sh\n", 0755);
    tree.file("pillar/top.sls", "{}\n");
    work.fake_guest.on({"head"}, fakes::printed("#!/opt/salt/bin/python3\n"));
    work.fake_guest.on({"tar"}, [this](const image::Exec& exec) {
      std::filesystem::copy_file(exec.input_file, tree / "carried.tar",
                                 std::filesystem::copy_options::overwrite_existing);
      return fakes::printed("");
    });
    answer(R"({"local": {"test_|-x_|-x_|-nop": {"result": true, "comment": "", "name": "x", "__id__": "x",
        "__sls__": "common", "__run_num__": 0, "duration": 1.0, "changes": {}}}})");
  }
  // What salt-call says: a result, an exit status, a log.
  void answer(const std::string& output, int exit = 0, const std::string& log = {}) {
    host::Finished finished = exit == 0 ? fakes::printed(output) : fakes::failed(exit);
    finished.out = output;
    finished.err = log;
    work.fake_guest.on({"/opt/salt/bin/python3", "-c"}, finished);
  }
  static std::string recorded(const std::string& name) {
    return host::read_file(std::string(KILN_TESTS_DIR "/unit/target/salt/") + name);
  }
  std::string run(const std::string& more = ", pillar: pillar") {
    return error_of(
        [&] { make_stage(stages::salt_highstate, "{tree: salt" + more + "}", tree.path())->run(work); });
  }

  [[nodiscard]] const image::Exec& imports() const {
    const auto found =
        std::find_if(work.fake_guest.commands.begin(), work.fake_guest.commands.end(),
                     [](const image::Exec& exec) { return exec.argv.size() == 3 && exec.argv[1] == "-c"; });
    return *found;
  }

  fakes::TempTree tree;
  FakeWorkspace work;
};

TEST_F(SaltHighstateTest, CarriesTheTreesInAndConfiguresTheMinion) {
  EXPECT_EQ(run(", pillar: pillar, into: /app/appliance, minion_id: ecs"), "no error");
  EXPECT_TRUE(work.fake_guest.ran("rm -rf -- /app/appliance/salt /app/appliance/pillar"));
  std::map<std::string, unsigned> members;
  host::read_archive(tree / "carried.tar",
                     [&](const host::Member& member, const auto&) { members[member.path] = member.mode; });
  EXPECT_EQ(members.at("salt/common/init.sls"), 0644U);
  EXPECT_EQ(members.at("salt/run.sh"), 0755U);
  EXPECT_EQ(members.count("pillar/top.sls"), 1U);
  const auto written = std::find_if(
      work.fake_guest.commands.begin(), work.fake_guest.commands.end(),
      [](const image::Exec& exec) { return exec.argv.back() == "/etc/salt/minion.d/kiln.conf"; });
  ASSERT_NE(written, work.fake_guest.commands.end());
  EXPECT_NE(written->input.find("    - /app/appliance/salt\n"), std::string::npos);
  EXPECT_NE(written->input.find("id: ecs\n"), std::string::npos);
}

TEST_F(SaltHighstateTest, KeepsResultsAndSaysHowItWent) {
  EXPECT_EQ(run(""), "no error");
  EXPECT_EQ(nlohmann::json::parse(work.kept.at("salt.json"))["states"].size(), 1U);
  ASSERT_EQ(work.seen.notes.size(), 1U);
  EXPECT_EQ(work.seen.notes[0].find("1 states, 0 changed, 0 failed"), 0U);
  EXPECT_TRUE(work.seen.warnings.empty());
}

TEST_F(SaltHighstateTest, AFailedStateFailsTheBuildNamingItsLocalFile) {
  answer(recorded("failed.json"), 2, recorded("failed-log.txt"));
  work.fake_guest.on({"find", "-L"}, fakes::printed("/etc/motd\n"));
  const std::string error = run();
  EXPECT_EQ(error.find((tree / "salt/common/init.sls").string() + ": the state 'tree' (cmd.run) failed"), 0U)
      << error;
  EXPECT_EQ(nlohmann::json::parse(work.kept.at("salt.json"))["states"].size(), 5U);
}

TEST_F(SaltHighstateTest, DiffsOfPrivateFilesAreNotKept) {
  answer(recorded("failed.json"), 2, recorded("failed-log.txt"));
  work.fake_guest.on({"find", "-L"}, fakes::printed("/etc/motd\n"));
  run();
  EXPECT_TRUE(work.fake_guest.ran("find -L /etc/motd /root/secret.env -maxdepth 0 -perm /077 -print"));
  EXPECT_EQ(work.kept.at("salt.json").find("SECRET"), std::string::npos);
  EXPECT_NE(work.kept.at("salt.json").find("+hello"), std::string::npos);
}

TEST_F(SaltHighstateTest, AGuestThatIsKeptHasImportedSalt) {
  EXPECT_EQ(run(), "no error");
  EXPECT_EQ(imports().argv,
            (std::vector<std::string>{"/opt/salt/bin/python3", "-c", std::string(target::import_ahead())}));
}

// Both programs with a Salt that does nothing but tell its arguments.
TEST_F(SaltHighstateTest, WhatWasImportedRunsOneCommandAndGivesItsStatus) {
  const auto runner = host::system_runner();
  if (!runner->find_program("python3")) GTEST_SKIP() << "no python3 here to run the programs";
  for (const char* module : {"cli/__init__", "cli/call", "cli/caller", "__init__", "minion", "state"})
    tree.file(fmt::format("modules/salt/{}.py", module), "");
  tree.file("modules/salt/scripts.py",
            "import sys\ndef salt_call():\n    print(sys.argv)\n    sys.stderr.write('[INFO    ] {\"x\": "
            "\"SECRET\"}\\n[INFO    ] said\\n')\n    sys.exit(3)\n");
  // One command, for the runner leaves no process of a command behind.
  const std::string script = R"(python3 -c "$0" && {
    python3 -c "$1" salt-call --local 'a b'
    echo $?
    python3 -c "$1" salt-call 2>&1 | tail -n 1
  })";
  host::Command both{"sh", "-c", script, std::string(target::import_ahead()),
                     std::string(target::log_filter())};
  both.env["PYTHONPATH"] = (tree / "modules").string();
  both.env["PATH"] = "/usr/bin:/bin";
  const host::Finished done = runner->run(both);
  // The second command finds nobody: it is run as it stands.
  EXPECT_EQ(done.out,
            "['salt-call', '--local', 'a b']\n3\n"
            "FileNotFoundError: [Errno 2] No such file or directory: 'salt-call'\n");
  EXPECT_EQ(done.err, "[INFO    ] run by a Salt that was imported ahead\n[INFO    ] said\n");
}

TEST_F(SaltHighstateTest, ChangesOfStatesAreTakenOutOfTheLogInsideTheImage) {
  EXPECT_EQ(run(), "no error");
  const image::Exec& command =
      *std::find_if(work.fake_guest.commands.begin(), work.fake_guest.commands.end(),
                    [](const image::Exec& exec) { return exec.argv.size() > 3 && exec.argv[1] == "-c"; });
  const auto runner = host::system_runner();
  if (!runner->find_program("python3")) GTEST_SKIP() << "no python3 here to run the filter";
  const std::string log = (tree / "log").string();
  tree.file("log", recorded("failed-log.txt") + "[ERROR   ] {'stdout': 'SECRET'}\n");
  const host::Finished done = runner->run(host::Command{"python3", "-c", command.argv[2], "sh", "-c",
                                                        "cat \"$0\" >&2; echo result; exit 3", log});
  EXPECT_EQ(done.exit, 3);
  EXPECT_EQ(done.out, "result\n");
  EXPECT_EQ(done.err.find("SECRET"), std::string::npos) << done.err;
  EXPECT_EQ(done.err.find("+hello"), std::string::npos) << done.err;
  EXPECT_NE(done.err.find("Executing state file.managed for [/root/secret.env]"), std::string::npos);
  EXPECT_NE(done.err.find("[ERROR   ] stderr: wrong"), std::string::npos);
}

TEST_F(SaltHighstateTest, PackagesThatWereStillMissingAreNamed) {
  nlohmann::json output = nlohmann::json::parse(recorded("failed.json"));
  for (auto& [tag, state] : output["local"].items()) state["result"] = true;
  answer(output.dump());
  work.fake_guest.on({"find", "/var/lib/apt/lists"},
                     fakes::printed("0a1b  /var/lib/apt/lists/a_dists_b_InRelease\n"));
  work.fake_guest.on({"dpkg-query"}, fakes::printed("ii  nginx 1.22.1-9\nii  tree 2.1.0-1\n"));
  EXPECT_EQ(run(), "no error");
  EXPECT_EQ(work.seen.warnings,
            std::vector<std::string>{
                "the highstate installed tree; add it to the packages step, where it is faster"});
  EXPECT_EQ(work.resolutions, (std::vector<std::string>{"release 0a1b b_InRelease", "package tree 2.1.0-1"}));
}

TEST_F(SaltHighstateTest, RenderErrorsComeWithWhatSaltLogged) {
  answer(recorded("pillar.json"), 5,
         "[CRITICAL] Rendering SLS 'bad' failed, render error:\nJinja syntax error; line 1\n");
  const std::string error = run();
  EXPECT_NE(error.find("Salt could not render the states: Pillar failed to render"), std::string::npos)
      << error;
  EXPECT_NE(error.find("Jinja syntax error; line 1"), std::string::npos) << error;
}

TEST_F(SaltHighstateTest, SaltCallThatSaysNothingIsAnError) {
  answer("", 1, "[ERROR   ] disk full\n");
  const std::string error = run();
  EXPECT_NE(error.find("salt-call ended with exit status 1 and printed no result"), std::string::npos)
      << error;
  EXPECT_NE(error.find("disk full"), std::string::npos) << error;
}

TEST_F(SaltHighstateTest, AnImageWithoutSaltIsAnErrorWithTheWayOut) {
  work.fake_guest.on({"test", "-x"}, fakes::failed(1));
  EXPECT_NE(run().find("the image has no salt-call; add a salt_install step"), std::string::npos);
}

TEST_F(SaltHighstateTest, MistakesInTheTreesAreToldBeforeAnythingRuns) {
  const host::Host host = work.host();
  const auto described = [&] {
    stage::KeyWriter key(host);
    return error_of([&] {
      make_stage(stages::salt_highstate, "{tree: salt, pillar: pillar}", tree.path())->describe(key);
    });
  };
  EXPECT_EQ(described(), "no error");
  tree.file("pillar/key.sls",
            "key: |\n  -----BEGIN "
            "PRIVATE KEY-----\n  MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwgg\n");
  EXPECT_NE(described().find("/stage.yml:1:22: the pillar tree holds a private key"), std::string::npos);
  std::filesystem::remove(tree / "salt/top.sls");
  EXPECT_NE(described().find("has no top.sls"), std::string::npos);
  EXPECT_NE(run().find("has no top.sls"), std::string::npos);
  EXPECT_TRUE(work.fake_guest.commands.empty());
}

}  // namespace
}  // namespace kiln::tests
