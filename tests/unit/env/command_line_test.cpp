#include "env/command_line.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/digest.hpp"
#include "env/qr.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "paper.hpp"

namespace kiln::env {
namespace {

using testing::HasSubstr;

struct Said {
  int status = -1;
  std::string out;
  std::string err;
};

class CommandLineTest : public testing::Test {
 protected:
  Said run(const std::vector<std::string>& words) {
    std::vector<const char*> argv = {program_.c_str()};
    for (const std::string& word : words) argv.push_back(word.c_str());
    std::ostringstream out;
    std::ostringstream err;
    const int status = main(static_cast<int>(argv.size()), argv.data(), world_.host(), out, err);
    return {status, out.str(), err.str()};
  }
  std::string write(const std::string& name, const std::string& text) {
    return tree_.file(name, text).string();
  }
  std::string program_ = "kiln-env";
  fakes::World world_;
  fakes::TempTree tree_;
};

TEST_F(CommandLineTest, FlattenPrintsTheKeysOfAFile) {
  const std::string file = write("e.yml", "ecs: {a: 1}\nappliance: {b: x y}\n");
  const Said said = run({"flatten", "ecs,appliance", file});
  EXPECT_EQ(said.status, 0);
  EXPECT_EQ(said.out, "ECS_A=1\nAPPLIANCE_B='x y'\n");
  EXPECT_EQ(said.err, "");
  EXPECT_EQ(run({"flatten", "--prefix", "export ", "--postfix", ";", "--file", file, "ecs"}).out,
            "export ECS_A=1;\n");
}

TEST_F(CommandLineTest, FlattenPrintsTheOthersAndFailsWhenAKeyIsMissing) {
  const Said said = run({"flatten", "no,ecs", write("e.yml", "ecs: {a: 1}\n")});
  EXPECT_EQ(said.status, 1);
  EXPECT_EQ(said.out, "ECS_A=1\n");
  EXPECT_THAT(said.err, HasSubstr("there is no key 'no'"));
}

TEST_F(CommandLineTest, FlattenPrintsNothingOfABadFile) {
  for (const char* text :
       {"a: [1\n", "a: 1\na: 2\n", "[1, 2]\n", "a: \xff\n", "just text\n", "a: !!python/x y\n"}) {
    const Said said = run({"flatten", ".", write("e.yml", text)});
    EXPECT_EQ(said.status, 2) << text;
    EXPECT_EQ(said.out, "") << text;
    EXPECT_THAT(said.err, HasSubstr("e.yml:")) << text;
  }
  EXPECT_EQ(run({"flatten", ".", (tree_ / "none.yml").string()}).status, 2);
  EXPECT_EQ(run({"flatten", ".", tree_.path().string()}).status, 2);
}

TEST_F(CommandLineTest, FlattenRefusesWhatCanBeNoName) {
  EXPECT_THAT(run({"flatten", "--combine", ".", ".", write("e.yml", "a: 1\n")}).err,
              HasSubstr("--combine: '.' can be no part of a name"));
  EXPECT_EQ(run({"flatten", ".", "a", "--file", "b"}).status, 2);
}

TEST_F(CommandLineTest, ByTheNameOfFlatyamlItIsFlatten) {
  const std::string file = write("e.yml", "a: 1\n");
  for (const char* name : {"/usr/local/bin/flatyaml", "flatyaml.py"}) {
    program_ = name;
    EXPECT_EQ(run({".", file}).out, "A=1\n");
    EXPECT_THAT(run({"--help"}).out, HasSubstr("Usage: flatyaml [OPTIONS] KEYS [FILE]"));
  }
}

TEST_F(CommandLineTest, CheckTellsAllMistakesAndSaysOkOfNone) {
  const std::string good = write("good.yml", "#cloud-config\nappliance: {domain: x.org}\n");
  EXPECT_EQ(run({"check", good}).out, good + ": ok\n");
  EXPECT_EQ(nlohmann::json::parse(run({"check", "--json", good}).out)["ok"], true);
  const std::string bad = write("bad.yml", "#cloud-config\nappliance: {domain: x_y, standby: 1}\n");
  const Said said = run({"check", bad});
  EXPECT_EQ(said.status, 2);
  EXPECT_EQ(said.out, "");
  EXPECT_THAT(said.err, HasSubstr("error: " + bad + ":2:21: appliance.domain: 'x_y' is no domain"));
  EXPECT_THAT(said.err, HasSubstr("error: " + bad + ":2:35: appliance.standby: expected true or false"));
  const auto json = nlohmann::json::parse(run({"check", "--json", bad}).out);
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["errors"][1]["where"], bad + ":2:35");
  EXPECT_EQ(run({"check"}).status, 2);
}

TEST_F(CommandLineTest, CreatePrintsTheRecordsAndMakesAFileThatChecks) {
  const std::string file = (tree_ / "env.yml").string();
  const Said said = run({"create", "ecs.example.org", file});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(said.err, "");
  EXPECT_THAT(said.out, HasSubstr("default._domainkey.ecs.example.org.  IN  TXT  \"v=DKIM1; k=rsa; p="));
  EXPECT_EQ(run({"check", file}).status, 0);
  EXPECT_EQ(run({"create", "ecs.example.org", file}).status, 1);
  EXPECT_EQ(nlohmann::json::parse(run({"create", "--json", "--force", "x.org", file}).out)["records"].size(),
            6U);
  EXPECT_EQ(run({"create", "ecs.example.org"}).status, 2);
  EXPECT_THAT(run({"create", "--show-template"}).out, HasSubstr("#cloud-config\n"));
}

TEST_F(CommandLineTest, UpdateSaysWhereTheEnvironmentCameFrom) {
  world_.env["ENV_YML"] = write("env.yml", "#cloud-config\nappliance: {domain: a.org}\n");
  const std::string active = (tree_ / "active-env.yml").string();
  EXPECT_EQ(run({"update", "--active", active}).out, active + ": from " + world_.env["ENV_YML"] + "\n");
  EXPECT_EQ(nlohmann::json::parse(run({"update", "--json", "--active", active}).out)["source"],
            world_.env["ENV_YML"]);
  write("env.yml", "[]\n");
  const Said said = run({"update", "--active", active});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("env.yml:1:1: the file is no mapping"));
  EXPECT_EQ(run({"flatten", "appliance", active}).out, "APPLIANCE_DOMAIN=a.org\n");
}

