#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType packages;
}

namespace kiln::tests {
namespace {

const std::string digest(64, 'a');

// An image where apt finds everything.
void answer(FakeSystem& system) {
  system.on({"test", "-e"}, fakes::failed(1));
  system.on({"find", "/var/lib/apt/lists", "-maxdepth"},
            fakes::printed(digest + "  /var/lib/apt/lists/mirror.test_debian_dists_bookworm_InRelease\n"));
  int asked = 0;
  system.on({"dpkg-query"}, [asked](const image::Exec&) mutable {
    return fakes::printed(asked++ == 0 ? "ii  libc6 2.36-9\n" : "ii  libc6 2.36-9\nii  nginx 1.22.1-9\n");
  });
}

TEST(Packages, AreInstalledInOneGoWithoutRecommendedOnes) {
  const fakes::TempTree tree({{"tools.txt", "# tools\ncurl\nnginx\n"}});
  FakeWorkspace work;
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx, g++], from: [tools.txt]}", tree.path())->run(work);
  EXPECT_TRUE(work.fake_system.ran("apt-get -q -y"));
  EXPECT_TRUE(work.fake_system.ran(" update"));
  EXPECT_TRUE(work.fake_system.ran(" install --no-install-recommends nginx g++ curl"));
  for (const image::Exec& command : work.fake_system.commands) {
    if (command.argv.front() == "apt-get") {
      EXPECT_EQ(command.env.at("DEBIAN_FRONTEND"), "noninteractive");
    }
  }
}

TEST(Packages, RecommendedOnesComeWhenAskedFor) {
  FakeWorkspace work;
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx], recommends: true}")->run(work);
  EXPECT_TRUE(work.fake_system.ran(" install --install-recommends nginx"));
}

TEST(Packages, RecordsReleasesAndWhatIsNew) {
  FakeWorkspace work;
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_EQ(work.resolutions, (std::vector<std::string>{"release " + digest + " bookworm_InRelease",
                                                        "package nginx 1.22.1-9"}));
  EXPECT_EQ(work.releases,
            std::vector<std::string>{digest + " http://mirror.test/debian/dists/bookworm/InRelease"});
}

TEST(Packages, NativeInstallsLeaveTheSharedCacheOfPackagesAlone) {
  FakeWorkspace work(true);
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_TRUE(work.fake_system.ran("find /var/lib/apt/lists -mindepth 1"));
  EXPECT_FALSE(work.fake_system.ran("/var/cache/apt/archives"));
  EXPECT_FALSE(work.fake_system.ran("policy-rc.d"));
}

TEST(Packages, InTheGuestDaemonsAreHeldAndLetGoAgain) {
  FakeWorkspace work(false);
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  const std::vector<std::string> lines = work.fake_system.lines();
  const auto at = [&](const std::string& part) {
    for (std::size_t i = 0; i < lines.size(); ++i) {
      if (lines[i].find(part) != std::string::npos) return i;
    }
    return lines.size();
  };
  EXPECT_LT(at("/dev/stdin /usr/sbin/policy-rc.d"), at(" install --no-install-recommends"));
  EXPECT_LT(at(" install --no-install-recommends"), at("rm -- /usr/sbin/policy-rc.d"));
  EXPECT_LT(at("rm -- /usr/sbin/policy-rc.d"), lines.size());
  EXPECT_TRUE(work.fake_system.ran("find /var/cache/apt/archives -mindepth 1"));
  EXPECT_FALSE(work.fake_system.ran("mv --"));
}

TEST(Packages, APolicyOfTheImagesOwnComesBack) {
  FakeWorkspace work(false);
  answer(work.fake_system);
  work.fake_system.on({"test", "-e"}, fakes::printed(""));
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_TRUE(work.fake_system.ran("mv -- /usr/sbin/policy-rc.d /usr/sbin/policy-rc.d.kiln"));
  EXPECT_TRUE(work.fake_system.ran("mv -- /usr/sbin/policy-rc.d.kiln /usr/sbin/policy-rc.d"));
}

