#include "image/system.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

namespace kiln::image {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Recorded : public System {
 public:
  host::Finished run(const Exec& exec, const host::OnOutput&) override {
    execs.push_back(exec);
    return answer;
  }
  [[nodiscard]] bool booted() const override { return false; }
  std::vector<Exec> execs;
  host::Finished answer = fakes::printed("");
};

TEST(System, writes_by_install_with_the_mode_in_octal) {
  Recorded system;
  system.write("/etc/x y", "content", 0600);
  ASSERT_EQ(system.execs.size(), 1U);
  EXPECT_THAT(system.execs[0].argv,
              ElementsAre("install", "-D", "-m", "600", "-T", "/dev/stdin", "/etc/x y"));
  EXPECT_EQ(system.execs[0].input, "content");
}

TEST(System, reads_what_cat_prints) {
  Recorded system;
  system.answer = fakes::printed("text\n");
  EXPECT_EQ(system.read("/etc/hostname"), "text\n");
}

TEST(System, unpacks_a_local_tar_with_owners_by_number_and_links_to_directories_kept) {
  Recorded system;
  system.unpack("/local/x.tar", "/opt");
  ASSERT_EQ(system.execs.size(), 2U);
  EXPECT_THAT(system.execs[0].argv, ElementsAre("mkdir", "-p", "--", "/opt"));
  EXPECT_THAT(system.execs[1].argv, ::testing::IsSupersetOf({"--numeric-owner", "--keep-directory-symlink"}));
  EXPECT_EQ(system.execs[1].input_file, "/local/x.tar");
}

TEST(System, a_failed_command_is_an_error_with_its_last_words) {
  Recorded system;
  system.answer = fakes::failed(2, "cannot do that\n");
  Exec exec;
  exec.argv = {"tool", "two words"};
  exec.purpose = "doing that";
  try {
    system.require(exec);
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("doing that failed: exit status 2"));
    EXPECT_THAT(error.detail_text(), HasSubstr("image$ tool 'two words'"));
    EXPECT_THAT(error.detail_text(), HasSubstr("cannot do that"));
  }
}

TEST(ShellTest, IsALoginShellOnATerminalOfTheRightSize) {
  Terminal terminal;
  terminal.rows = 50;
  terminal.columns = 132;
  const auto argv = shell_command(terminal);
  EXPECT_EQ(argv.front(), "sh");
  EXPECT_THAT(argv.back(), testing::StartsWith("stty echo rows 50 columns 132 "));
}

}  // namespace
}  // namespace kiln::image
