#include "target/apt.hpp"

#include <gtest/gtest.h>

#include "image/deb_cache.hpp"
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

TEST(Apt, UrisAreReadAndNothingElse) {
  const std::string digest(64, 'a');
  const auto wanted = read_uris(
      "Reading package lists...\n"
      "'http://mirror.test/pool/n/nginx/nginx_1.22-9%2bdeb12u1_amd64.deb' nginx_1.22-9+deb12u1_amd64.deb "
      "532468 "
      "SHA256:" +
      digest + "\n'http://mirror.test/a.deb' ../a.deb 1 SHA256:" + digest +
      "\n'http://mirror.test/b.deb' -b.deb 1 SHA256:" + digest +
      "\n'http://mirror.test/c.deb' c.deb 1 MD5Sum:03eeaaa603022ccbd061c8a4751fc947\n");
  ASSERT_EQ(wanted.size(), 1U);
  EXPECT_EQ(wanted[0].file, "nginx_1.22-9+deb12u1_amd64.deb");
  EXPECT_EQ(wanted[0].sha256, digest);
}

// An image whose lists come from one archive, and which wants two packages.
class KeptTest : public ::testing::Test {
 protected:
  static void answer(tests::FakeSystem& system) {
    system.on({"find", "-L", "/etc/apt/sources.list"}, fakes::printed("0123  /etc/apt/sources.list\n"));
    system.on({"find", "/var/lib/apt/lists"},
              fakes::printed(std::string(64, 'b') + "  /var/lib/apt/lists/m_dists_x_InRelease\n"));
    system.on({"find", "/var/lib/apt/lists", "-maxdepth", "1", "-type", "f", "-printf"},
              fakes::printed("m_dists_x_InRelease\nm_dists_x_main_i18n_Translation-en\nlock\n"));
    system.on({"tar", "--create", "--directory", "/var/lib/apt/lists"}, fakes::printed("a set"));
    system.on({"apt-get"}, [](const image::Exec& exec) {
      const bool asked = std::find(exec.argv.begin(), exec.argv.end(), "--print-uris") != exec.argv.end();
      return fakes::printed(asked ? "'http://m/a.deb' a_1_all.deb 1 SHA256:" + base::sha256("a") +
                                        "\n'http://m/b.deb' b_1_all.deb 1 SHA256:" + base::sha256("b") + "\n"
                                  : "");
    });
  }
  [[nodiscard]] Downloads kept(bool offline) const {
    return {tree_ / "lists", tree_ / "debs", scratch_.path(), 1000, offline};
  }
  // What the guest was given last.
  static void record(tests::FakeSystem& system, std::vector<std::string>& names) {
    system.on({"tar", "--extract"}, [&names](const image::Exec& exec) {
      host::read_archive(exec.input_file,
                         [&](const host::Member& member, const auto&) { names.push_back(member.path); });
      return fakes::printed("");
    });
  }
  [[nodiscard]] std::size_t debs() const {
    std::size_t count = 0;
    std::error_code none;
    for (const auto& entry : std::filesystem::directory_iterator(tree_ / "debs", none))
      count += entry.exists() ? 1 : 0;
    return count;
  }

  fakes::TempTree tree_;
  host::TempDir scratch_;
};

TEST_F(KeptTest, ListsAreKeptOnceAndServedOffline) {
  tests::FakeSystem online(true);
  answer(online);
  EXPECT_EQ(Apt(online, kept(false)).update(), std::nullopt);
  EXPECT_TRUE(online.ran("tar --create --directory /var/lib/apt/lists --file - -- m_dists_x_InRelease"));
  EXPECT_FALSE(online.ran("Dir::Bin::Methods"));
  tests::FakeSystem again(true);
  answer(again);
  Apt(again, kept(false)).update();
  EXPECT_FALSE(again.ran("tar --create")) << "they are the same";

  tests::FakeSystem offline(true);
  answer(offline);
  EXPECT_EQ(Apt(offline, kept(true)).update(), 1000);
  EXPECT_TRUE(offline.ran("tar --extract"));
  EXPECT_TRUE(offline.ran(" update -o Dir::Bin::Methods=/var/lib/apt/kiln-offline/methods/"));
  EXPECT_TRUE(offline.ran("/dev/stdin /var/lib/apt/kiln-offline/methods/https"));
  EXPECT_EQ(offline.lines().back(), "rm -rf -- /var/lib/apt/kiln-offline");
}

TEST_F(KeptTest, ListsOfOtherSourcesAreNone) {
  tests::FakeSystem online(false);
  answer(online);
  Apt(online, kept(false)).update();
  tests::FakeSystem offline(false);
  answer(offline);
  offline.on({"find", "-L", "/etc/apt/sources.list"}, fakes::printed("4567  /etc/apt/sources.list\n"));
  const std::string error = tests::error_of([&] { Apt(offline, kept(true)).update(); });
  EXPECT_EQ(error,
            "--offline: the store does not keep the package lists of the image's sources; build once without "
            "--offline, which fetches and keeps it");
  EXPECT_FALSE(offline.ran(" update"));
}

