#include "stage/stage_set.hpp"

#include <array>
#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>

#include "host/temp_dir.hpp"

namespace kiln::stage {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::array<std::string_view, 2> kSuites = {"bookworm", "trixie"};
constexpr std::array<Option, 10> kOptions = {{
    {.name = "suite", .type = Type::text, .fallback = "bookworm", .doc = "The suite.", .choices = kSuites},
    {.name = "name",
     .type = Type::text,
     .fallback = {},
     .required = true,
     .doc = "A name.",
     .pattern = "[a-z]+",
     .write = "small letters, such as eva"},
    {.name = "flag", .type = Type::flag, .fallback = "true", .doc = "A flag."},
    {.name = "count", .type = Type::number, .fallback = "3", .doc = "A number.", .minimum = 1, .maximum = 9},
    {.name = "size", .type = Type::size, .fallback = {}, .doc = "A size.", .minimum = 1 << 20},
    {.name = "items", .type = Type::texts, .fallback = "[a, b]", .doc = "Items.", .pattern = "[a-z]+"},
    {.name = "file", .type = Type::file, .fallback = {}, .doc = "A file."},
    {.name = "tree", .type = Type::tree, .fallback = {}, .doc = "A tree."},
    {.name = "files", .type = Type::files, .fallback = {}, .doc = "Files."},
    {.name = "token", .type = Type::text, .fallback = {}, .doc = "A secret.", .secret = true},
}};
const StageType kType = {.name = "sample", .summary = "S", .doc = "D", .options = kOptions, .tools = {}};
constexpr std::array<Option, 1> kBadOptions = {{
    {.name = "size", .type = Type::size, .fallback = "huge", .doc = "A size."},
}};
const StageType kBadType = {.name = "bad", .summary = "S", .doc = "D", .options = kBadOptions, .tools = {}};

class ParseTest : public testing::Test {
 protected:
  Options parse(const std::string& text, const StageType& type = kType) {
    std::ofstream(dir_.path() / "p.yml") << text;
    const profile::Node node = profile::Node::read(dir_.path() / "p.yml", errors_);
    return parse_options(type, node, {(dir_.path() / "p.yml").string(), 1, 1}, errors_);
  }
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
  host::TempDir dir_;
  std::vector<base::Error> errors_;
};

TEST_F(ParseTest, DefaultsGoThroughTheSameConversion) {
  const Options options = parse("name: x\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(options.text("suite"), "bookworm");
  EXPECT_TRUE(options.flag("flag"));
  EXPECT_EQ(options.number("count"), 3);
  EXPECT_THAT(options.texts("items"), ElementsAre("a", "b"));
  EXPECT_FALSE(options.has("size"));
  EXPECT_FALSE(options.has("file"));
  EXPECT_EQ(options.where("suite").line, 1);
}

TEST_F(ParseTest, ADefaultItsOwnTableRefusesIsABug) {
  EXPECT_THROW(parse("{}", kBadType), std::logic_error);
}

TEST_F(ParseTest, ValuesAreTyped) {
  const Options options =
      parse("{name: abc, suite: trixie, flag: false, count: 9, size: 2M, items: [], token: x}\n",
            {.name = "sample",
             .summary = "S",
             .doc = "D",
             .reuse = Reuse::never,
             .options = kOptions,
             .tools = {}});
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(options.text("suite"), "trixie");
  EXPECT_FALSE(options.flag("flag"));
  EXPECT_EQ(options.number("count"), 9);
  EXPECT_EQ(options.number("size"), 2 << 20);
  EXPECT_THAT(options.texts("items"), IsEmpty());
  EXPECT_EQ(options.text("token"), "x");
}

TEST_F(ParseTest, EveryMistakeOfAStepIsTold) {
  parse("suite: bookwrm\nname: Big!\nflag: yes\ncount: 10\nsize: 3\nitems: [ok, NO, {}]\nsise: 1\n");
  EXPECT_THAT(
      said(),
      ElementsAre("p.yml:1:8: sample: suite: unknown 'bookwrm', did you mean 'bookworm'?; known are "
                  "bookworm, trixie",
                  "p.yml:2:7: sample: name: 'Big!' will not do (a name); write small letters, such as eva",
                  "p.yml:3:7: sample: flag: expected true or false, got 'yes'",
                  "p.yml:4:8: sample: count: expected a number from 1 to 9, got '10'",
                  HasSubstr("p.yml:5:7: sample: size: expected at least 1 MiB, got 3 B"),
                  "p.yml:6:13: sample: items: 'NO' will not do (items); it has to match [a-z]+",
                  "p.yml:6:17: sample: items: expected a text, got a mapping",
                  "p.yml:7:1: sample: unknown option 'sise', did you mean 'size'?"));
}

TEST_F(ParseTest, AMissingRequiredOptionIsToldAtTheStep) {
  parse("{}\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:1:1: sample: needs 'name:' (a name)"));
}

TEST_F(ParseTest, ATextIsOneLineOfBoundedLength) {
  parse("name: \"a\\nb\"\n");
  parse("name: " + std::string(5000, 'a') + "\n");
  EXPECT_THAT(said(), ElementsAre("p.yml:1:7: sample: name: has to be one line",
                                  "p.yml:1:7: sample: name: is longer than 4096 characters"));
}

TEST_F(ParseTest, PathsStartFromTheFileThatWroteThem) {
  std::filesystem::create_directories(dir_.path() / "a/b");
  std::ofstream(dir_.path() / "a/f.txt") << "x";
  const Options options = parse("{name: x, file: a/./f.txt, tree: a/b/, files: [a/f.txt, a/b/../f.txt]}\n");
  EXPECT_THAT(said(), IsEmpty());
  EXPECT_EQ(options.path("file"), dir_.path() / "a/f.txt");
  EXPECT_EQ(options.path("tree"), dir_.path() / "a/b");
  EXPECT_THAT(options.paths("files"), ElementsAre(dir_.path() / "a/f.txt", dir_.path() / "a/f.txt"));
}

TEST_F(ParseTest, AMissingOrMistakenPathSaysWhatToSet) {
  std::filesystem::create_directories(dir_.path() / "folder");
  parse("{name: x, file: folder, tree: salt/, files: [no.txt]}\n");
  EXPECT_THAT(
      said(),
      ElementsAre("p.yml:1:17: sample: 'folder' is no file; set 'file:' to a file",
                  "p.yml:1:31: sample: no directory at 'salt/'; set 'tree:' to its path",
                  "p.yml:1:46: sample: no file at 'no.txt'; list paths that exist in 'files:', relative to "
                  "the file that says it"));
}

TEST_F(ParseTest, ASecretInACachedStageIsRefusedWithTheWayOut) {
  parse("{name: x, token: hunter2}\n");
  EXPECT_THAT(said(),
              ElementsAre("p.yml:1:18: sample: 'token' is a secret, and a layer of this stage would keep it; "
                          "leave it out here and give it to the running machine by its env.yml"));
  EXPECT_THAT(said()[0], testing::Not(HasSubstr("hunter2")));
}

TEST(StageSetTest, FindsByNameInItsOwnOrder) {
  const std::array<const StageType*, 2> types = {&kType, &kBadType};
  const StageSet set(types);
  EXPECT_EQ(set.find("bad"), &kBadType);
  EXPECT_EQ(set.find("unheard"), nullptr);
  EXPECT_THAT(set.names(), ElementsAre("sample", "bad"));
}

}  // namespace
}  // namespace kiln::stage
