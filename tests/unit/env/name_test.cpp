#include "env/name.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "host/runner.hpp"

namespace kiln::env {
namespace {

TEST(NameTest, IsLettersDigitsAndUnderscoresWithNoDigitFirst) {
  for (const char* name : {"A", "a", "_", "_9", "APP_DOMAIN_0"}) EXPECT_TRUE(is_name(name)) << name;
  for (const char* name : {"", "9", "0A", "A-B", "A B", "A=", "A\n", "\xc3\x84", "A.B", "$A", "A[0]"})
    EXPECT_FALSE(is_name(name)) << name;
  EXPECT_FALSE(is_name(std::string_view("A\0", 2)));
}

TEST(NameTest, WhatShellAndLoaderObeyIsReserved) {
  for (const char* name : {"PATH", "IFS", "ENV", "LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "BASHOPTS",
                           "PS4", "PROMPT_COMMAND", "SHELLOPTS", "UID", "LC_ALL", "TMOUT", "OPTIND", "_"})
    EXPECT_TRUE(is_reserved(name)) << name;
  for (const char* name : {"APPLIANCE_DOMAIN", "PATHS", "APP_PATH", "HOSTNAME", "LD", "ECS_GIT_BRANCH"})
    EXPECT_FALSE(is_reserved(name)) << name;
}

// What bash knows before anybody has set anything has a meaning of bash's own, but for four that it only
// tells.
TEST(NameTest, EveryVariableThatBashSetsItselfIsReserved) {
  host::Command command({"bash", "--norc", "-c", "compgen -v"});
  command.clear_env = true;
  const host::Finished done = host::system_runner()->run(command);
  ASSERT_EQ(done.exit, 0) << done.err;
  const auto names = base::lines(done.out);
  EXPECT_GT(names.size(), 15U);
  for (const std::string& name : names) {
    if (name == "HOSTNAME" || name == "HOSTTYPE" || name == "MACHTYPE" || name == "OSTYPE") continue;
    EXPECT_TRUE(is_reserved(name)) << name;
  }
}

}  // namespace
}  // namespace kiln::env