TEST(Packages, AnUnknownOneIsReportedWhereItWasAskedFor) {
  const fakes::TempTree tree({{"tools.txt", "curl\nngnix\n"}});
  FakeWorkspace work;
  answer(work.fake_system);
  work.fake_system.on({"apt-get"}, [](const image::Exec& exec) {
    const bool installs = std::find(exec.argv.begin(), exec.argv.end(), "install") != exec.argv.end();
    return installs ? fakes::failed(100, "E: Unable to locate package ngnix\n") : fakes::printed("");
  });
  work.fake_system.on({"apt-cache"}, fakes::printed("nginx\n"));
  const std::string error = error_of(
      [&] { make_stage(stages::packages, "{install: [nginx], from: [tools.txt]}", tree.path())->run(work); });
  EXPECT_EQ(
      error.find((tree / "tools.txt").string() + ":2:1: apt-get install ended with exit status 100: "
                                                 "Unable to locate package ngnix; did you mean 'nginx'?"),
      0U)
      << error;
}

TEST(Packages, ListsThatCannotBeFetchedAreAnError) {
  FakeWorkspace work;
  answer(work.fake_system);
  work.fake_system.on({"apt-get"}, fakes::failed(100, "E: Failed to fetch x  404  Not Found\n"));
  const std::string error = error_of([&] { make_stage(stages::packages, "{install: [nginx]}")->run(work); });
  EXPECT_NE(error.find("apt-get update ended with exit status 100: Failed to fetch x"), std::string::npos)
      << error;
  EXPECT_FALSE(work.fake_system.ran(" install "));
}

TEST(Packages, OfflineTheLayerIsAsOldAsTheListsKept) {
  FakeWorkspace work;
  answer(work.fake_system);
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_EQ(work.as_of, 0);
  const std::int64_t then = work.host().now();
  work.is_offline = true;
  work.world.now += 1000;
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_EQ(work.as_of, then);
  EXPECT_EQ(work.seen.doings.back(), "bringing the kept package lists in");
}

TEST(Packages, SayWhatTheyAreAt) {
  FakeWorkspace work;
  answer(work.fake_system);
  work.fake_system.on({"apt-get"},
                      fakes::printed("Unpacking nginx (1.22) ...\nSetting up nginx (1.22) ...\n"));
  make_stage(stages::packages, "{install: [nginx]}")->run(work);
  EXPECT_NE(std::find(work.seen.doings.begin(), work.seen.doings.end(), "setting up nginx"),
            work.seen.doings.end());
  EXPECT_NE(work.logged.find("Unpacking nginx"), std::string::npos);
}

TEST(Packages, NamesAreCheckedBeforeAnythingRuns) {
  EXPECT_NE(error_of([] { make_stage(stages::packages, "{install: [--purge]}"); }).find("--purge"),
            std::string::npos);
  EXPECT_NE(error_of([] { make_stage(stages::packages, "{install: [nginx-]}"); }).find("nginx-"),
            std::string::npos);
  EXPECT_NE(error_of([] { make_stage(stages::packages, "{recommends: true}"); }).find("nothing to install"),
            std::string::npos);
}

TEST(PackagesTextTest, NamesFewPackagesAndCountsManyAlsoOfLists) {
  const fakes::TempTree tree({{"few.txt", "nginx\n# a comment\n"}, {"many.txt", "a1\nb1\nc1\n"}});
  const auto text = [&](const std::string& yaml) {
    return make_stage(stages::packages, yaml, tree.path())->text(stage::Tense::does);
  };
  EXPECT_EQ(text("{install: [redis], from: [few.txt]}"), "Installing redis, nginx");
  EXPECT_EQ(text("{install: [redis], from: [few.txt, many.txt]}"), "Installing 5 packages");
}

}  // namespace
}  // namespace kiln::tests
