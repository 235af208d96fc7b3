#include "yaml/node.hpp"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/temp_dir.hpp"

namespace kiln::yaml {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

std::vector<std::string> texts(const std::vector<base::Error>& errors) {
  std::vector<std::string> result;
  result.reserve(errors.size());
  for (const base::Error& error : errors) result.emplace_back(error.what());
  return result;
}

class NodeTest : public testing::Test {
 protected:
  Node parse(const std::string& text) { return Node::parse(text, "p.yml", errors_); }
  std::vector<std::string> said() { return texts(errors_); }
  std::vector<base::Error> errors_;
};

TEST_F(NodeTest, EachValueKnowsItsPlaceCountedFromOne) {
  const Node root = parse("a: 1\nlist:\n  - x\n  - {b: two}\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(root.find("a")->where(), (base::Where{"p.yml", 1, 4}));
  const Node list = *root.find("list");
  EXPECT_EQ(list.items().at(0).where(), (base::Where{"p.yml", 3, 5}));
  EXPECT_EQ(list.items().at(1).find("b")->where(), (base::Where{"p.yml", 4, 9}));
  EXPECT_EQ(list.file(), "p.yml");
}

TEST_F(NodeTest, EveryDuplicateKeyIsAnErrorAndTheFirstOneCounts) {
  const Node root = parse("a: 1\nb: 2\na: 3\nm: {x: 1, x: 2}\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:3:1: key 'a' is there twice, first in line 1; keep one of them",
                                  "p.yml:4:11: key 'x' is there twice, first in line 4; keep one of them"));
  EXPECT_EQ(root.find("a")->scalar(), "1");
}

TEST_F(NodeTest, SyntaxErrorsNameTheirPlace) {
  const Node root = parse("a: 1\nb: [1, 2\nc: 3\n");
  EXPECT_EQ(root.kind(), Node::Kind::null);
  ASSERT_THAT(errors_, SizeIs(1));
  EXPECT_GE(errors_[0].where().line, 2);
  EXPECT_THAT(said()[0], HasSubstr("no valid YAML"));
}

TEST_F(NodeTest, AnEmptyFileIsNullAndNoError) {
  EXPECT_EQ(parse("").kind(), Node::Kind::null);
  EXPECT_EQ(parse("# nothing but a comment\n").kind(), Node::Kind::null);
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(NodeTest, ASecondDocumentIsRefused) {
  parse("a: 1\n---\nb: 2\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("a second document begins")));
}

TEST_F(NodeTest, TagsAreRefused) {
  parse("a: !!binary aGVsbG8=\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("p.yml:1:4: tag 'tag:yaml.org,2002:binary' is not understood")));
}

TEST_F(NodeTest, AKeyThatIsNoWordIsRefused) {
  parse("[a, b]: 1\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("a key has to be a plain word, got a list")));
}

TEST_F(NodeTest, AMergeKeyIsRefusedAndItsTextIsNot) {
  parse("a: &a {x: 1}\nb:\n  <<: *a\n  '<<': fine\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:3:3: merge keys ('<<') are not supported; write the values out"));
}

TEST_F(NodeTest, AnAliasIsACopyWithTakesOfItsOwn) {
  Node root = parse("a: &x {k: 1}\nb: *x\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(root.find("b")->find("k")->scalar(), "1");
  root.find("a")->take("k");
  root.find("b")->leftovers("unknown key", {}, errors_);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("unknown key 'k'")));
}

TEST_F(NodeTest, AnAliasInsideItsOwnAnchorIsRefused) {
  parse("a: &x\n  b: *x\n");
  EXPECT_THAT(said(), ElementsAre(HasSubstr("p.yml:2:6: an alias inside the value it stands for")));
}

TEST_F(NodeTest, AliasesThatBlowUpAreRefused) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string before = "*a" + std::to_string(i - 1);
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int j = 0; j < 10; ++j) bomb += (j > 0 ? ", " : "") + before;
    bomb += "]\n";
  }
  EXPECT_EQ(parse(bomb).kind(), Node::Kind::null);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("more than 100000 values when its aliases are followed")));
}

TEST_F(NodeTest, AliasesOfALongTextAreRefusedBeforeTheyFillTheMemory) {
  std::string bomb = "a: &a " + std::string(500'000, 'x') + "\nb: [";
  for (int i = 0; i < 50'000; ++i) bomb += "*a, ";
  EXPECT_EQ(parse(bomb + "*a]\n").kind(), Node::Kind::null);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("more than 16 MiB of text when its aliases are followed")));
}

TEST_F(NodeTest, NestingIsAllowedToThirtyTwoLevels) {
  parse(std::string(32, '[') + std::string(32, ']'));
  EXPECT_THAT(said(), IsEmpty());
  parse(std::string(33, '[') + std::string(33, ']'));
  EXPECT_THAT(said(), ElementsAre("p.yml:1:33: nested more than 32 levels deep"));
}

TEST_F(NodeTest, NestingByAliasesCountsToo) {
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i < 40; ++i) {
    const std::string n = std::to_string(i);
    text.append("a")
        .append(n)
        .append(": &a")
        .append(n)
        .append(" [*a")
        .append(std::to_string(i - 1))
        .append("]\n");
  }
  parse(text);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("nested more than 32 levels deep")));
}

