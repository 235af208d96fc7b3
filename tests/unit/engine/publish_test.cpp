#include "engine/publish.hpp"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PublisherTest : public testing::Test {
 protected:
  PublisherTest() {
    host.env = [](const std::string&) { return std::nullopt; };
    host::write_file(dir.path() / "image", "content", 0444);
  }
  static struct stat status(const fs::path& path) {
    struct stat found{};
    EXPECT_EQ(::lstat(path.c_str(), &found), 0) << path;
    return found;
  }
  host::TempDir dir;
  host::Host host;
};

TEST_F(PublisherTest, MakesAFileOfItsOwnAndNoLink) {
  Publisher publisher(host, dir.path() / "out" / "demo");
  const auto file = publisher.file(dir.path() / "image", "demo.qcow2");
  EXPECT_EQ(file, dir.path() / "out" / "demo" / "demo.qcow2");
  EXPECT_EQ(host::read_file(file), "content");
  EXPECT_EQ(status(file).st_nlink, 1U);
  EXPECT_EQ(status(file).st_mode & 0777U, 0644U);
  EXPECT_NE(status(file).st_ino, status(dir.path() / "image").st_ino);
}

TEST_F(PublisherTest, LeavesAFileThatIsThereAlready) {
  Publisher publisher(host, dir.path() / "out");
  const auto sha256 = base::sha256("content");
  const auto inode = status(publisher.file(dir.path() / "image", "a", sha256)).st_ino;
  EXPECT_EQ(status(publisher.file(dir.path() / "image", "a", sha256)).st_ino, inode);
  host::write_file(dir.path() / "out" / "a", "CONTENT");
  publisher.file(dir.path() / "image", "a", sha256);
  EXPECT_EQ(host::read_file(dir.path() / "out" / "a"), "content");
}

TEST_F(PublisherTest, ReachesAnotherFileSystem) {
  // /dev/shm is one wherever kiln runs; where it is not the test has nothing to say.
  std::error_code error;
  if (!fs::is_directory("/dev/shm", error) || status("/dev/shm").st_dev == status(dir.path()).st_dev)
    GTEST_SKIP() << "skip: no second file system at /dev/shm";
  const host::TempDir other("/dev/shm");
  Publisher publisher(host, other.path() / "out");
  const auto file = publisher.file(dir.path() / "image", "demo.qcow2");
  EXPECT_EQ(host::read_file(file), "content");
  EXPECT_NE(status(file).st_dev, status(dir.path() / "image").st_dev);
}

TEST_F(PublisherTest, UnderSudoAllBelongsToTheCaller) {
  if (::geteuid() != 0) GTEST_SKIP() << "skip: only root gives files away";
  host.root = true;
  host.env = [](const std::string& name) -> std::optional<std::string> {
    if (name == "SUDO_UID") return "1234";
    if (name == "SUDO_GID") return "2345";
    return std::nullopt;
  };
  Publisher publisher(host, dir.path() / "out" / "demo");
  publisher.file(dir.path() / "image", "demo.qcow2");
  publisher.text("image.json", "{}");
  for (const auto* path : {"out", "out/demo", "out/demo/demo.qcow2", "out/demo/image.json"}) {
    EXPECT_EQ(status(dir.path() / path).st_uid, 1234U) << path;
    EXPECT_EQ(status(dir.path() / path).st_gid, 2345U) << path;
  }
  EXPECT_NE(status(dir.path()).st_uid, 1234U) << "what was there before stays as it was";
}

TEST_F(PublisherTest, AnOutputThatCannotBeMadeIsAnErrorWithTheWay) {
  host::write_file(dir.path() / "file", "x");
  try {
    const Publisher publisher(host, dir.path() / "file" / "out");
    FAIL() << "published";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("output directory"));
    EXPECT_THAT(error.hint_text(), HasSubstr("--output"));
  }
}

TEST_F(PublisherTest, AskingForMoreRoomThanThereIsNamesFileSystemAndNeed) {
  try {
    require_space(dir.path() / "not" / "yet", 1ULL << 60, "demo.qcow2");
    FAIL() << "there is room";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("file system at " + mount_point(dir.path()).string() + " has"));
    EXPECT_THAT(error.message(), HasSubstr("demo.qcow2 needs"));
  }
}

}  // namespace
}  // namespace kiln::engine