TEST_F(CommandLineTest, RecoverWritesForTheOwnerAloneAndKeepsWhatIsThere) {
  const std::string text = "#cloud-config\nappliance: {domain: a.org}\n";
  const std::string scan = write("scan.png", as_png(drawn(symbol(codes_of(text).at(0)), 4)));
  const std::string target = (tree_ / "env.yml").string();
  const Said said = run({"recover", "-o", target, scan});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_THAT(said.out, HasSubstr("env.yml: recovered, SHA-256 "));
  EXPECT_EQ(host::read_file(target), text);
  struct stat status{};
  ASSERT_EQ(::stat(target.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  write("env.yml", "mine\n");
  const Said again = run({"recover", "-o", target, scan});
  EXPECT_EQ(again.status, 1);
  EXPECT_THAT(again.err, testing::AllOf(HasSubstr("env.yml: is there already"), HasSubstr("--force")));
  EXPECT_EQ(host::read_file(target), "mine\n");
  EXPECT_EQ(run({"recover", "--force", "-o", target, scan}).status, 0);
  EXPECT_EQ(host::read_file(target), text);
}

TEST_F(CommandLineTest, RecoverTellsWhatItWroteAsJsonOrWritesToStandardOutput) {
  const std::string text = "#cloud-config\nappliance: {domain: a.org}\n";
  const std::string scan = write("scan.png", as_png(drawn(symbol(codes_of(text).at(0)), 4)));
  const std::string target = (tree_ / "env.yml").string();
  const Said said = run({"recover", "--json", "-o", target, scan});
  EXPECT_EQ(said.status, 0) << said.err;
  EXPECT_EQ(nlohmann::json::parse(said.out),
            nlohmann::json({{"ok", true}, {"file", target}, {"sha256", base::sha256(text)}}));
  EXPECT_EQ(run({"recover", "-o", "-", scan}).out, text);
  EXPECT_EQ(run({"recover", "--json", "-o", "-", scan}).status, 2);
}

TEST_F(CommandLineTest, RecoverSaysWhichToolIsMissingAndWritesNothing) {
  const Said said = run({"recover", "-o", (tree_ / "env.yml").string(), write("e.pdf", "%PDF-1.4\n")});
  EXPECT_EQ(said.status, 3);
  EXPECT_THAT(said.err, testing::AllOf(HasSubstr("pdftoppm is missing"), HasSubstr("poppler-utils")));
  EXPECT_FALSE(std::filesystem::exists(tree_ / "env.yml"));
}

TEST_F(CommandLineTest, WhatItDoesNotKnowGetsAGuess) {
  EXPECT_THAT(run({"flaten"}).err, HasSubstr("unknown verb 'flaten', did you mean 'flatten'?"));
  EXPECT_THAT(run({"flatten", "--prefx=a", "."}).err,
              HasSubstr("unknown option '--prefx', did you mean '--prefix'?"));
  EXPECT_THAT(run({"flatten", ".", "a", "b"}).err, HasSubstr("'b' is one word too many"));
  EXPECT_EQ(run({}).status, 2);
  EXPECT_EQ(run({"--nonsense"}).status, 2);
}

TEST_F(CommandLineTest, ACrashLeavesNoCoreFile) {
  run({"--help"});
  rlimit now{};
  ASSERT_EQ(::getrlimit(RLIMIT_CORE, &now), 0);
  EXPECT_EQ(now.rlim_max, 0U);
}

TEST_F(CommandLineTest, EveryVerbHasHelpWithAnExample) {
  const std::string top = run({"--help"}).out;
  EXPECT_THAT(top, HasSubstr("Example:\n  kiln-env "));
  EXPECT_EQ(run({"help"}).out, top);
  EXPECT_THAT(run({"--version"}).out, testing::MatchesRegex("kiln-env [0-9.]+\n"));
  for (const char* verb : {"flatten", "create", "check", "update", "package", "recover"}) {
    EXPECT_THAT(top, HasSubstr(std::string("\n  ") + verb + " "));
    const Said said = run({verb, "--help"});
    EXPECT_EQ(said.status, 0);
    EXPECT_THAT(said.out, HasSubstr(std::string("Example:\n  kiln-env ") + verb));
    EXPECT_EQ(run({"help", verb}).out, said.out);
  }
}

}  // namespace
}  // namespace kiln::env
