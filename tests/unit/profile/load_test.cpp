#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/temp_dir.hpp"
#include "profile/profile.hpp"

namespace kiln::profile {
namespace {

using testing::ElementsAre;
using testing::EndsWith;
using testing::HasSubstr;
using testing::IsEmpty;

class LoadTest : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& name, const std::string& text) {
    const std::filesystem::path file = dir_.path() / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file;
  }
  Profile load_text(const std::string& text) { return load(write("p.yml", text), errors_); }
  // Messages without the folder of this test.
  std::vector<std::string> said() {
    std::vector<std::string> result;
    const std::string folder = dir_.path().string() + "/";
    for (const base::Error& error : errors_) {
      std::string text = error.what();
      for (auto at = text.find(folder); at != std::string::npos; at = text.find(folder))
        text.erase(at, folder.size());
      result.push_back(text);
    }
    return result;
  }
  static std::vector<std::string> ids(const Profile& profile) {
    std::vector<std::string> result;
    result.reserve(profile.steps.size());
    for (const Step& step : profile.steps) result.push_back(step.id);
    return result;
  }

  host::TempDir dir_;
  std::vector<base::Error> errors_;
};

TEST_F(LoadTest, FreshIsDaysOrPinned) {
  EXPECT_EQ(load_text("steps: [{seal: }]\n").fresh, 7);
  EXPECT_EQ(load_text("fresh: 0\nsteps: [{seal: }]\n").fresh, 0);
  EXPECT_EQ(load_text("fresh: pinned\nsteps: [{seal: }]\n").fresh, std::nullopt);
  EXPECT_THAT(said(), testing::IsEmpty());
  load_text("fresh: -1\nsteps: [{seal: }]\n");
  EXPECT_THAT(said(),
              ElementsAre(HasSubstr(
                  "p.yml:1:8: fresh: expected 'pinned' or a number of days from 0 to 36500; 7 when")));
}

TEST_F(LoadTest, ReadsEveryKey) {
  const Profile profile = load_text(R"(
name: one
description: what it is
guest: {memory: 1G, cpus: 3}
steps:
  - base_debian:
      suite: bookworm
  - seal:
proof:
  firmware: [bios, uefi]
  memory: 3G
  cpus: 1
  units: [ssh.service]
  may_fail: [lvm2-monitor.service]
  ports:
    - {port: 443, protocol: https, path: /x, status: 503, body: "soon"}
  files:
    - {path: /etc/motd, mode: 0644, owner: root, content: hello}
    - {path: /app, kind: link, target: /data/app}
  commands:
    - {run: [id, app], status: 0, output: "uid=1000"}
)");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(profile.name, "one");
  EXPECT_EQ(profile.description, "what it is");
  EXPECT_EQ(profile.guest.memory, 1ULL << 30);
  EXPECT_EQ(profile.guest.cpus, 3);
  EXPECT_THAT(ids(profile), ElementsAre("base_debian", "seal"));
  EXPECT_EQ(profile.steps[0].options.find("suite")->scalar(), "bookworm");
  EXPECT_EQ(profile.steps[0].where.line, 6);
  EXPECT_THAT(profile.proof.firmware, ElementsAre(Firmware::bios, Firmware::uefi));
  EXPECT_EQ(profile.proof.memory, 3ULL << 30);
  EXPECT_EQ(profile.proof.cpus, 1);
  EXPECT_THAT(profile.proof.units, ElementsAre("ssh.service"));
  EXPECT_THAT(profile.proof.may_fail, ElementsAre("lvm2-monitor.service"));
  ASSERT_EQ(profile.proof.ports.size(), 1U);
  EXPECT_EQ(profile.proof.ports[0].port, 443);
  EXPECT_EQ(profile.proof.ports[0].status, 503);
  EXPECT_EQ(profile.proof.ports[0].body, "soon");
  ASSERT_EQ(profile.proof.files.size(), 2U);
  EXPECT_EQ(profile.proof.files[0].mode, "0644");
  EXPECT_EQ(profile.proof.files[1].target, "/data/app");
  ASSERT_EQ(profile.proof.commands.size(), 1U);
  EXPECT_THAT(profile.proof.commands[0].run, ElementsAre("id", "app"));
}

