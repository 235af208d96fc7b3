#include "host/secret_dir.hpp"

#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "fakes/host.hpp"

using namespace kiln;
namespace fs = std::filesystem;

namespace {

bool gone_in_time(const fs::path& path) {
  for (int i = 0; i < 3000 && fs::exists(path); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  return !fs::exists(path);
}

}  // namespace

TEST(SecretDir, IsTheOwnersAloneAndGoesAwayWithAllInIt) {
  fakes::World world;
  fs::path path;
  {
    const host::SecretDir dir(world.host(), "test");
    path = dir.path();
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0700U);
    fs::create_directory(path / "below");
    std::ofstream(path / "below" / "secret") << "canary";
  }
  EXPECT_FALSE(fs::exists(path));
}

TEST(SecretDir, GoesAwayWhenItsOwnerIsKilled) {
  int told[2] = {-1, -1};
  ASSERT_EQ(::pipe2(told, O_CLOEXEC), 0);
  const pid_t owner = ::fork();
  if (owner == 0) {
    fakes::World world;
    const host::SecretDir dir(world.host(), "test");
    std::ofstream(dir.path() / "secret") << "canary";
    const std::string path = dir.path().string();
    static_cast<void>(::write(told[1], path.data(), path.size()));
    while (true) ::pause();
  }
  char buffer[256] = {};
  const ssize_t size = ::read(told[0], buffer, sizeof buffer);
  ASSERT_GT(size, 0);
  const fs::path path(std::string(buffer, static_cast<std::size_t>(size)));
  EXPECT_TRUE(fs::exists(path / "secret"));
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  EXPECT_TRUE(gone_in_time(path)) << path;
  ::close(told[0]);
  ::close(told[1]);
}

TEST(SecretDir, TwoAtOnceAreIndependent) {
  fakes::World world;
  auto one = std::make_unique<host::SecretDir>(world.host(), "test");
  const host::SecretDir two(world.host(), "test");
  const fs::path first = one->path();
  one.reset();
  EXPECT_FALSE(fs::exists(first));
  EXPECT_TRUE(fs::exists(two.path()));
}
