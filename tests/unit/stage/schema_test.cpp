#include <array>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "stage/stage_set.hpp"

namespace kiln::stage {
namespace {

using nlohmann::json;
using testing::HasSubstr;

constexpr std::array<std::string_view, 2> kSuites = {"bookworm", "trixie"};
constexpr std::array<Option, 7> kOptions = {{
    {.name = "suite", .type = Type::text, .fallback = "bookworm", .doc = "The suite.", .choices = kSuites},
    {.name = "name",
     .type = Type::text,
     .fallback = {},
     .required = true,
     .doc = "A name.",
     .pattern = "[a-z]+"},
    {.name = "flag", .type = Type::flag, .fallback = "true", .doc = "A flag."},
    {.name = "count", .type = Type::number, .fallback = "3", .doc = "A number.", .minimum = 1, .maximum = 9},
    {.name = "size", .type = Type::size, .fallback = {}, .doc = "A size.", .minimum = 1 << 20},
    {.name = "files", .type = Type::files, .fallback = {}, .doc = "Files."},
    {.name = "version", .type = Type::text, .fallback = {}, .doc = "A version.", .pattern = "3\\.[0-9]+"},
}};
const StageType kSample = {
    .name = "sample", .summary = "A sample", .doc = "Text.", .options = kOptions, .tools = {}};
const StageType kBare = {
    .name = "bare", .summary = "Bare", .doc = "Text.", .kind = Kind::artifact, .options = {}, .tools = {}};
constexpr std::array<const StageType*, 2> kTypes = {&kSample, &kBare};

class SchemaTest : public testing::Test {
 protected:
  json schema_ = json::parse(schema(StageSet(kTypes)));
  json option(const std::string& name) { return schema_["$defs"]["sample"]["properties"][name]; }
};

TEST_F(SchemaTest, NamesItsDraftAndClosesEveryObject) {
  EXPECT_EQ(schema_["$schema"], "https://json-schema.org/draft/2020-12/schema");
  int objects = 0;
  const std::function<void(const json&)> walk = [&](const json& value) {
    if (value.is_object() && value.contains("properties")) {
      ++objects;
      EXPECT_EQ(value["additionalProperties"], false) << value.dump();
    }
    for (const json& item : value) {
      if (item.is_structured()) walk(item);
    }
  };
  walk(schema_);
  EXPECT_GE(objects, 8);
}

TEST_F(SchemaTest, OptionsCarryTypeChoicesPatternBoundsDefaultAndText) {
  EXPECT_EQ(option("suite")["enum"], json({"bookworm", "trixie"}));
  EXPECT_EQ(option("suite")["default"], "bookworm");
  EXPECT_EQ(option("name")["pattern"], "^(?:[a-z]+)$");
  EXPECT_EQ(option("name")["description"], "A name.");
  EXPECT_EQ(option("flag")["type"], "boolean");
  EXPECT_EQ(option("flag")["default"], true);
  EXPECT_EQ(option("count")["minimum"], 1);
  EXPECT_EQ(option("count")["maximum"], 9);
  EXPECT_EQ(option("size")["minimum"], 1 << 20);
  EXPECT_EQ(option("files")["items"]["type"], json({"string", "number"}));
  EXPECT_EQ(schema_["$defs"]["sample"]["required"], json({"name"}));
}

TEST_F(SchemaTest, ATextMayBeWrittenLikeANumberWhereOneWillDo) {
  EXPECT_EQ(option("suite")["type"], "string");
  EXPECT_EQ(option("name")["type"], "string");
  EXPECT_EQ(option("version")["type"], json({"string", "number"}));
}

TEST_F(SchemaTest, AStepIsOneStageOrARemoval) {
  const json any = schema_["properties"]["steps"]["items"]["oneOf"];
  ASSERT_EQ(any.size(), 3U);
  EXPECT_EQ(any[0]["required"], json({"sample"}));
  EXPECT_EQ(any[0]["properties"]["sample"]["$ref"], "#/$defs/sample");
  EXPECT_EQ(any[2]["required"], json({"remove"}));
}

TEST_F(SchemaTest, AStageWithoutRequiredOptionsMayStandAlone) {
  EXPECT_EQ(schema_["$defs"]["bare"]["type"], json({"object", "null"}));
  EXPECT_EQ(schema_["$defs"]["sample"]["type"], "object");
}

TEST(TableTest, HasARowAStageInOrder) {
  EXPECT_EQ(table(StageSet(kTypes)),
            "| stage | kind | what it does | options |\n|---|---|---|---|\n"
            "| `sample` | image | A sample | `suite`, `name` (required), `flag`, `count`, `size`, `files`, "
            "`version` |\n"
            "| `bare` | artifact | Bare | none |\n");
}

TEST(DescribeTest, TellsOptionsWithTypesBoundsAndDefaults) {
  const std::string text = describe(kSample);
  EXPECT_THAT(text, HasSubstr("sample - A sample"));
  EXPECT_THAT(text, HasSubstr("suite (text, one of bookworm, trixie, default bookworm)"));
  EXPECT_THAT(text, HasSubstr("name (text, required)"));
  EXPECT_THAT(text, HasSubstr("count (number, 1 to 9, default 3)"));
  EXPECT_THAT(text, HasSubstr("size (size, at least 1 MiB)"));
}

}  // namespace
}  // namespace kiln::stage
