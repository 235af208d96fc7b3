#include "env/flatten.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/runner.hpp"

namespace kiln::env {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class FlattenTest : public testing::Test {
 protected:
  std::string lines(const std::string& yaml, const std::string& keys = ".") {
    std::vector<base::Error> errors;
    const yaml::Node root = yaml::Node::parse(yaml, "e.yml", errors);
    EXPECT_THAT(errors, IsEmpty());
    Flat flat = flatten(root, keys, options_);
    said_.clear();
    for (const auto& error : flat.errors) said_.emplace_back(error.what());
    return flat.lines;
  }
  FlattenOptions options_;
  std::vector<std::string> said_;
};

TEST_F(FlattenTest, KeysAreJoinedInUpperCase) {
  EXPECT_EQ(lines("appliance: {git: {branch: main}, Standby: x}\n"),
            "APPLIANCE_STANDBY=x\nAPPLIANCE_GIT_BRANCH=main\n");
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(FlattenTest, ListsHaveTheirItemsAndTheirLength) {
  EXPECT_EQ(lines("l: [a, {k: b}, [c]]\nnone: []\n"),
            "L_0=a\nL_1_K=b\nL_2_0=c\nL_2_LEN=1\nL_LEN=3\nNONE_LEN=0\n");
}

TEST_F(FlattenTest, FlagsNullsAndNumbers) {
  EXPECT_EQ(
      lines(
          "a: true\nb: False\nc: yes\nd: 'yes'\ne:\nf: ~\ng: ''\nh: 0123\ni: 1.50\nj: 2001-12-14 21:59:43\n"),
      "A=true\nB=false\nC=true\nD=yes\nE=\nF=\nG=''\nH=0123\nI=1.50\nJ='2001-12-14 21:59:43'\n");
}

TEST_F(FlattenTest, TextsAreStrippedAndQuotedWhereNeeded) {
  EXPECT_EQ(lines("a: \"  x \\n\"\nb: it's\nc: a b\nd: |\n  one\n  two\ne: ~root\nf: user@host:/p+q,%=x-1\n"),
            "A=x\nB='it'\"'\"'s'\nC='a b'\nD='one\ntwo'\nE='~root'\nF=user@host:/p+q,%=x-1\n");
}

TEST_F(FlattenTest, OnlyTheKeysAskedForInTheirOrderEachOnce) {
  const std::string yaml = "b: {y: 1, x: 2}\na: 3\nc: 4\n";
  EXPECT_EQ(lines(yaml, "b, a,b"), "B_X=2\nB_Y=1\nA=3\n");
  EXPECT_EQ(lines(yaml, ".,b"), "A=3\nB_X=2\nB_Y=1\nC=4\n");
  EXPECT_THAT(said_, IsEmpty());
}

TEST_F(FlattenTest, AMissingKeyIsAnErrorAndTheOthersArePrinted) {
  EXPECT_EQ(lines("appliance: 1\necs: 2\n", "aplliance,ecs,zzz"), "ECS=2\n");
  EXPECT_THAT(said_, ElementsAre("e.yml: there is no key 'aplliance', did you mean 'appliance'?",
                                 "e.yml: there is no key 'zzz'"));
  EXPECT_EQ(lines("", "a"), "");
  EXPECT_EQ(said_.size(), 1U);
}

TEST_F(FlattenTest, AKeyThatIsNoNameHasNoLine) {
  EXPECT_EQ(lines("9a: 1\na-b: 1\nok: 1\n'': 1\n'$(id)': 1\nü: 1\n\"a\\0\": 1\n'x y': {z: 1}\np: {443: 1}\n"),
            "OK=1\nP_443=1\n");
  EXPECT_EQ(said_.size(), 7U);
  EXPECT_THAT(said_, testing::Each(HasSubstr("is no name for a shell")));
  EXPECT_THAT(said_[1], HasSubstr("e.yml:2:6: 'a-b'"));
}

TEST_F(FlattenTest, NamesThatCollideHaveNoLineAtAll) {
  EXPECT_EQ(lines("a_b: 1\na: {b: 2}\nX: 1\nx: 2\nl: [1]\nl_len: 9\nok: 1\n"), "L_0=1\nOK=1\n");
  EXPECT_THAT(said_, ElementsAre("e.yml:2:8: 'a_b' and 'a_b' (line 1) have the same name A_B",
                                 "e.yml:6:8: 'l_len' and 'l_len' (line 5) have the same name L_LEN",
                                 "e.yml:4:4: 'X' and 'x' (line 3) have the same name X"));
}

TEST_F(FlattenTest, CollisionsAreThoseOfWhatIsAskedFor) {
  EXPECT_EQ(lines("a_b: 1\na: {b: 2}\n", "a"), "A_B=2\n");
  EXPECT_THAT(said_, IsEmpty());
  EXPECT_EQ(lines("a_b: 1\na: {b: 2}\n", "a,a_b"), "");
  EXPECT_EQ(said_.size(), 1U);
}

TEST_F(FlattenTest, NamesOfTheShellAndTheLoaderHaveNoLine) {
  EXPECT_EQ(lines("path: 1\nPATH: 1\nld: {preload: x}\nbash_env: 1\nifs: ''\nuid: 0\nok: 1\n"), "OK=1\n");
  EXPECT_EQ(said_.size(), 6U);
  EXPECT_EQ(lines("p: {path: 1}\n"), "P_PATH=1\n");
}

TEST_F(FlattenTest, APrefixCountsForTheName) {
  options_.prefix = "export ";
  options_.postfix = ";";
  EXPECT_EQ(lines("a: 1\nenv: 2\n"), "export A=1;\n");
  options_.prefix = "export APP_";
  EXPECT_EQ(lines("a: 1\nenv: 2\n9: 3\n"), "export APP_9=3;\nexport APP_A=1;\nexport APP_ENV=2;\n");
  options_.prefix = "LD_";
  EXPECT_EQ(lines("preload: x\n"), "");
  EXPECT_THAT(said_, ElementsAre(HasSubstr("a use of its own for LD_PRELOAD")));
}

TEST_F(FlattenTest, CombineAndAssignAreTheCallersWords) {
  options_.combine = "__";
  options_.assign = ": ";
  EXPECT_EQ(lines("a: {b: [c]}\n"), "A__B__0: c\nA__B__LEN: 1\n");
}

TEST_F(FlattenTest, AValueWithNulHasNoLineAndIsNotShown) {
  EXPECT_EQ(lines("a: \"s3cret\\0x\"\nb: 1\n"), "B=1\n");
  EXPECT_THAT(said_, ElementsAre("e.yml:1:4: the value of 'a' has a NUL in it, which no shell can hold"));
}

TEST_F(FlattenTest, AVeryLongNameIsAnErrorInsteadOfAllMemory) {
  std::string yaml = "? " + std::string(100'000, 'k') + "\n: [";
  for (int i = 0; i < 50'000; ++i) yaml += "1,";
  EXPECT_EQ(lines(yaml + "1]\n"), "");
  EXPECT_THAT(said_, ElementsAre(HasSubstr("longer than 512 characters")));
  EXPECT_LT(said_.at(0).size(), 300U);
}

// The rules in Python's words, on what Python's own libraries read and quote.
TEST_F(FlattenTest, IsByteForByteWhatPythonWouldWrite) {
  const std::string yaml =
      "z: {b: 1, a_b: 2, ab: 3, A1: 4}\n"
      "texts: ['', ' ', 'a', \" it's \", 'a\"b', '$x', '`id`', 'ä ö', 'x\\y', \"tab\\there\", "
      "\"nl\\nhere\\n\", '-n', '~', '=',"
      " 'a;b', 'a&b', '#', '*', '?', '[x]', '{a,b}', '!1', '\\', \"'\", \"''\", \"\\x01\\x7f\", "
      "\"\\u2028x\\u3000\", '%@+=:,./-_']\n"
      "flags: [true, False, yes, NO, on, Off, 'true']\n"
      "nulls: [~, null, Null, NULL, ]\n"
      "numbers: [0, 1, -5, 1.5, 100000]\n"
      "deep: {a: {b: {c: [[], {}, [[1]]]}}}\n";
  host::Command python({"python3", "-c", R"(
import shlex, sys, yaml
def walk(path, value):
    if isinstance(value, dict):
        for key in value: yield from walk(path + [key], value[key])
    elif isinstance(value, list):
        for i, item in enumerate(value): yield from walk(path + [str(i)], item)
        yield "_".join(path + ["len"]), str(len(value))
    else:
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else value
        yield "_".join(path), shlex.quote(text.strip()) if isinstance(text, str) and value is not None else str(text)
data = yaml.safe_load(sys.stdin.buffer.read())
sys.stdout.reconfigure(encoding="utf-8")
for name, value in sorted(walk([], data)): print(name.upper() + "=" + value)
)"});
  python.input = yaml;
  const host::Finished done = host::system_runner()->run(python);
  ASSERT_EQ(done.exit, 0) << done.err;
  EXPECT_EQ(lines(yaml), done.out);
  EXPECT_THAT(said_, IsEmpty());
}

}  // namespace
}  // namespace kiln::env
