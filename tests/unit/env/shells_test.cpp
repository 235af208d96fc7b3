// What `flatten` prints, given to the shells that eval it on the appliance.
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <random>

#include "env/flatten.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"
#include "host/temp_dir.hpp"

namespace kiln::env {
namespace {

namespace fs = std::filesystem;

struct Shell {
  const char* name;
  std::vector<std::string> argv;
  const char* locale;
};

const std::vector<Shell> kShells = {{"bash", {"bash", "--norc"}, "C.UTF-8"},
                                    {"bash_C", {"bash", "--norc"}, "C"},
                                    {"bash_posix", {"bash", "--posix"}, "C.UTF-8"},
                                    {"dash", {"dash"}, "C.UTF-8"}};

class ShellsTest : public testing::TestWithParam<Shell> {
 protected:
  // Runs `script` in an empty folder that must stay empty; what it says on stderr is a failure, too.
  std::string run(const std::string& script, const std::string& lines) {
    const fs::path file = folder_.path() / "lines";
    host::write_file(file, lines, 0600);
    const host::TempDir cwd(folder_.path(), "cwd-");
    host::Command command(GetParam().argv);
    command.add({"-c", script, "test", file.string()});
    command.env = {{"PATH", "/usr/bin:/bin"}, {"LC_ALL", GetParam().locale}};
    command.clear_env = true;
    command.cwd = cwd.path();
    const host::Finished done = host::system_runner()->run(command);
    EXPECT_EQ(done.exit, 0) << done.how() << done.err;
    EXPECT_EQ(done.err, "");
    EXPECT_TRUE(fs::is_empty(cwd.path())) << "the text was run, not read";
    return done.out;
  }
  static Flat flat(const std::string& yaml, const FlattenOptions& options = {}) {
    std::vector<base::Error> errors;
    const yaml::Node root = yaml::Node::parse(yaml, "e.yml", errors);
    EXPECT_THAT(errors, testing::IsEmpty());
    return flatten(root, ".", options);
  }
  host::TempDir folder_;
};

// `bytes` as a YAML text in double quotes.
std::string in_yaml(const std::string& bytes) {
  std::string text = "\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      text += {'\\', c};
    } else if (byte < 0x20 || byte == 0x7f) {
      text += fmt::format("\\x{:02x}", byte);
    } else {
      text += c;
    }
  }
  return text + "\"";
}

// Texts of what shells, printf and echo have ever fallen for. Each begins and ends with an x, as blanks at
// the ends are stripped.
std::vector<std::string> hostile_texts() {
  const std::vector<std::string> pieces = {"'",
                                           "\"",
                                           "\\",
                                           "`",
                                           "$",
                                           "$(touch f)",
                                           "`touch f`",
                                           "${x:=y}",
                                           "$((1))",
                                           "\n",
                                           "\r",
                                           "\t",
                                           "\x01",
                                           "\x7f",
                                           "\x1b",
                                           "!",
                                           "!!",
                                           "#",
                                           " ",
                                           ";",
                                           "&",
                                           "|",
                                           "<",
                                           ">f",
                                           "(",
                                           ")",
                                           "*",
                                           "?",
                                           "[",
                                           "]",
                                           "{a,b}",
                                           "~",
                                           "=",
                                           "%s",
                                           "%n",
                                           "\\n",
                                           "\\0",
                                           "-e",
                                           "\xc3\xa4",
                                           "\xe2\x80\xae",
                                           "\xf0\x9f\x98\x80",
                                           "\\'",
                                           "'\\''",
                                           "EOF",
                                           "\ntouch f\n",
                                           "';touch f;'",
                                           "\";touch f;\"",
                                           "'\"'\"'",
                                           "\\\n",
                                           "$'\\x27'",
                                           "\xc2\x85",
                                           "a",
                                           "0"};
  std::vector<std::string> texts;
  texts.reserve(pieces.size() + 400);
  for (const std::string& piece : pieces) texts.push_back("x" + piece + "x");
  std::minstd_rand random(1);  // NOLINT(bugprone-random-generator-seed): the same texts in every run
  for (int i = 0; i < 400; ++i) {
    std::string text = "x";
    for (std::size_t n = random() % 12; n > 0; --n) text += pieces[random() % pieces.size()];
    texts.push_back(text + "x");
  }
  return texts;
}

TEST_P(ShellsTest, EveryValueComesBackByteForByte) {
  const std::vector<std::string> texts = hostile_texts();
  std::string yaml;
  std::string wanted;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    yaml += fmt::format("v{}: {}\n", i, in_yaml(texts[i]));
    wanted += texts[i] + '\0';
  }
  for (const char* prefix : {"", "export "}) {
    FlattenOptions options;
    options.prefix = prefix;
    const Flat result = flat(yaml, options);
    EXPECT_THAT(result.errors, testing::IsEmpty());
    const std::string out =
        run(fmt::format("eval \"$(cat \"$1\")\"; i=0\n"
                        "while [ $i -lt {} ]; do eval \"printf '%s\\0' \\\"\\$V$i\\\"\"; i=$((i+1)); done",
                        texts.size()),
            result.lines);
    EXPECT_TRUE(out == wanted) << "a value came back changed";
  }
}

TEST_P(ShellsTest, HostileKeysChangeNothing) {
  std::string yaml = "good: 1\n";
  for (const char* key : {"a;touch f",
                          "$(touch f)",
                          "`touch f`",
                          "a=b touch f",
                          "a\ntouch f\nb",
                          "f()",
                          "a[$(touch f)]",
                          "PATH",
                          "path",
                          "IFS",
                          "UID",
                          "EUID",
                          "PPID",
                          "ENV",
                          "BASH_ENV",
                          "SHELLOPTS",
                          "OPTIND",
                          "LINENO",
                          "_",
                          "HOME",
                          "LD_PRELOAD",
                          "TMOUT",
                          "FUNCNEST",
                          "PS4",
                          "LC_ALL",
                          "RANDOM",
                          "a-b",
                          "-a",
                          "a b",
                          "\xc3\xa4",
                          "|",
                          "if"})
    yaml += in_yaml(key) + ": $(touch f)\n";
  EXPECT_EQ(run("before=$(set | grep -v -E '^(_|BASH_|PIPESTATUS|BASHPID)'); eval \"$(cat \"$1\")\"\n"
                "[ \"$GOOD\" = 1 ] && [ \"$IF\" = '$(touch f)' ] && unset GOOD IF\n"
                "after=$(unset before; set | grep -v -E '^(_|BASH_|PIPESTATUS|BASHPID)')\n"
                "[ \"$before\" = \"$after\" ] && echo same",
                flat(yaml).lines),
            "same\n");
}

// What the fuzzer starts from: whatever the file, the shells read assignments and nothing else.
TEST_P(ShellsTest, TheFuzzersSeedsAreHarmless) {
  int seeds = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(KILN_TESTS_DIR) / "fuzz/seeds/flatten")) {
    std::vector<base::Error> errors;
    const yaml::Node root = yaml::Node::parse(host::read_file(entry.path()), "e.yml", errors);
    EXPECT_EQ(run("eval \"$(cat \"$1\")\" && echo fine", flatten(root, ".", {}).lines), "fine\n")
        << entry.path();
    ++seeds;
  }
  EXPECT_GE(seeds, 3);
}

INSTANTIATE_TEST_SUITE_P(Eval, ShellsTest, testing::ValuesIn(kShells),
                         [](const auto& shell) { return std::string(shell.param.name); });

}  // namespace
}  // namespace kiln::env
