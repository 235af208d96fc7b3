// The program kiln-env itself.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/runner.hpp"
#include "host/temp_dir.hpp"

namespace kiln::env {
namespace {

host::Finished run(std::vector<std::string> words, const std::string& input) {
  host::Command command(std::move(words));
  command.input = input;
  return host::system_runner()->run(command);
}

TEST(ProgramTest, FlattensStandardInput) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{KILN_ENV, "flatten", "a"},
                                                {KILN_ENV, "flatten", "a", "-"},
                                                {KILN_ENV, "flatten", "a", "--file"}}) {
    const host::Finished done = run(words, "a: {b: x y}\n");
    EXPECT_EQ(done.exit, 0) << done.err;
    EXPECT_EQ(done.out, "A_B='x y'\n");
  }
  EXPECT_EQ(run({KILN_ENV, "flatten", "a"}, std::string(2 << 20, '#')).exit, 2);
}

TEST(ProgramTest, IsFlatyamlByItsName) {
  const host::TempDir folder;
  for (const char* name : {"flatyaml", "flatyaml.py"}) {
    std::filesystem::create_symlink(KILN_ENV, folder.path() / name);
    EXPECT_EQ(run({(folder.path() / name).string(), "."}, "a: 1\n").out, "A=1\n");
  }
}

// It has to fit into the image and to run there.
TEST(ProgramTest, NeedsNoLibraryOfImagesAndGuests) {
  const std::string needed = run({"ldd", KILN_ENV}, "").out;
  EXPECT_THAT(needed, testing::HasSubstr("libc.so"));
  EXPECT_THAT(needed, testing::Not(testing::HasSubstr("guestfs")));
}

}  // namespace
}  // namespace kiln::env
