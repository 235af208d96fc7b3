#include "target/apt.hpp"

#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::target {
namespace {

TEST(Apt, NamesThatAptWouldTakeForSomethingElseAreNone) {
  for (const char* good : {"nginx", "g++", "libc6:amd64", "python3.11", "nginx=1.22.1-9+deb12u1", "0ad"}) {
    EXPECT_TRUE(is_package(good)) << good;
  }
  for (const char* bad : {"", "n", "nginx-", "-y", "--purge", "nginx*", "mail-server^", "Nginx", "a b",
                          "nginx=", "nginx=~x", "nginx:", "./x.deb", "nginx/stable", "linux."}) {
    EXPECT_FALSE(is_package(bad)) << bad;
  }
}

TEST(Apt, ListsAreReadWithTheirPlaces) {
  const auto list = read_package_list("# tools\nnginx   # web\n\n  curl\n", "tools.txt");
  ASSERT_EQ(list.size(), 2U);
  EXPECT_EQ(list[0].name, "nginx");
  EXPECT_EQ(list[1].name, "curl");
  EXPECT_EQ(list[1].where.text(), "tools.txt:4:1");
  const std::string errors = tests::error_of([] { read_package_list("nginx curl\nok\n-y\n", "tools.txt"); });
  EXPECT_NE(errors.find("tools.txt:1:1: 'nginx curl' is not a package name"), std::string::npos) << errors;
  EXPECT_NE(errors.find("tools.txt:3:1"), std::string::npos) << errors;
}

TEST(Apt, AnUnknownPackageQuotesAptAndGuesses) {
  tests::FakeSystem system(false);
  system.on({"apt-get"}, fakes::failed(100, "Reading package lists...\nE: Unable to locate package ngnix\n"));
  system.on({"apt-cache", "pkgnames", "ng"}, fakes::printed("ngetty\nnginx\nngraph-gtk\n"));
  Apt apt(system);
  const std::string error = tests::error_of([&] { apt.install({"ngnix"}, false); });
  EXPECT_NE(error.find("Unable to locate package ngnix; did you mean 'nginx'?"), std::string::npos) << error;
}

TEST(Apt, ANameTakenForAnExpressionIsAnError) {
  tests::FakeSystem system(false);
  system.on({"apt-get"}, fakes::printed("Note, selecting 'libx1' for regex 'lib.1'\n"));
  Apt apt(system);
  EXPECT_NE(tests::error_of([&] { apt.install({"lib.1"}, false); }).find("for regex"), std::string::npos);
}

TEST(Apt, ReleasesDoNotNameTheMirror) {
  tests::FakeSystem system(false);
  system.on({"find", "/var/lib/apt/lists"},
            fakes::printed(std::string(64, 'b') +
                           "  /var/lib/apt/lists/mirror.test_debian_dists_bookworm_InRelease\n" +
                           std::string(64, 'a') +
                           "  /var/lib/apt/lists/mirror.test_debian_dists_bookworm-updates_InRelease\n"));
  Apt apt(system);
  EXPECT_EQ(apt.releases(), (std::vector<std::string>{std::string(64, 'a') + " bookworm-updates_InRelease",
                                                      std::string(64, 'b') + " bookworm_InRelease"}));
}

TEST(Apt, InstalledLeavesOutWhatIsRemoved) {
  tests::FakeSystem system(false);
  system.on({"dpkg-query"}, fakes::printed("ii  nginx 1.22\nrc  old 1\nii  libc6 2.36\n"));
  Apt apt(system);
  EXPECT_EQ(apt.installed(), (std::map<std::string, std::string>{{"libc6", "2.36"}, {"nginx", "1.22"}}));
}

TEST(Apt, ProgressForPeople) {
  EXPECT_EQ(progress("Setting up nginx (1.22.1-9) ..."), "setting up nginx");
  EXPECT_EQ(progress("Unpacking nginx (1.22.1-9) ..."), "unpacking nginx");
  EXPECT_EQ(progress("Reading package lists..."), "");
}

}  // namespace
}  // namespace kiln::target
