#include "cli/app.hpp"

#include <csignal>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "base/digest.hpp"
#include "host/archive.hpp"
#include "host/temp_dir.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

const std::string kMinimal = std::string(KILN_SOURCE_DIR) + "/profiles/minimal.yml";
constexpr const char* kDisk = "QFI\xfb and no more";  // what begins as a qcow2 does

class AppTest : public testing::Test {
 protected:
  CommandLine kiln_;
};

TEST_F(AppTest, EveryVerbHasHelpWithAnExampleOfItself) {
  for (const std::string verb :
       {"check", "plan", "explain", "build", "boot", "shell", "cache", "stages", "doctor"}) {
    const Said said = kiln_.run({verb, "--help"});
    EXPECT_EQ(said.status, 0) << verb;
    EXPECT_THAT(said.out, HasSubstr("Example:\n  kiln " + verb)) << verb;
    EXPECT_THAT(said.out, HasSubstr("Usage: kiln " + verb)) << verb;
    EXPECT_EQ(said.err, "") << verb;
  }
}

TEST_F(AppTest, HelpNamesEveryVerbAndTheExitStatuses) {
  const Said said = kiln_.run({"--help"});
  EXPECT_EQ(said.status, 0);
  for (const char* verb : {"check", "plan", "explain", "build", "boot", "shell", "cache", "stages", "doctor"})
    EXPECT_THAT(said.out, HasSubstr(verb));
  EXPECT_THAT(said.out, HasSubstr("Exit status: 0 done"));
}

TEST_F(AppTest, HelpIsAWordToo) {
  EXPECT_EQ(kiln_.run({"help"}).out, kiln_.run({"--help"}).out);
  EXPECT_EQ(kiln_.run({"help", "build"}).out, kiln_.run({"build", "--help"}).out);
  EXPECT_EQ(
      kiln_.run({"help", "biuld"}).err,
      "error: unknown verb 'biuld', did you mean 'build'?; known are check, plan, explain, build, boot, "
      "shell, cache, stages, env, doctor\n");
}

TEST_F(AppTest, VersionGoesToStdout) {
  const Said said = kiln_.run({"--version"});
  EXPECT_EQ(said.status, 0);
  EXPECT_THAT(said.out, StartsWith("kiln 0."));
}

TEST_F(AppTest, NoVerbIsAMistakeOfUsage) {
  const Said said = kiln_.run({});
  EXPECT_EQ(said.status, 2);
  EXPECT_EQ(said.out, "");
  EXPECT_THAT(said.err, HasSubstr("error: no verb"));
}

TEST_F(AppTest, AnUnknownVerbGetsAGuess) {
  const Said said = kiln_.run({"biuld", "minimal"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("error: unknown verb 'biuld', did you mean 'build'?"));
}

TEST_F(AppTest, AnUnknownOptionIsToldBeforeWhatIsMissing) {
  EXPECT_EQ(kiln_.run({"build", "--ofline"}).err,
            "error: unknown option '--ofline', did you mean '--offline'?; see kiln build --help\n");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"build"}, {"build", "--"}, {"explain", "--", "minimal"}})
    EXPECT_THAT(kiln_.run(words).err, HasSubstr("required")) << words.back();
  EXPECT_THAT(kiln_.run({"doctor", "--", "-x"}).err, HasSubstr("'-x' is one word too many"));
}

