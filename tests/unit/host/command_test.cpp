#include "host/command.hpp"

#include <gtest/gtest.h>

using kiln::host::Command;
using kiln::host::Finished;

TEST(Command, CanBePastedIntoAShell) {
  Command command{"echo", "a b"};
  command.env["LC_ALL"] = "C.UTF-8";
  command.env["HOME"] = std::nullopt;
  command.cwd = "/tmp/x y";
  EXPECT_EQ(command.text(), "cd '/tmp/x y' && env -u HOME LC_ALL=C.UTF-8 echo 'a b'");
}

TEST(Command, ShowsOfAnEnvironmentOfItsOwnTheNamesAlone) {
  Command command{"apt-get", "update"};
  command.clear_env = true;
  command.env = {{"http_proxy", "http://me:s3cret@proxy"}, {"HOME", std::nullopt}, {"PATH", "/bin"}};
  EXPECT_EQ(command.text(), "env -i PATH=\"$PATH\" http_proxy=\"$http_proxy\" apt-get update");
}

TEST(Finished, TellsDeathByASignalFromAnExitStatus) {
  Finished finished;
  finished.exit = 2;
  EXPECT_EQ(finished.how(), "exit status 2");
  EXPECT_FALSE(finished.ok());
  finished.exit = -1;
  finished.signal = 9;
  EXPECT_EQ(finished.how(), "killed by signal 9 (Killed)");
  EXPECT_FALSE(finished.ok());
}
