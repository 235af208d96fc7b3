#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "stage/key_writer.hpp"
#include "unit/env/sample.hpp"
#include "unit/stages/export_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType env_package;

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class EnvPackageTest : public testing::Test {
 protected:
  // Runs the stage on an environment, and on `more`.
  void run(const std::string& rest = {}, const std::string& more = {}) {
    host::write_file(tree_ / "hospital.yml", env::sample());
    tests::make_stage(env_package, "{files: [hospital.yml" + more + "]" + rest + "}", tree_.path())
        ->run(work_);
  }
  static unsigned mode_of(const fs::path& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
  }
  fakes::TempTree tree_;
  tests::ExportWorkspace work_;
  fs::path folder_ = work_.output() / "env/ecs.example.org";
};

TEST_F(EnvPackageTest, PacksIntoAFolderOfTheDomain) {
  tree_.file("gpgkeys.txt", env::key_file("public.asc"));
  run();
  std::vector<std::string> names;
  for (const auto& item : fs::directory_iterator(folder_)) {
    names.push_back(item.path().filename());
    EXPECT_EQ(mode_of(item.path()), 0600U) << names.back();
  }
  std::sort(names.begin(), names.end());
  ASSERT_EQ(names.size(), 3U);
  EXPECT_THAT(names[0], testing::MatchesRegex("ecs\\.example\\.org\\.env\\..*\\.tar\\.gz\\.gpg"));
  EXPECT_EQ(names[1], "env-cidata.iso");
  EXPECT_EQ(names[2], "hospital.yml.pdf");
  EXPECT_THAT(work_.logged, IsEmpty());
  EXPECT_THAT(work_.seen.warnings, IsEmpty());
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 2)
      << "something was left beside the file";
}

TEST_F(EnvPackageTest, EmbedsLoudlyIntoADiskOfItsOwn) {
  run(", embed: true");
  const std::string name = "env/ecs.example.org/test.qcow2";
  EXPECT_EQ(work_.ask(name, "qcow2", "cat /app/env.yml"), env::sample());
  const std::string stat = work_.ask(name, "qcow2", "stat /app/env.yml");
  EXPECT_THAT(stat, HasSubstr("Mode:  0600"));
  EXPECT_THAT(stat, testing::ContainsRegex("User: +0 +Group: +0 "));
  EXPECT_EQ(work_.ask(name, "qcow2", "cat /hello"), "hello\n");
  EXPECT_THAT(work_.seen.warnings,
              ElementsAre(HasSubstr("test.qcow2 has every secret of ecs.example.org in it")));
  EXPECT_THAT(work_.logged, IsEmpty());
  EXPECT_EQ(std::distance(fs::directory_iterator(work_.scratch()), {}), 0)
      << "something is left in the scratch folder";
}

TEST_F(EnvPackageTest, MistakesOfEveryFileAreToldBeforeAnythingRuns) {
  tree_.file("bad.yml", "#cloud-config\nappliance: {domain: x_y}\n");
  tree_.file("worse.yml", "hello\n");
  tree_.file("good.yml", env::sample());
  const auto described = [&](const std::string& files, const host::Host& host) {
    stage::KeyWriter key(host);
    tests::make_stage(env_package, "{files: [" + files + "]}", tree_.path())->describe(key);
    return key.text();
  };
  try {
    described("bad.yml, worse.yml", host::Host::system());
    FAIL();
  } catch (const base::Errors& errors) {
    ASSERT_GE(errors.all().size(), 2U);
    EXPECT_THAT(errors.all().front().what(), HasSubstr("bad.yml:2:21"));
    EXPECT_THAT(errors.all().back().what(), HasSubstr("worse.yml:1"));
  }
  EXPECT_EQ(described("good.yml", host::Host::system()), "") << "nothing of it is told";
  tree_.file("gpgkeys.txt", "hello\n");
  EXPECT_THAT(tests::error_of([&] { described("good.yml", host::Host::system()); }),
              HasSubstr("gpgkeys.txt:1:1: stands outside of an OpenPGP block"));
}

TEST_F(EnvPackageTest, TwoOfOneDomainWouldBeOneFolder) {
  host::write_file(tree_ / "other.yml", env::sample());
  try {
    run("", ", other.yml");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("other.yml: is of the domain ecs.example.org, as '"));
  }
  stage::KeyWriter key(work_.host());
  EXPECT_THAT(
      tests::error_of([&] {
        tests::make_stage(env_package, "{files: [hospital.yml, other.yml]}", tree_.path())->describe(key);
      }),
      HasSubstr("other.yml: is of the domain"));
}

TEST_F(EnvPackageTest, AnEnvironmentThatIsWrongIsRefusedWithItsPlace) {
  tree_.file("wrong.yml", "#cloud-config\nappliance:\n  domian: x\n");
  try {
    run("", ", wrong.yml");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("wrong.yml:3:"));
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'domain'?"));
  }
}

}  // namespace
}  // namespace kiln::stages
