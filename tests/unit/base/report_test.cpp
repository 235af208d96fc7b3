#include "base/report.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sstream>

namespace kiln::base {
namespace {

TEST(ReportTest, EachErrorIsALineAndJsonHasAll) {
  const Errors errors(
      {Error("one", Exit::usage).at({"f", 1, 2}).hint("do"), Error("two\x1b[31m", Exit::usage)});
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(report(errors, true, R"({"more": 1})", out, err), 2);
  EXPECT_EQ(err.str(), "error: f:1:2: one; do\nerror: two\n");
  const auto json = nlohmann::json::parse(out.str());
  EXPECT_EQ(json["ok"], false);
  EXPECT_EQ(json["error"]["where"], "f:1:2");
  EXPECT_EQ(json["errors"].size(), 2U);
  EXPECT_EQ(json["more"], 1);
}

TEST(ReportTest, WithoutJsonNothingGoesToTheResults) {
  std::ostringstream out;
  std::ostringstream err;
  EXPECT_EQ(report(Error("no"), false, "", out, err), 1);
  EXPECT_EQ(out.str(), "");
  EXPECT_EQ(err.str(), "error: no\n");
}

}  // namespace
}  // namespace kiln::base
