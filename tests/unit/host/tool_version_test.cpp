#include "host/tool_version.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/host.hpp"
#include "host/host.hpp"

using namespace kiln;

namespace {

fakes::TempTree debian() {
  fakes::TempTree tree({
      {"usr/bin/mmdebstrap", "#!", 0755},
      {"usr/sbin/mke2fs", "ELF", 0755},
      {"usr/local/bin/own", "#!", 0755},
      {"usr/bin/gone", "#!", 0755},
      {"var/lib/dpkg/info/mmdebstrap.list", "/.\n/usr\n/usr/bin\n/usr/bin/mmdebstrap\n"},
      {"var/lib/dpkg/info/e2fsprogs:amd64.list", "/.\n/sbin\n/sbin/mke2fs\n/sbin/mkfs.ext4\n"},
      {"var/lib/dpkg/info/gone.list", "/.\n/usr/bin/gone\n"},
      {"var/lib/dpkg/status",
       "Package: mmdebstrap\nStatus: install ok installed\nArchitecture: all\nVersion: 1.3.5-7\n\n"
       "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
       "Package: e2fsprogs\nStatus: hold ok installed\nArchitecture: amd64\nDescription: tools\n"
       " Version: 9 is not the version\nVersion: 1.47.0-2\n"},
  });
  tree.link("usr/sbin/mkfs.ext4", "mke2fs");
  return tree;
}

}  // namespace

TEST(ToolVersion, IsThatOfThePackageThatBroughtTheProgram) {
  const fakes::TempTree tree = debian();
  host::ToolVersions versions(tree.path());
  EXPECT_EQ(versions.of(tree / "usr/bin/mmdebstrap"), "mmdebstrap 1.3.5-7");
  EXPECT_EQ(versions.of(tree / "usr/sbin/mkfs.ext4"), "e2fsprogs 1.47.0-2") << "a link, and a merged /usr";
}

TEST(ToolVersion, OfAProgramWithoutPackageIsAStampOfItsFile) {
  fakes::TempTree tree = debian();
  const std::string before = host::ToolVersions(tree.path()).of(tree / "usr/local/bin/own");
  EXPECT_THAT(before, testing::StartsWith("/usr/local/bin/own 2 bytes of "));
  tree.file("usr/local/bin/own", "#! changed", 0755);
  EXPECT_NE(host::ToolVersions(tree.path()).of(tree / "usr/local/bin/own"), before);
  EXPECT_THAT(host::ToolVersions(tree.path()).of(tree / "usr/bin/gone"), testing::HasSubstr("bytes of"))
      << "of a package that was removed";
}

TEST(ToolVersion, OfAMissingProgramIsAbsent) {
  const fakes::TempTree tree = debian();
  EXPECT_EQ(host::ToolVersions(tree.path()).of(tree / "usr/bin/none"), "absent");
  EXPECT_EQ(host::Host::system().tool_version("kiln-no-such-program"), "absent");
}

TEST(ToolVersion, NeedsNoPackageDatabase) {
  const fakes::TempTree tree({{"bin/tool", "x", 0755}});
  EXPECT_THAT(host::ToolVersions(tree.path()).of(tree / "bin/tool"),
              testing::StartsWith("/bin/tool 1 bytes of"));
}
