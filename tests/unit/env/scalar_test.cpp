#include "env/scalar.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "host/runner.hpp"

namespace kiln::env {
namespace {

yaml::Node value_of(const std::string& yaml) {
  std::vector<base::Error> errors;
  const yaml::Node root = yaml::Node::parse("v: " + yaml + "\n", "t.yml", errors);
  EXPECT_TRUE(errors.empty()) << yaml;
  return *root.find("v");
}

TEST(ScalarTest, FlagsAreThoseOfYaml11) {
  for (const char* yes : {"true", "True", "yes", "YES", "on", "On"})
    EXPECT_EQ(flag_of(value_of(yes)), true) << yes;
  for (const char* no : {"false", "FALSE", "no", "No", "off"}) EXPECT_EQ(flag_of(value_of(no)), false) << no;
  for (const char* other : {"y", "n", "'true'", "tRUE", "1", "[true]", "~"})
    EXPECT_EQ(flag_of(value_of(other)), std::nullopt) << other;
}

// PyYAML reads the file for cloud-init and for Salt: what it says is what counts.
TEST(ScalarTest, MeansWhatPyYamlReads) {
  const std::vector<std::string> texts = {"1",
                                          "0",
                                          "-7",
                                          "+12",
                                          "0123",
                                          "0x1F",
                                          "0b101",
                                          "1_000",
                                          "12:30",
                                          "12:30:45",
                                          "190:20:30",
                                          "1.5",
                                          ".5",
                                          "1.",
                                          "1e3",
                                          "1.0e+3",
                                          "1.0e3",
                                          ".inf",
                                          "-.INF",
                                          ".nan",
                                          "08",
                                          "0o17",
                                          "1.2.3",
                                          "2020-01-02",
                                          "2020-1-2",
                                          "2001-12-14t21:59:43.10-05:00",
                                          "2001-12-14 21:59:43",
                                          "abc",
                                          "1a",
                                          "a1",
                                          "0123abc",
                                          "e3b0c44",
                                          "1e10",
                                          "yes",
                                          "No",
                                          "on",
                                          "y",
                                          "true",
                                          "TRUE",
                                          "'1'",
                                          "\"yes\"",
                                          "10.0.0.1",
                                          "::1",
                                          "a:b",

                                          "--x",
                                          "1 2",
                                          "2020-01-02x",
                                          "1__0",
                                          "_1",
                                          "0x",
                                          "0b2",
                                          "1:99",
                                          "+.5",
                                          "-0"};
  const host::Command python = [&] {
    host::Command command({"python3", "-c", R"(
import datetime, json, sys, yaml
def meaning(text):
    value = yaml.safe_load("v: " + text)["v"]
    if isinstance(value, bool): return "flag"
    if isinstance(value, (int, float)): return "number"
    return "date" if isinstance(value, datetime.date) else "text"
def safe(text):
    try: return meaning(text)
    except ValueError: return "number"
json.dump([safe(text) for text in json.load(sys.stdin)], sys.stdout)
)"});
    command.input = nlohmann::json(texts).dump();
    return command;
  }();
  const host::Finished done = host::system_runner()->run(python);
  ASSERT_EQ(done.exit, 0) << done.err;
  const auto wanted = nlohmann::json::parse(done.out).get<std::vector<std::string>>();
  ASSERT_EQ(wanted.size(), texts.size());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const char* const names[] = {"text", "flag", "number", "date"};
    EXPECT_EQ(names[static_cast<int>(meaning(value_of(texts[i])))], wanted[i]) << texts[i];
  }
}

TEST(ScalarTest, StripsTheWhiteSpaceOfUnicode) {
  EXPECT_EQ(stripped(" \t\n\xc2\xa0\xe3\x80\x80 a  b\xe2\x80\xa8\r\n"), "a  b");
  EXPECT_EQ(stripped("\x1f\x1c"), "");
  EXPECT_EQ(stripped(""), "");
  EXPECT_EQ(stripped("\xe2\x80\x8b"), "\xe2\x80\x8b") << "a zero width space is none";
}

TEST(ScalarTest, WhatIsShownIsOneShortLine) {
  EXPECT_EQ(shown("a\nb\tc\x1b[31m"), "a b c");
  EXPECT_EQ(shown(std::string(200, 'x')), std::string(60, 'x') + "...");
}

}  // namespace
}  // namespace kiln::env