TEST_F(NodeTest, AHundredThousandBracketsAreRefusedWithoutHarm) {
  parse(std::string(100'000, '['));
  EXPECT_THAT(said(), ElementsAre(HasSubstr("nested more than 32 levels deep")));
}

TEST_F(NodeTest, AFileOverOneMebibyteIsRefused) {
  parse("a: " + std::string(1 << 20, 'x'));
  EXPECT_THAT(said(), ElementsAre(HasSubstr("p.yml: is larger than 1 MiB")));
}

TEST_F(NodeTest, BytesThatAreNoTextAreRefusedWithTheirPlace) {
  parse("a: 1\nb: \x1b[31m\n");
  parse("a: \xff\n");
  parse(std::string("a: \0", 4));
  EXPECT_THAT(said(), ElementsAre(HasSubstr("p.yml:2:4: byte 0x1b is no text"),
                                  HasSubstr("p.yml:1:4: byte 0xff is no text"),
                                  HasSubstr("p.yml:1:4: byte 0x00 is no text")));
}

TEST_F(NodeTest, ControlCharactersByEscapesAreRefusedWhenRead) {
  const Node root = parse("a: \"x\\u001b[31m\"\n");
  EXPECT_EQ(root.find("a")->as_text("a", errors_), std::nullopt);
  EXPECT_THAT(said(), ElementsAre("p.yml:1:4: a: control characters have no place in a text"));
}

TEST_F(NodeTest, OtherLanguagesAreWelcome) {
  const Node root = parse("a: Größe 東京 😀\n");
  EXPECT_EQ(root.find("a")->as_text("a", errors_), "Größe 東京 😀");
  EXPECT_THAT(said(), IsEmpty());
}

TEST_F(NodeTest, FlagsAreTrueOrFalseAndNothingElse) {
  const Node root = parse("a: true\nb: false\nc: yes\nd: \"true\"\ne: 1\nf: [true]\n");
  EXPECT_EQ(root.find("a")->as_flag("a", errors_), true);
  EXPECT_EQ(root.find("b")->as_flag("b", errors_), false);
  EXPECT_THAT(said(), IsEmpty());
  for (const char* key : {"c", "d", "e", "f"}) root.find(key)->as_flag(key, errors_);
  EXPECT_THAT(said(), ElementsAre("p.yml:3:4: c: expected true or false, got 'yes'",
                                  "p.yml:4:4: d: expected true or false, got the text 'true'",
                                  "p.yml:5:4: e: expected true or false, got '1'",
                                  "p.yml:6:4: f: expected true or false, got a list"));
}

TEST_F(NodeTest, NumbersKeepTheirBounds) {
  const Node root = parse("a: 7\nb: 0\nc: 99999999999999999999\nd: 1.5\ne: \"7\"\nf:\ng: 0x10\n");
  EXPECT_EQ(root.find("a")->as_number("a", 1, 10, errors_), 7);
  EXPECT_THAT(said(), IsEmpty());
  for (const char* key : {"b", "c", "d", "e", "f", "g"}) root.find(key)->as_number(key, 1, 10, errors_);
  EXPECT_THAT(said(), ElementsAre("p.yml:2:4: b: expected a number from 1 to 10, got '0'",
                                  "p.yml:3:4: c: expected a number from 1 to 10, got '99999999999999999999'",
                                  "p.yml:4:4: d: expected a whole number, got '1.5'",
                                  "p.yml:5:4: e: expected a whole number, got the text '7'",
                                  HasSubstr("f: expected a whole number, got nothing"),
                                  "p.yml:7:4: g: expected a whole number, got '0x10'"));
}

TEST_F(NodeTest, SizesHaveUnits) {
  const Node root = parse("a: 10G\nb: \"512M\"\nc: ten\nd: [1G]\n");
  EXPECT_EQ(root.find("a")->as_size("a", errors_), 10ULL << 30);
  EXPECT_EQ(root.find("b")->as_size("b", errors_), 512ULL << 20);
  EXPECT_THAT(said(), IsEmpty());
  root.find("c")->as_size("c", errors_);
  root.find("d")->as_size("d", errors_);
  EXPECT_THAT(said(), ElementsAre("p.yml:3:4: c: expected a size such as 10G, got 'ten'",
                                  "p.yml:4:4: d: expected a size such as 10G, got a list"));
}

TEST_F(NodeTest, AWrongItemOfAListIsNamedByItsPlace) {
  const Node root = parse("a: [x, {y: 1}, z]\n");
  EXPECT_EQ(root.find("a")->as_texts("a", errors_), std::nullopt);
  EXPECT_THAT(said(), ElementsAre("p.yml:1:8: a: expected a text, got a mapping"));
}

TEST_F(NodeTest, LeftoversGuessWhatWasMeant) {
  Node root = parse("memry: 1\nzzz: 2\ncpus: 3\n");
  root.take("cpus");
  root.leftovers("guest: unknown key", {"memory", "cpus"}, errors_);
  EXPECT_THAT(said(), ElementsAre("p.yml:1:1: guest: unknown key 'memry', did you mean 'memory'?",
                                  "p.yml:2:1: guest: unknown key 'zzz'; known are memory, cpus"));
}

TEST_F(NodeTest, AMissingFileIsAnErrorWithItsPathAsGiven) {
  Node::read("no/such/file.yml", errors_);
  EXPECT_THAT(said(), ElementsAre("no/such/file.yml: no such file; check the path"));
}

TEST_F(NodeTest, AFolderIsNoFile) {
  const host::TempDir dir;
  Node::read(dir.path(), errors_);
  EXPECT_THAT(said(), ElementsAre(HasSubstr("is not a file")));
}

}  // namespace
}  // namespace kiln::yaml
