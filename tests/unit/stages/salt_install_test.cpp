#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType salt_install;
}

namespace kiln::tests {
namespace {

// An index with two files, and an image whose Python has all that is needed.
class SaltInstallTest : public ::testing::Test {
 protected:
  SaltInstallTest() {
    write_lock(base::sha256(wheel), base::sha256(sdist));
    work.world.on({"/usr/bin/pip3", "download"}, [this](const host::Command& command) {
      fetched.push_back(host::read_file(command.cwd / "requirements.txt"));
      std::filesystem::create_directory(command.cwd / "files");
      if (fetched.back().find("wheel==") != std::string::npos) {
        host::write_file(command.cwd / "files/wheel-0.40-py3-none-any.whl", wheel);
      }
      if (fetched.back().find("salt==") != std::string::npos) {
        host::write_file(command.cwd / "files/salt-3006.28.tar.gz", sdist);
      }
      return fakes::printed("");
    });
    work.world.program("/usr/bin/pip3");
    work.fake_system.on({"python3", "-c"}, fakes::printed("3.11\n"));
    work.fake_system.on({"tar"}, [this](const image::Exec& exec) {
      std::filesystem::copy_file(exec.input_file, tree / "carried.tar",
                                 std::filesystem::copy_options::overwrite_existing);
      return fakes::printed("");
    });
  }
  void write_lock(const std::string& wheel_digest, const std::string& sdist_digest) {
    tree.file("salt.txt", "# build\nwheel==0.40 --hash=sha256:" + wheel_digest +
                              "\n# run\nsalt==3006.28 --hash=sha256:" + sdist_digest + "\n");
  }
  std::string run(const std::string& more = "") {
    return error_of(
        [&] { make_stage(stages::salt_install, "{lock: salt.txt" + more + "}", tree.path())->run(work); });
  }

  const std::string wheel = "bytes of a wheel";
  const std::string sdist = "bytes of an sdist";
  fakes::TempTree tree;
  FakeWorkspace work;
  std::vector<std::string> fetched;
};

TEST_F(SaltInstallTest, FetchesOnceAndNothingWhenAllIsThere) {
  EXPECT_EQ(run(), "no error");
  EXPECT_EQ(fetched.size(), 2U);
  EXPECT_EQ(work.world.commands().front().timeout, work.step_limit());
  EXPECT_EQ(run(), "no error");
  EXPECT_EQ(fetched.size(), 2U);
}

TEST_F(SaltInstallTest, OfflineWhatIsNotKeptIsNamedWhereItIsAskedFor) {
  work.is_offline = true;
  const std::string error = run();
  EXPECT_EQ(error.find((tree / "salt.txt").string() +
                       ":2:1: --offline: the store does not keep the Python packages wheel 0.40; build once"),
            0U)
      << error;
  EXPECT_TRUE(fetched.empty());
  work.is_offline = false;
  EXPECT_EQ(run(), "no error");
  work.is_offline = true;
  EXPECT_EQ(run(), "no error");
  EXPECT_EQ(fetched.size(), 2U);
}

TEST_F(SaltInstallTest, ADamagedFileIsFetchedAgain) {
  EXPECT_EQ(run(), "no error");
  host::write_file(work.package_cache("wheels") / base::sha256(sdist) / "salt-3006.28.tar.gz", "damaged");
  EXPECT_EQ(run(), "no error");
  ASSERT_EQ(fetched.size(), 3U);
  EXPECT_EQ(fetched[2].find("salt==3006.28 --hash=sha256:" + base::sha256(sdist)), 0U);
}

TEST_F(SaltInstallTest, AFileOfAnotherDigestIsNeverUsed) {
  write_lock(base::sha256(wheel), std::string(64, 'f'));
  const std::string error = run();
  EXPECT_EQ(
      error.find((tree / "salt.txt").string() + ":4:1: pip fetched no file of salt 3006.28 with sha256 ffff"),
      0U)
      << error;
  EXPECT_FALSE(work.fake_system.ran("tar"));
}

TEST_F(SaltInstallTest, CarriesTheVerifiedFilesIn) {
  EXPECT_EQ(run(), "no error");
  std::map<std::string, std::string> members;
  host::read_archive(tree / "carried.tar", [&](const host::Member& member, const auto& content) {
    if (member.kind == 'f') members[member.path] = content();
  });
  EXPECT_EQ(members.at("files/wheel-0.40-py3-none-any.whl"), wheel);
  EXPECT_EQ(members.at("files/salt-3006.28.tar.gz"), sdist);
  EXPECT_EQ(members.at("run.txt"), "salt==3006.28\n");
  EXPECT_EQ(members.at("sdist.txt"), "salt==3006.28 --hash=sha256:" + base::sha256(sdist) + "\n");
}

TEST_F(SaltInstallTest, BuildsAndInstallsOfflineAndProvesThatSaltRuns) {
  EXPECT_EQ(run(", prefix: /opt/other"), "no error");
  for (const image::Exec& command : work.fake_system.commands) {
    const std::string line = base::shell_line(command.argv);
    if (line.find(" install ") != std::string::npos || line.find(" wheel ") != std::string::npos) {
      EXPECT_NE(line.find("--no-index"), std::string::npos) << line;
      EXPECT_NE(line.find("--no-deps"), std::string::npos) << line;
    }
  }
  EXPECT_TRUE(work.fake_system.ran("-m venv --system-site-packages --without-pip /opt/other"));
  EXPECT_TRUE(work.fake_system.ran("ln -sfn /opt/other/bin/salt-call /usr/local/bin/salt-call"));
  const std::vector<std::string> lines = work.fake_system.lines();
  EXPECT_EQ(lines.back(), "salt-call --local --version");
  EXPECT_EQ(lines[lines.size() - 2], "rm -rf -- /tmp/kiln-salt");
}

TEST_F(SaltInstallTest, SaysWhichPackageTheImageLacks) {
  work.fake_system.on({"python3", "-c", "import apt"}, fakes::failed(1));
  EXPECT_NE(run().find("add python3-apt to an earlier packages step"), std::string::npos);
  work.fake_system.on({"python3", "-c", "import ensurepip, venv"}, fakes::failed(1));
  EXPECT_NE(run().find("add python3-venv to an earlier packages step"), std::string::npos);
  work.fake_system.on({"python3", "-c"}, fakes::failed(127));
  EXPECT_NE(run().find("the image has no 'python3'"), std::string::npos);
}

TEST_F(SaltInstallTest, ALockForAnotherPythonIsAnError) {
  work.fake_system.on({"python3", "-c"}, fakes::printed("3.12\n"));
  EXPECT_NE(run().find("the image's python3 is 3.12, the lock is for 3.11"), std::string::npos);
}

TEST_F(SaltInstallTest, AStepThatFailsIsNamed) {
  work.fake_system.on({"/tmp/kiln-salt/build/bin/python", "-m", "pip", "wheel"},
                      fakes::failed(1, "no setuptools\n"));
  const std::string error = run();
  EXPECT_NE(error.find("building wheels failed: exit status 1"), std::string::npos) << error;
  EXPECT_NE(error.find("no setuptools"), std::string::npos) << error;
}

}  // namespace
}  // namespace kiln::tests
