#include "host/libraries.hpp"

#include <filesystem>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

namespace kiln::host {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Key;
using testing::Pair;

TEST(LibrariesTest, OnlyWhatLiesInAFileIsALibrary) {
  const Loaded loaded = parse_list(
      "\tlinux-vdso.so.1 (0x00007fa8649f1000)\n"
      "\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007fa8648ac000)\n"
      "\tlibstrange name.so => /opt/a (b)/libstrange name.so (0x00007fa8648ac000)\n"
      "\t/lib64/ld-linux-x86-64.so.2 (0x00007fa8649f3000)\n",
      "/ld.so");
  EXPECT_EQ(loaded.loader, "/ld.so");
  EXPECT_THAT(loaded.libraries,
              ElementsAre(Pair("libstrange name.so", fs::path("/opt/a (b)/libstrange name.so")),
                          Pair("libz.so.1", fs::path("/lib/x86_64-linux-gnu/libz.so.1"))));
}

TEST(LibrariesTest, OneThatIsNotFoundIsNamed) {
  try {
    parse_list("\tlibgone.so.1 => not found\n", "/ld.so");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("libgone.so.1"));
  }
}

TEST(LibrariesTest, ThisProgramIsLoadedWithFilesThatAreThere) {
  const Loaded loaded = loaded_with(fs::canonical("/proc/self/exe"), Host::system());
  EXPECT_THAT(loaded.libraries, testing::Contains(Key("libc.so.6")));
  EXPECT_FALSE(fs::is_symlink(loaded.loader));
  for (const auto& [name, file] : loaded.libraries) {
    EXPECT_TRUE(fs::is_regular_file(file)) << name;
    EXPECT_FALSE(fs::is_symlink(file)) << name;
  }
}

TEST(LibrariesTest, AScriptHasNone) {
  const fakes::TempTree tree({{"script", "#!/bin/sh\n", 0755}});
  EXPECT_THROW(loaded_with(tree / "script", Host::system()), base::Error);
}

}  // namespace
}  // namespace kiln::host
