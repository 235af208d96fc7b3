#include "stage/option.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>

namespace kiln::stage {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(OptionTest, ValuesComeBackAsTheyWereSet) {
  Options options;
  options.set("text", std::string("x"), {});
  options.set("flag", true, {});
  options.set("number", std::int64_t{7}, {});
  options.set("texts", std::vector<std::string>{"a", "b"}, {});
  EXPECT_EQ(options.text("text"), "x");
  EXPECT_TRUE(options.flag("flag"));
  EXPECT_EQ(options.number("number"), 7);
  EXPECT_THAT(options.texts("texts"), ElementsAre("a", "b"));
  EXPECT_EQ(options.path("text"), "x");
  EXPECT_THAT(options.paths("texts"), ElementsAre("a", "b"));
}

TEST(OptionTest, AnOptionWithoutAValueIsEmptyAndNotThere) {
  Options options;
  options.set("none", {}, {});
  EXPECT_FALSE(options.has("none"));
  EXPECT_FALSE(options.has("unheard"));
  EXPECT_EQ(options.text("none"), "");
  EXPECT_FALSE(options.flag("none"));
  EXPECT_THAT(options.texts("none"), IsEmpty());
}

TEST(OptionTest, AStageThatForgotItsOwnTableIsABug) {
  Options options;
  options.set("text", std::string("x"), {});
  EXPECT_THROW((void)options.text("unheard"), std::logic_error);
  EXPECT_THROW((void)options.number("text"), std::logic_error);
}

TEST(OptionTest, PlacesAreTheValuesOrTheSteps) {
  Options options;
  options.step = {"p.yml", 3, 5};
  options.set("a", true, {"p.yml", 4, 9});
  EXPECT_EQ(options.where("a").line, 4);
  EXPECT_EQ(options.where("b").line, 3);
}

}  // namespace
}  // namespace kiln::stage
