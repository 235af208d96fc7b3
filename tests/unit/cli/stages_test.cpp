#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "stage/stage_set.hpp"
#include "unit/cli/command_line.hpp"

namespace kiln::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::StartsWith;

class StagesTest : public testing::Test {
 protected:
  CommandLine kiln_;
};

TEST_F(StagesTest, AllAreListedWithTheirSummaries) {
  const Said said = kiln_.run({"stages"});
  EXPECT_EQ(said.status, 0);
  for (const stage::StageType* type : stages::all()) {
    EXPECT_THAT(said.out, HasSubstr(std::string(type->name)));
    EXPECT_THAT(said.out, HasSubstr(std::string(type->summary)));
  }
}

TEST_F(StagesTest, EachExplainsItselfWithAnExampleAndItsOptions) {
  for (const stage::StageType* type : stages::all()) {
    const Said said = kiln_.run({"stages", std::string(type->name)});
    EXPECT_EQ(said.status, 0);
    EXPECT_THAT(said.out, HasSubstr("- " + std::string(type->name) + ":")) << "no example";
    for (const stage::Option& option : type->options) {
      EXPECT_THAT(said.out, HasSubstr("\n  " + std::string(option.name) + " ("));
      EXPECT_NE(option.doc, "") << type->name << ": " << option.name;
    }
  }
}

TEST_F(StagesTest, AnUnknownStageGetsAGuess) {
  const Said said = kiln_.run({"stages", "overly"});
  EXPECT_EQ(said.status, 2);
  EXPECT_THAT(said.err, HasSubstr("unknown stage 'overly', did you mean 'overlay'?"));
}

TEST_F(StagesTest, JsonSchemaAndMarkdownAreGeneratedFromTheTables) {
  const json list = json::parse(kiln_.run({"stages", "--json"}).out);
  EXPECT_EQ(list["stages"].size(), stages::all().size());
  EXPECT_EQ(list["stages"][0]["name"], "base_debian");
  EXPECT_EQ(json::parse(kiln_.run({"stages", "--schema"}).out)["title"], "kiln profile");
  EXPECT_THAT(kiln_.run({"stages", "--markdown"}).out, StartsWith("| stage | kind |"));
}

}  // namespace
}  // namespace kiln::cli