TEST_F(LoadTest, NameIsTheFilesUnlessTheProfileSaysOne) {
  EXPECT_EQ(load(write("ecs-test.yml", "steps: [{seal: }]\n"), errors_).name, "ecs-test");
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(LoadTest, StepsGetTheirStagesNameAndNumbersFromTwo) {
  const Profile profile = load_text(
      "steps:\n  - packages:\n  - packages:\n  - {id: packages-3, packages: }\n"
      "  - packages:\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_THAT(ids(profile), ElementsAre("packages", "packages-2", "packages-3", "packages-4"));
}

TEST_F(LoadTest, IdsAreUniqueAndPlain) {
  load_text("steps:\n  - {id: a, seal: }\n  - {id: a, seal: }\n  - {id: B c, seal: }\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:3:10: id: 'a' is there twice, first in line 2",
                                  HasSubstr("p.yml:4:10: id: 'B c' is no id")));
}

TEST_F(LoadTest, AStepHasExactlyOneStage) {
  load_text("steps:\n  - {seal: , packages: }\n  - {id: x}\n  - seal\n  - seal: yes\n");
  EXPECT_THAT(said(),
              ElementsAre(HasSubstr("p.yml:2:14: a step has one stage, but here are 'seal' and 'packages'"),
                          HasSubstr("p.yml:3:5: a step names its stage"),
                          HasSubstr("p.yml:4:5: a step is a mapping; write '- STAGE:'"),
                          HasSubstr("p.yml:5:11: seal: expected a mapping of options")));
}

TEST_F(LoadTest, AllMistakesAreFoundAtOnce) {
  load_text("nmae: x\nguest: {memory: lots, cpu: 2}\nsteps: []\nproof: {units: ssh}\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:2:17: guest.memory: expected a size such as 10G, got 'lots'",
                                  "p.yml:2:23: guest: unknown key 'cpu', did you mean 'cpus'?",
                                  HasSubstr("p.yml:3:8: steps: is empty"),
                                  "p.yml:4:16: proof.units: expected a list of texts, got 'ssh'",
                                  "p.yml:1:1: unknown key 'nmae', did you mean 'name'?"));
}

TEST_F(LoadTest, GuestsHaveSensibleBounds) {
  load_text("guest: {memory: 1M, cpus: 0}\nsteps: [{seal: }]\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("guest.memory: expected 256 MiB to"),
                                  HasSubstr("guest.cpus: expected a number from 1 to 64")));
}

TEST_F(LoadTest, ProofEntriesAreChecked) {
  load_text(R"(steps: [{seal: }]
proof:
  ports:
    - {port: 0, protocol: http}
    - {port: 22, protocol: shh}
    - {port: 22, protocol: ssh, path: /}
    - {protocol: http}
    - {port: 80, protocol: http, body: "("}
  files:
    - {path: etc/motd}
    - {path: /a, kind: absent, mode: 0644}
    - {path: /a, mode: rw}
  commands:
    - {run: systemctl}
    - {run: []}
)");
  EXPECT_THAT(said(),
              ElementsAre(HasSubstr("proof.ports.port: expected a number from 1 to 65535"),
                          HasSubstr("proof.ports.protocol: unknown 'shh', did you mean 'ssh'?"),
                          HasSubstr("proof.ports: 'path' means something with http and https only"),
                          HasSubstr("proof.ports: needs 'port'"),
                          HasSubstr("proof.ports.body: '(' is no regular expression"),
                          HasSubstr("proof.files.path: has to begin with '/'"),
                          HasSubstr("proof.files: 'mode' means something with kind: file or directory only"),
                          HasSubstr("expected an octal mode such as 0644, got 'rw'"),
                          HasSubstr("proof.commands.run: expected a list of words"),
                          HasSubstr("proof.commands.run: is empty")));
}

// ---- extends

constexpr const char* kParent = R"(
description: parent
guest: {memory: 1G, cpus: 3}
steps:
  - {id: base, base_debian: {suite: bookworm}}
  - packages: {names: [a]}
  - seal:
  - export_qcow2:
proof:
  firmware: [bios, uefi]
  cpus: 1
  units: [ssh.service]
  ports:
    - {port: 80, protocol: http}
    - {port: 22, protocol: ssh}
)";

TEST_F(LoadTest, TheExtendingFileWinsKeyByKeyAndProofListsGrow) {
  write("parent.yml", kParent);
  const Profile profile = load_text(R"(
extends: parent.yml
guest: {cpus: 4}
proof:
  firmware: [bios]
  units: [nginx.service, ssh.service]
  ports:
    - {port: 80, protocol: http, status: 503}
)");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(profile.name, "p");
  EXPECT_EQ(profile.description, "parent");
  EXPECT_EQ(profile.guest.memory, 1ULL << 30);
  EXPECT_EQ(profile.guest.cpus, 4);
  EXPECT_THAT(ids(profile), ElementsAre("base", "packages", "seal", "export_qcow2"));
  EXPECT_THAT(profile.proof.firmware, ElementsAre(Firmware::bios));
  EXPECT_EQ(profile.proof.cpus, 1);
  EXPECT_THAT(profile.proof.units, ElementsAre("ssh.service", "nginx.service"));
  ASSERT_EQ(profile.proof.ports.size(), 2U);
  EXPECT_EQ(profile.proof.ports[0].port, 22);
  EXPECT_EQ(profile.proof.ports[1].status, 503);
}

