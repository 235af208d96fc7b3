#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdexcept>
#include <unistd.h>

#include "base/error.hpp"
#include "cli/verbs.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/temp_dir.hpp"

namespace kiln::cli {
namespace {

using testing::HasSubstr;

// Puts a file in the place of this process's standard input or output.
class Instead {
 public:
  Instead(int stream, const std::filesystem::path& file, int flags)
      : stream_(stream), kept_(::fcntl(stream, F_DUPFD_CLOEXEC, 3)) {
    const host::Fd opened(::open(file.c_str(), flags | O_CLOEXEC, 0600));
    if (!opened || ::dup2(opened.get(), stream) < 0) throw std::runtime_error("cannot open " + file.string());
  }
  ~Instead() { ::dup2(kept_.get(), stream_); }
  Instead(const Instead&) = delete;
  Instead& operator=(const Instead&) = delete;

 private:
  int stream_;
  host::Fd kept_;
};

TEST(HandOverTest, TheProgramHasKilnsOwnInputAndOutput) {
  const host::TempDir dir;
  host::write_file(dir.path() / "in", "echo seen; exit 3\n");
  int status = -1;
  {
    const Instead in(STDIN_FILENO, dir.path() / "in", O_RDONLY);
    const Instead out(STDOUT_FILENO, dir.path() / "out", O_WRONLY | O_CREAT);
    status = hand_over({"sh"});
  }
  EXPECT_EQ(status, 3);
  EXPECT_EQ(host::read_file(dir.path() / "out"), "seen\n");
}

TEST(HandOverTest, DeathByASignalIsAStatusAndAMissingProgramAnError) {
  EXPECT_EQ(hand_over({"sh", "-c", "kill -PIPE $$"}), 128 + SIGPIPE);
  try {
    hand_over({"no-such-program-of-kiln"});
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    EXPECT_THAT(error.what(), HasSubstr("cannot run 'no-such-program-of-kiln'"));
  }
}

TEST(HandOverTest, OnATerminalTheCommandHasItsOwnEnvironmentAndWritesNoResults) {
  const host::TempDir dir;
  host::Command command{"/bin/sh", "-c", "env; exit 4"};
  command.clear_env = true;
  command.env = {{"ONLY", "this"}, {"NOT", std::nullopt}};
  int status = -1;
  {
    const Instead out(STDOUT_FILENO, dir.path() / "out", O_WRONLY | O_CREAT);
    const Instead err(STDERR_FILENO, dir.path() / "err", O_WRONLY | O_CREAT);
    status = hand_over_terminal(command);
  }
  EXPECT_EQ(status, 4);
  EXPECT_EQ(host::read_file(dir.path() / "out"), "");
  const std::string err = host::read_file(dir.path() / "err");
  EXPECT_THAT(err, HasSubstr("ONLY=this\n"));
  EXPECT_THAT(err, testing::Not(HasSubstr("HOME=")));
}

}  // namespace
}  // namespace kiln::cli
