#include "stage/key_writer.hpp"

#include <filesystem>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>

#include "base/digest.hpp"
#include "host/temp_dir.hpp"

namespace kiln::stage {
namespace {

using testing::HasSubstr;
using testing::Not;

class KeyWriterTest : public testing::Test {
 protected:
  static host::Host fake() {
    host::Host host;
    host.tool_version = [](const std::string& program) { return program + "-package 1.2"; };
    return host;
  }
  host::Host host_ = fake();
  KeyWriter writer_{host_};
};

TEST_F(KeyWriterTest, EveryInputIsALine) {
  writer_.line("stage x");
  writer_.option("name", "\"value\"");
  writer_.tool("mke2fs");
  writer_.fact("machine", "pc");
  EXPECT_EQ(writer_.text(),
            "stage x\noption name = \"value\"\ntool mke2fs mke2fs-package 1.2\nfact machine = pc\n");
}

TEST_F(KeyWriterTest, NoValueCanPretendToBeAnotherLine) {
  writer_.fact("a", "x\nfact b = y");
  EXPECT_EQ(writer_.text(), "fact a = \"x\\nfact b = y\"\n");
  EXPECT_THROW(writer_.line("x\ny"), std::logic_error);
}

TEST_F(KeyWriterTest, DifferentValuesStayDifferent) {
  KeyWriter quoted(host_);
  writer_.fact("a", "x\ny");
  quoted.fact("a", "\"x\\ny\"");
  EXPECT_NE(writer_.text(), quoted.text());
}

TEST_F(KeyWriterTest, OfATreeTheNodesGivenAloneAreServed) {
  const host::TempDir dir;
  for (const char* name : {"in", "out"}) std::ofstream(dir.path() / name) << "x";
  std::vector<host::TreeNode> nodes = host::walk(dir.path());
  nodes.pop_back();
  writer_.input("tree", dir.path(), nodes);
  EXPECT_THAT(writer_.text(), HasSubstr("\"in\""));
  EXPECT_THAT(writer_.text(), Not(HasSubstr("\"out\"")));
  EXPECT_EQ(writer_.inputs().at(dir.path()).size(), 1U);
}

TEST_F(KeyWriterTest, TreesEnterByContentAndNotByPlace) {
  const host::TempDir dir;
  for (const char* name : {"one", "two"}) {
    std::filesystem::create_directories(dir.path() / name / "etc");
    std::ofstream(dir.path() / name / "etc/motd") << "hello";
  }
  writer_.input("tree", dir.path() / "one");
  KeyWriter other(host_);
  other.input("tree", dir.path() / "two");
  EXPECT_EQ(writer_.text(), other.text());
  EXPECT_THAT(writer_.text(), HasSubstr("\n  file 0644 " + base::sha256("hello") + " \"etc/motd\"\n"));
  EXPECT_THAT(writer_.text(), Not(HasSubstr(dir.path().string())));
}

TEST_F(KeyWriterTest, RemembersWhatItDigested) {
  const host::TempDir dir;
  std::ofstream(dir.path() / "f") << "x";
  writer_.input("file", dir.path() / "f");
  ASSERT_EQ(writer_.inputs().size(), 1U);
  EXPECT_EQ(writer_.inputs().begin()->second.at(0).sha256, base::sha256("x"));
}

}  // namespace
}  // namespace kiln::stage