TEST_F(KeptTest, AGuestIsGivenWhatIsThereAndGivesBackWhatItFetched) {
  image::DebCache::keep(tree_ / "debs", "a_1_all.deb", "a");
  tests::FakeSystem guest(true);
  answer(guest);
  std::vector<std::string> given;
  record(guest, given);
  const auto fetched = tree_ / "fetched.tar";
  fakes::write_tar(fetched, {{"b_1_all.deb", "b"}});
  guest.on({"tar", "--create"}, fakes::printed(host::read_file(fetched)));
  Apt(guest, kept(false)).install({"a", "b"}, false);
  EXPECT_EQ(given, std::vector<std::string>{"a_1_all.deb"});
  EXPECT_TRUE(guest.ran("tar --create --directory /var/cache/apt/archives --file - -- b_1_all.deb"));
  EXPECT_FALSE(guest.ran("--no-download"));
  EXPECT_TRUE(image::DebCache::find(tree_ / "debs", "b_1_all.deb", base::sha256("b")));
}

TEST_F(KeptTest, WhatAGuestGivesBackIsKeptOnlyWhenItIsWhatTheListsSay) {
  tests::FakeSystem guest(true);
  answer(guest);
  const auto fetched = tree_ / "fetched.tar";
  fakes::write_tar(fetched, {{"b_1_all.deb", "another"}, {"c_1_all.deb", "c"}});
  guest.on({"tar", "--create"}, fakes::printed(host::read_file(fetched)));
  Apt(guest, kept(false)).install({"a", "b"}, false);
  EXPECT_EQ(debs(), 0U);
}

TEST_F(KeptTest, OfflineAPackageThatIsNotKeptIsNamed) {
  image::DebCache::keep(tree_ / "debs", "a_1_all.deb", "a");
  for (const bool booted : {false, true}) {
    tests::FakeSystem system(booted);
    answer(system);
    system.on({"sha256sum"}, fakes::printed(base::sha256("a") + "  /var/cache/apt/archives/a_1_all.deb\n"));
    const std::string error = tests::error_of([&] { Apt(system, kept(true)).install({"a", "b"}, false); });
    EXPECT_EQ(error.find("--offline: the store does not keep b_1_all.deb; build once without --offline"), 0U)
        << error;
    EXPECT_FALSE(system.ran("--no-download"));
    EXPECT_FALSE(system.ran("--extract"));
  }
}

TEST_F(KeptTest, OfflineNothingIsFetchedWhenAllIsThere) {
  image::DebCache::keep(tree_ / "debs", "a_1_all.deb", "a");
  image::DebCache::keep(tree_ / "debs", "b_1_all.deb", "b");
  tests::FakeSystem guest(true);
  answer(guest);
  std::vector<std::string> given;
  record(guest, given);
  Apt(guest, kept(true)).install({"a", "b"}, false);
  EXPECT_EQ(given, (std::vector<std::string>{"a_1_all.deb", "b_1_all.deb"}));
  EXPECT_TRUE(guest.ran(" install --no-install-recommends --no-download a b"));
}

TEST_F(KeptTest, InTheSandboxAPackageThatIsNotWhatTheListsSayIsDropped) {
  tests::FakeSystem sandbox(false);
  answer(sandbox);
  sandbox.on({"sha256sum"},
             fakes::printed(base::sha256("a") + "  /var/cache/apt/archives/a_1_all.deb\n" +
                            base::sha256("another") + "  /var/cache/apt/archives/b_1_all.deb\n"));
  Apt(sandbox, kept(false)).install({"a", "b"}, false);
  EXPECT_TRUE(sandbox.ran("rm -f -- /var/cache/apt/archives/b_1_all.deb"));
  EXPECT_FALSE(sandbox.ran("tar "));
}

TEST(Apt, ReleasesDoNotNameTheMirror) {
  tests::FakeSystem system(false);
  system.on({"find", "/var/lib/apt/lists"},
            fakes::printed(std::string(64, 'b') +
                           "  /var/lib/apt/lists/mirror.test_debian_dists_bookworm_InRelease\n" +
                           std::string(64, 'a') +
                           "  /var/lib/apt/lists/mirror.test_debian_dists_bookworm-updates_InRelease\n"));
  Apt apt(system);
  const auto releases = apt.releases();
  ASSERT_EQ(releases.size(), 2U);
  EXPECT_EQ(releases[0].sha256, std::string(64, 'a'));
  EXPECT_EQ(releases[0].name, "bookworm-updates_InRelease");
  EXPECT_EQ(releases[0].url, "http://mirror.test/debian/dists/bookworm-updates/InRelease");
  EXPECT_EQ(releases[1].name, "bookworm_InRelease");
}

TEST(Apt, TheNameOfAListIsItsUrlButForTheScheme) {
  const std::string sources = "URIs: https://secure.test/debian\nURIs: http://mirror.test/debian";
  EXPECT_EQ(list_url("mirror.test_debian_dists_x_InRelease", sources),
            "http://mirror.test/debian/dists/x/InRelease");
  EXPECT_EQ(list_url("secure.test_a%5fb_dists_x_Release", sources),
            "https://secure.test/a_b/dists/x/Release");
  EXPECT_EQ(list_url("_srv_debian_dists_x_InRelease", sources), "file:///srv/debian/dists/x/InRelease");
  EXPECT_EQ(list_url("mirror.test_100%_dists", sources), "http://mirror.test/100%/dists");
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
