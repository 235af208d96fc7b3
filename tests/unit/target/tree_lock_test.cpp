#include "target/tree_lock.hpp"

#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "fakes/host.hpp"

namespace kiln::target {
namespace {

class TreeLock : public ::testing::Test {
 protected:
  // What is wrong, one a line; "" when nothing is.
  std::string errors(const std::string& lock) const {
    try {
      check_tree_lock(lock, "image.lock", tree_.path() / "built", host::walk(tree_.path() / "project"));
    } catch (const base::Errors& error) {
      EXPECT_EQ(error.exit(), base::Exit::usage);
      return error.what();
    }
    return "";
  }

  const fakes::TempTree tree_{{{"built/lib/other.jar", "of others"},
                               {"built/WEB-INF/classes/Page.class", "compiled"},
                               {"built/conf/own.xml", "ours"},
                               {"project/src/image/own.xml", "ours"}}};
  const std::string line_ = base::sha256("of others") + "  lib/other.jar\n";
};

TEST_F(TreeLock, WhatItNamesIsAsItSaysAndTheRestIsTheProjects) {
  EXPECT_EQ(errors(line_), "");
  EXPECT_EQ(errors("# Tomcat\n\n" + base::sha256("of others") + "  ./lib/other.jar\n"), "");
}

TEST_F(TreeLock, AFileOfOthersThatNoLineNamesIsRefused) {
  EXPECT_EQ(errors(""),
            "image.lock: the tree has 'lib/other.jar', which no line names; if it was meant to be "
            "there, write \"" +
                base::sha256("of others") + "  lib/other.jar\"");
}

TEST_F(TreeLock, AnotherDigestAndAFileThatIsNotThereAreToldByTheirLines) {
  EXPECT_EQ(
      errors(std::string(64, 'a') + "  lib/other.jar\n" + std::string(64, 'b') + "  lib/none.jar\n"),
      "image.lock:1:1: 'lib/other.jar' has the sha256 " + base::sha256("of others") + ", not " +
          std::string(64, 'a') +
          "; if it was meant to change, write its new digest\n"
          "image.lock:2:1: the tree has no file 'lib/none.jar'; if it was meant to change, write its new "
          "digest");
}

TEST_F(TreeLock, ALineThatIsNoneAndAPathThatLeavesTheTreeAreRefused) {
  for (const std::string& line :
       {std::string("lib/other.jar"), std::string(64, 'a'), std::string(64, 'a') + "  /etc/passwd",
        std::string(64, 'a') + "  lib/../../project/src/image/own.xml"})
    EXPECT_EQ(
        errors(line_ + line),
        "image.lock:2:1: expected \"SHA256  PATH\" of a file in the tree; write it as `sha256sum` prints it")
        << line;
}

}  // namespace
}  // namespace kiln::target