TEST_F(LoadTest, StepsAreReplacedAddedAfterAppendedAndRemoved) {
  write("parent.yml", kParent);
  const Profile profile = load_text(R"(
extends: parent.yml
steps:
  - {id: base, base_image: {url: x}}
  - {after: packages, overlay: {tree: a}}
  - {after: packages, overlay: {tree: b}}
  - packages:
  - remove: export_qcow2
)");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_THAT(ids(profile), ElementsAre("base", "packages", "overlay", "overlay-2", "seal", "packages-2"));
  EXPECT_EQ(profile.steps[0].stage, "base_image");
  EXPECT_FALSE(profile.steps[2].appended);
  EXPECT_TRUE(profile.steps[5].appended);
}

TEST_F(LoadTest, UnknownIdsInAfterAndRemoveGetAGuess) {
  write("parent.yml", kParent);
  load_text("extends: parent.yml\nsteps:\n  - remove: packges\n  - {after: nowhere, overlay: }\n");
  EXPECT_THAT(said(),
              ElementsAre("p.yml:3:13: remove: no step has the id 'packges', did you mean 'packages'?",
                          HasSubstr("p.yml:4:13: after: no step has the id 'nowhere'; known are")));
}

TEST_F(LoadTest, AStepThatReplacesStaysInItsPlace) {
  write("parent.yml", kParent);
  load_text("extends: parent.yml\nsteps:\n  - {id: base, after: seal, base_image: }\n");
  EXPECT_THAT(said(),
              ElementsAre(HasSubstr("p.yml:3:23: after: a step that replaces 'base' takes its place")));
}

TEST_F(LoadTest, RemoveNeedsAnExtendedProfile) {
  load_text("steps:\n  - seal:\n  - remove: seal\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("remove: this profile extends no other")));
}

TEST_F(LoadTest, ValuesRememberTheFileThatWroteThem) {
  write("common/parent.yml", kParent);
  const Profile profile =
      load_text("extends: common/parent.yml\nsteps:\n  - {after: base, overlay: {tree: t}}\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_THAT(profile.steps[0].options.file(), EndsWith("common/parent.yml"));
  EXPECT_THAT(profile.steps[1].options.file(), EndsWith("/p.yml"));
}

TEST_F(LoadTest, AChainThatComesBackIsAnErrorWhereItCloses) {
  write("a.yml", "extends: b.yml\n");
  write("b.yml", "extends: a.yml\n");
  load(dir_.path() / "a.yml", errors_);
  EXPECT_THAT(said(), ElementsAre("b.yml:1:10: extends: 'a.yml' extends itself in the end"));
}

TEST_F(LoadTest, AMissingParentIsToldWhereItIsNamed) {
  load_text("extends: nowhere.yml\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("p.yml:1:10: extends: no file at 'nowhere.yml'")));
}

TEST_F(LoadTest, MistakesOfAParentAreToldInTheParent) {
  write("parent.yml", "steps:\n  - {id: A, seal: }\n");
  load_text("extends: parent.yml\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("parent.yml:2:10: id: 'A' is no id")));
}

// ---- names

TEST_F(LoadTest, APathIsTakenAsItIs) {
  EXPECT_EQ(find_profile("some/dev.yml", {}), "some/dev.yml");
  EXPECT_EQ(find_profile("dev.yml", {}), "dev.yml");
  EXPECT_EQ(find_profile("./dev", {}), "./dev");
}

TEST_F(LoadTest, ANameIsFoundBelowTheSharedFolderOrGuessed) {
  write("profiles/appliance.yml", "steps: [{seal: }]\n");
  EXPECT_EQ(find_profile("appliance", dir_.path()), dir_.path() / "profiles" / "appliance.yml");
  try {
    find_profile("aplliance", dir_.path());
    FAIL() << "found what is not there";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no profile 'aplliance', did you mean 'appliance'?"));
    EXPECT_EQ(error.exit(), base::Exit::usage);
  }
}

}  // namespace
}  // namespace kiln::profile
