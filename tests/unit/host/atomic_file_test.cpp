#include "host/atomic_file.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/fd.hpp"

using namespace kiln;
namespace fs = std::filesystem;

namespace {

unsigned mode_of(const fs::path& file) {
  struct stat status{};
  return ::stat(file.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
}

std::vector<std::string> names_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  return names;
}

}  // namespace

TEST(AtomicFile, ReplacesAFileWithTheExactModeWhateverTheUmask) {
  const fakes::TempTree tree({{"file", "old"}});
  const mode_t before = ::umask(077);
  host::write_file(tree / "file", "new", 0644);
  ::umask(before);
  EXPECT_EQ(host::read_file(tree / "file"), "new");
  EXPECT_EQ(mode_of(tree / "file"), 0644U);
  EXPECT_THAT(names_in(tree.path()), testing::ElementsAre("file"));
}

TEST(AtomicFile, LeavesTheOldFileWhenTheNewOneCannotBeWritten) {
  const fakes::TempTree tree({{"file", "old"}});
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const struct rlimit limit{1000, 1000};  // stands for a full disk
    ::setrlimit(RLIMIT_FSIZE, &limit);
    int status = 1;
    try {
      host::write_file(tree / "file", std::string(5000, 'n'));
    } catch (const base::Error& error) {
      status = std::string(error.what()).find((tree / "file").string()) == std::string::npos ? 2 : 0;
    }
    ::_exit(status);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0) << "no error, or one that does not name the file";
  EXPECT_EQ(host::read_file(tree / "file"), "old");
  EXPECT_THAT(names_in(tree.path()), testing::ElementsAre("file")) << "a half-written file was left";
}

TEST(AtomicFile, NamesTheFileThatIsNotThere) {
  try {
    host::read_file("/nonexistent/file");
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_STREQ(error.what(), "cannot read '/nonexistent/file': No such file or directory");
  }
}

TEST(AtomicFile, CopiesHolesAsHoles) {
  const fakes::TempTree tree;
  constexpr off_t size = off_t{64} << 20;
  const host::Fd fd(::open((tree / "from").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640));
  ASSERT_EQ(::ftruncate(fd.get(), size), 0);
  ASSERT_EQ(::pwrite(fd.get(), "middle", 6, size / 2), 6);
  host::copy_sparse(tree / "from", tree / "to");
  struct stat status{};
  ASSERT_EQ(::stat((tree / "to").c_str(), &status), 0);
  EXPECT_EQ(status.st_size, size);
  EXPECT_LT(status.st_blocks * 512, size / 4);
  EXPECT_EQ(mode_of(tree / "to"), 0640U);
  EXPECT_EQ(host::read_file(tree / "from"), host::read_file(tree / "to"));
}

TEST(AtomicFile, LeavesNothingOfACopyThatFails) {
  const fakes::TempTree tree({{"folder/"}});
  EXPECT_THROW(host::copy_sparse(tree / "nonexistent", tree / "to"), base::Error);
  EXPECT_THROW(host::copy_sparse(tree / "folder", tree / "to"), base::Error);
  EXPECT_THAT(names_in(tree.path()), testing::ElementsAre("folder"));
}

TEST(AtomicFile, MovesAFileAndSaysWhichOneItCannotMove) {
  const fakes::TempTree tree({{"a/file", "x"}, {"b/"}});
  host::rename_synced(tree / "a/file", tree / "b/file");
  EXPECT_EQ(host::read_file(tree / "b/file"), "x");
  try {
    host::rename_synced(tree / "a/file", tree / "b/other");
    FAIL() << "no error";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr((tree / "a/file").string()));
  }
}

TEST(AtomicFile, KnowsTheFreeSpaceOfAFolderThatIsYetToBe) {
  const fakes::TempTree tree;
  EXPECT_GT(host::free_space(tree / "not/yet/there"), 0U);
}

TEST(AtomicFile, OfALongFileNoMoreIsReadThanIsAskedFor) {
  const fakes::TempTree tree({{"file", "abcdef"}});
  EXPECT_EQ(host::read_file(tree / "file", 4), "abcd");
  EXPECT_EQ(host::read_file(tree / "file", 6), "abcdef");
  EXPECT_EQ(host::read_file("/dev/zero", 100'000), std::string(100'000, '\0'));
}

TEST(AtomicFile, WhatAKilledWriterLeftGoesWithTheNextWrite) {
  fakes::TempTree tree({{"file", "old"}, {"other/"}});
  EXPECT_EQ(host::part_of(tree / "file"), tree / ".file.kiln-part");
  tree.file(".file.kiln-part", "left", 0644);
  const host::Fd held(::open((tree / ".file.kiln-part").c_str(), O_RDONLY | O_CLOEXEC));
  host::write_file(tree / "file", "new", 0600);
  EXPECT_EQ(host::read_file(tree / "file"), "new");
  EXPECT_EQ(mode_of(tree / "file"), 0600U);
  char byte = 0;
  EXPECT_EQ(::pread(held.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'l') << "the secret went into a file that somebody had open";

  tree.link("other/.file.kiln-part", tree / "file");
  host::write_new_file(tree / "other/file", "newer", 0600);
  EXPECT_EQ(host::read_file(tree / "file"), "new");
  EXPECT_THAT(names_in(tree / "other"), testing::ElementsAre("file"));
  EXPECT_THAT(names_in(tree.path()), testing::UnorderedElementsAre("file", "other"));
}

TEST(AtomicFile, WritersOfOneFileDoNotDisturbEachOther) {
  const fakes::TempTree tree;
  std::vector<std::thread> writers;
  for (const char letter : {'a', 'b', 'c', 'd'}) {
    writers.emplace_back([&tree, letter] {
      for (int i = 0; i < 50; ++i) host::write_file(tree / "file", std::string(5000, letter));
    });
  }
  for (std::thread& writer : writers) writer.join();
  const std::string content = host::read_file(tree / "file");
  EXPECT_EQ(content, std::string(5000, content.at(0)));
  EXPECT_THAT(names_in(tree.path()), testing::ElementsAre("file"));
}

TEST(AtomicFile, ANewFileReplacesNoneAndLeavesNothingBeside) {
  const fakes::TempTree tree({{"file", "old"}});
  EXPECT_THROW(host::write_new_file(tree / "file", "new", 0600), base::Error);
  EXPECT_EQ(host::read_file(tree / "file"), "old");
  host::write_new_file(tree / "other", "new", 0600);
  EXPECT_EQ(host::read_file(tree / "other"), "new");
  EXPECT_EQ(mode_of(tree / "other"), 0600U);
  EXPECT_THAT(names_in(tree.path()), testing::UnorderedElementsAre("file", "other"));
}