TEST_F(AppTest, AnOptionIsNoValueOfTheOneBeforeIt) {
  Said said = kiln_.run({"build", "--store", "--no-boot", "minimal"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("error: --store: needs a value, got the option '--no-boot'"));
  said = kiln_.run({"build", "--store", "", "minimal"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("error: --store: is given without a value"));
}

TEST_F(AppTest, AProfileIsNoImage) {
  const host::TempDir dir;
  const Said said = kiln_.run({"boot", "--store", dir.path().string(), kMinimal});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("minimal.yml is a profile, no image"));
}

TEST_F(AppTest, AnUnknownOptionGetsAGuess) {
  Said said = kiln_.run({"build", "--acel", "tcg", "minimal"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err,
              HasSubstr("error: unknown option '--acel', did you mean '--accel'?; see kiln build --help"));
  said = kiln_.run({"build", "--untli=seal", "minimal"});
  EXPECT_THAT(said.err, HasSubstr("error: unknown option '--untli', did you mean '--until'?"));
  said = kiln_.run({"--hlep"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("error: unknown option '--hlep', did you mean '--help'?; see kiln --help"));
}

TEST_F(AppTest, OptionsAreTakenOnlyWhereTheyMeanSomething) {
  EXPECT_EQ(kiln_.run({"check", "--store", "/x", kMinimal}).status, 2);
  EXPECT_EQ(kiln_.run({"stages", "--until", "seal"}).status, 2);
  EXPECT_EQ(kiln_.run({"plan", "--no-boot", kMinimal}).status, 2);
}

TEST_F(AppTest, MissingArgumentsAreAMistakeOfUsage) {
  for (const std::string verb : {"check", "plan", "build", "boot"}) {
    const Said said = kiln_.run({verb});
    EXPECT_EQ(said.status, 2) << verb;
    EXPECT_THAT(said.err, HasSubstr("required")) << verb;
  }
  EXPECT_EQ(kiln_.run({"build", kMinimal, "--store"}).status, 2);
}

TEST_F(AppTest, WordsForChoicesAndTimesAreChecked) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong = {
      {{"--accel", "kwm"}, "--accel: unknown 'kwm', did you mean 'kvm'?"},
      {{"--timeout", "soon"}, "--timeout: expected a time such as 90s, 15m or 2h, got 'soon'"},
      {{"--timeout", "0"}, "--timeout: expected a time"},
      {{"--timeout", "99999999999h"}, "--timeout: expected a time"},
      {{"--timeout", "-5s"}, "--timeout"},
      {{"--max-size", "big"}, "--max-size: expected a size such as 20G or 512M, got 'big'"}};
  for (const auto& [words, message] : wrong) {
    const Said said = kiln_.run({"build", kMinimal, "--store", "/nonexistent/x", words[0], words[1]});
    EXPECT_EQ(said.status, 2) << words[1];
    EXPECT_THAT(said.err, HasSubstr(message));
  }
  EXPECT_THAT(kiln_.run({"boot", "x.qcow2", "--firmware", "efi"}).err,
              HasSubstr("--firmware: unknown 'efi', did you mean 'uefi'?"));
}

TEST_F(AppTest, AShellGivesNoResultsToBeKept) {
  for (const char* words : {"--json", "--output=/x"}) {
    const Said said = kiln_.run({"boot", kMinimal, "--shell", "--store", "/nonexistent/x", words});
    EXPECT_EQ(said.status, 2);
    EXPECT_THAT(said.err, HasSubstr("a shell gives no results of kiln's own; leave out --json and --output"));
  }
}

TEST_F(AppTest, AnEnvironmentIsForABootAndHasToBeThere) {
  const host::TempDir dir;
  const std::string image = (dir.path() / "a.qcow2").string();
  std::ofstream(image) << kDisk;
  const auto boot = [&](const std::string& env, const std::string& more) {
    return kiln_.run({"boot", image, "--store", "/nonexistent/x", "--env", env, more});
  };
  EXPECT_THAT(boot("/nonexistent/env.yml", "--settled").err, HasSubstr("leave out one of them"));
  for (const char* gone : {"/nonexistent/env.yml", "/nonexistent/env.iso"}) {
    const Said said = boot(gone, "--quiet");
    EXPECT_EQ(said.status, 2) << gone;
    EXPECT_THAT(said.err, HasSubstr(gone));
  }
  host::Member meta;
  meta.path = "meta-data";
  host::write_archive(dir.path() / "other.iso", host::Format::iso9660, {meta}, "cidata");
  EXPECT_THAT(boot(dir.path() / "other.iso", "--quiet").err,
              HasSubstr("other.iso: there is no user-data in it"));
}

TEST_F(AppTest, AShellOnErrorIsForATerminal) {
  const Said said = kiln_.run({"build", kMinimal, "--store", "/nonexistent/x", "--on-error", "shell"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("--on-error shell needs a terminal, and standard input is none"));
  EXPECT_THAT(kiln_.run({"build", kMinimal, "--on-error", "sehll"}).err,
              HasSubstr("--on-error: unknown 'sehll', did you mean 'shell'?"));
}

TEST_F(AppTest, WhatIsBehindTheTwoDashesIsTheCommands) {
  const auto boot = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {"boot", "/nonexistent/x.qcow2", "--store", "/nonexistent/x"});
    return kiln_.run(words);
  };
  EXPECT_THAT(boot({"--"}).err, HasSubstr("there is no command behind --"));
  EXPECT_THAT(boot({"--shell", "--", "id"}).err, HasSubstr("--shell gives a shell, and -- runs a command"));
  EXPECT_THAT(boot({"--json", "--", "id"}).err, HasSubstr("a command gives no results of kiln's own"));
  const Said said = boot({"--", "ip", "--json", "--no-such-option"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("there is no image at /nonexistent/x.qcow2"));
  EXPECT_EQ(said.out, "") << "the command's --json is not kiln's";
}

TEST_F(AppTest, WhatIsNoDiskIsNotBooted) {
  const Said said =
      kiln_.run({"boot", std::string(KILN_SOURCE_DIR) + "/README.md", "--store", "/nonexistent/x"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("README.md: is no disk image: of no format that kiln knows"));
}

TEST_F(AppTest, ChecksOfAnotherImageAreNotRun) {
  const host::TempDir dir;
  std::ofstream(dir.path() / "a.qcow2") << kDisk << "and what was copied over it";
  std::ofstream(dir.path() / "image.json")
      << R"({"proof": {}, "artifacts": [{"name": "a.qcow2", "sha256": "0123"}]})";
  const Said said =
      kiln_.run({"boot", (dir.path() / "a.qcow2").string(), "--store", (dir.path() / "store").string()});
  EXPECT_EQ(said.status, 2);
  EXPECT_EQ(said.err, "error: " + (dir.path() / "image.json").string() +
                          ": it describes another a.qcow2: the sha256 differs; name the profile whose checks "
                          "are to be run with --profile\n");
}

TEST_F(AppTest, AnImageJsonThatIsNotAsKilnWritesItIsNamed) {
  const host::TempDir dir;
  std::ofstream(dir.path() / "a.qcow2") << kDisk;
  const std::string sha256 = base::sha256(kDisk);
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {R"({"proof": {}, "artifacts": [{"name": 5}]})", "it is not as kiln writes it: "},
      {R"({"proof": {}, "artifacts": [{"name": "a.qcow2", "sha256": []}]})", "it is not as kiln writes it: "},
      {R"({"proof": 5, "artifacts": [{"name": "a.qcow2", "sha256": ")" + sha256 + "\"}]}",
       "the proof is not readable: "}};
  for (const auto& [text, message] : wrong) {
    std::ofstream(dir.path() / "image.json", std::ios::trunc) << text;
    const Said said =
        kiln_.run({"boot", (dir.path() / "a.qcow2").string(), "--store", (dir.path() / "store").string()});
    EXPECT_EQ(said.status, 2) << text;
    EXPECT_THAT(said.err, StartsWith("error: " + (dir.path() / "image.json").string() + ": " + message));
    EXPECT_THAT(said.err, HasSubstr("--profile"));
  }
}

// A build asks for its tools outside of any step; what fails there comes out as it is.
class FailingFiles : public NoRunner {
 public:
  // NOLINTNEXTLINE(bugprone-throw-keyword-missing): it is thrown later
  explicit FailingFiles(const std::filesystem::filesystem_error& failure) : failure_(failure) {}
  std::optional<std::filesystem::path> find_program(const std::string& /*name*/) override { throw failure_; }

 private:
  std::filesystem::filesystem_error failure_;
};

TEST_F(AppTest, WhatTheFileSystemRefusesIsNoBugOfKiln) {
  const std::filesystem::path from = "/nonexistent/from";
  const auto full = std::make_error_code(std::errc::no_space_on_device);
  const auto denied = std::make_error_code(std::errc::permission_denied);
  const std::vector<std::pair<std::filesystem::filesystem_error, std::string>> all = {
      {{"cannot copy file", from, "/proc/x", full},
       "/proc/x: the file system at /proc is full; make room there, or use another store with --store"},
      {{"cannot create directories", from, denied}, "/nonexistent/from: Permission denied; change its owner"},
      {{"cannot rename", from, std::make_error_code(std::errc::io_error)},
       "/nonexistent/from: Input/output error\n"}};
  kiln_.uid = static_cast<int>(::geteuid());
  for (const auto& [failure, message] : all) {
    const host::TempDir dir;
    kiln_.runner = std::make_shared<FailingFiles>(failure);
    const Said said = kiln_.run({"build", kMinimal, "--store", (dir.path() / "store").string()});
    EXPECT_EQ(said.status, 1);
    EXPECT_THAT(said.err, HasSubstr("error: " + message));
    EXPECT_THAT(said.err, Not(HasSubstr("bug of kiln")));
  }
}

TEST_F(AppTest, WithoutAHomeAStoreHasToBeNamed) {
  const Said said = kiln_.run({"plan", kMinimal});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("say --store DIRECTORY"));
}

