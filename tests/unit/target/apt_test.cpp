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

TEST(Apt, InTheSandboxDpkgKeepsThePathThatFindsTheStandIns) {
  tests::FakeSystem system(false);
  Apt(system).install({"nginx"}, false);
  ASSERT_EQ(system.commands.size(), 1U);
  EXPECT_TRUE(system.ran("-o DPkg::Path= "));
  EXPECT_FALSE(system.commands[0].env.contains("PATH"));
}

TEST(Apt, InAGuestTheBootLoadersProgramsHaveStandInsWhileItInstalls) {
  tests::FakeSystem system(true);
  Apt(system).install({"nginx"}, false);
  const auto lines = system.lines();
  ASSERT_GE(lines.size(), 3U);
  for (const std::string_view name : image::stand_ins) {
    const std::string path = "/run/kiln-tools/" + std::string(name);
    const auto put = std::find_if(system.commands.begin(), system.commands.end(),
                                  [&](const image::Exec& one) { return one.argv.back() == path; });
    ASSERT_NE(put, system.commands.end()) << name;
    EXPECT_EQ(put->input, "#!/bin/sh\nexit 0\n");
  }
  const image::Exec& install = system.commands[system.commands.size() - 2];
  EXPECT_EQ(install.argv.front(), "apt-get");
  EXPECT_TRUE(install.env.at("PATH").starts_with("/run/kiln-tools:/usr/local/sbin:"));
  EXPECT_EQ(lines.back(), "rm -rf -- /run/kiln-tools");
}

TEST(Apt, TheStandInsGoAwayWhenInstallingFails) {
  tests::FakeSystem system(true);
  system.on({"apt-get"}, [](const image::Exec&) -> host::Finished { throw base::Error("the guest hangs"); });
  EXPECT_EQ(tests::error_of([&] { Apt(system).install({"nginx"}, false); }), "the guest hangs");
  EXPECT_EQ(system.lines().back(), "rm -rf -- /run/kiln-tools");
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