TEST_F(AppTest, TheStoreLiesInTheCacheOfTheUser) {
  // A store that is a file cannot be opened: the error names the path that was chosen.
  const host::TempDir dir;
  std::filesystem::create_directories(dir.path() / ".cache");
  std::ofstream(dir.path() / ".cache" / "kiln") << "no store";
  kiln_.env = {{"HOME", dir.path().string()}};
  EXPECT_THAT(kiln_.run({"plan", kMinimal}).err, HasSubstr((dir.path() / ".cache/kiln").string()));
  std::ofstream(dir.path() / "kiln") << "no store";
  kiln_.env["XDG_CACHE_HOME"] = dir.path().string();
  EXPECT_THAT(kiln_.run({"plan", kMinimal}).err, HasSubstr((dir.path() / "kiln").string()));
}

TEST_F(AppTest, WithJsonAnErrorIsAnObjectTooAndTextStaysOnStderr) {
  const Said said = kiln_.run({"check", "--json", "no/such.yml"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("error: no/such.yml: no such file"));
  const json object = json::parse(said.out);
  EXPECT_EQ(object["ok"], false);
  EXPECT_EQ(object["error"]["message"], "no such file");
  EXPECT_EQ(object["error"]["where"], "no/such.yml");
  EXPECT_EQ(object["error"]["hint"], "check the path");
  EXPECT_EQ(object["error"]["exit"], 2);
}

TEST_F(AppTest, WithJsonAMistakeOfUsageIsAnObjectToo) {
  const Said said = kiln_.run({"check", "--josn", "--json"});
  EXPECT_EQ(said.status, 2);
  EXPECT_EQ(json::parse(said.out)["ok"], false);
}

TEST_F(AppTest, APeerOrReaderThatHangsUpDoesNotEndKilnButEndsItsChildrenAsEver) {
  std::signal(SIGPIPE, SIG_DFL);
  kiln_.run({"stages"});
  struct sigaction now{};
  ASSERT_EQ(::sigaction(SIGPIPE, nullptr, &now), 0);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
  const auto runner = host::system_runner();
  EXPECT_EQ(runner->run({"sh", "-c", "kill -PIPE $$"}).signal, SIGPIPE);
}

TEST_F(AppTest, ForeignBytesNeverReachTheTerminal) {
  const Said said = kiln_.run({"check", "\x1b[2Jevil.yml"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace kiln::cli
