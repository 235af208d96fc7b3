#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType systemd_units;
}

namespace kiln::tests {
namespace {

class SystemdUnitsTest : public ::testing::Test {
 protected:
  SystemdUnitsTest() {
    work.image_files.add("/lib/systemd/system/nginx.service", "[Install]\nWantedBy=multi-user.target\n");
    work.image_files.add("/lib/systemd/system/apt-daily.timer", "[Install]\nWantedBy=timers.target\n");
  }
  std::string run(const std::string& yaml) {
    return error_of([&] { make_stage(stages::systemd_units, yaml, tree.path())->run(work); });
  }
  fakes::TempTree tree;
  FakeWorkspace work;
};

TEST_F(SystemdUnitsTest, InstalledUnitsCanBeEnabledAtOnce) {
  tree.file("report.service", "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n",
            0600);
  EXPECT_EQ(run("{install: [report.service], enable: [report, nginx], mask: [apt-daily.timer]}"), "no error");
  EXPECT_EQ(work.image_files.find("/etc/systemd/system/report.service")->mode, 0644U);
  EXPECT_EQ(work.image_files.find("/etc/systemd/system/multi-user.target.wants/report.service")->target,
            "/etc/systemd/system/report.service");
  EXPECT_EQ(work.image_files.find("/etc/systemd/system/multi-user.target.wants/nginx.service")->target,
            "/lib/systemd/system/nginx.service");
  EXPECT_EQ(work.image_files.find("/etc/systemd/system/apt-daily.timer")->target, "/dev/null");
}

TEST_F(SystemdUnitsTest, DisableRemovesTheLinks) {
  EXPECT_EQ(run("{enable: [nginx]}"), "no error");
  EXPECT_EQ(run("{disable: [nginx]}"), "no error");
  EXPECT_FALSE(work.image_files.find("/etc/systemd/system/multi-user.target.wants/nginx.service"));
}

TEST_F(SystemdUnitsTest, AnUnknownUnitIsReportedWhereItWasWritten) {
  const std::string error = run("enable: [ngnix]");
  EXPECT_EQ(error, (tree / "stage.yml").string() +
                       ":1:9: the image has no unit 'ngnix.service'; did you mean 'nginx.service'?");
}

TEST_F(SystemdUnitsTest, ContradictionsAreErrorsBeforeAnythingRuns) {
  EXPECT_NE(run("{enable: [nginx], mask: [nginx.service]}").find("in both 'enable' and 'mask'"),
            std::string::npos);
  EXPECT_NE(run("{}").find("nothing to do"), std::string::npos);
  tree.file("notes.txt", "x");
  EXPECT_NE(run("{install: [notes.txt]}").find("'notes.txt' is no name of a unit file"), std::string::npos);
  EXPECT_NE(run("{enable: ['a b']}").find("write a unit's name, such as nginx"), std::string::npos);
}

TEST_F(SystemdUnitsTest, IsToldByTheNamesOfItsUnitsWhileTheyAreFew) {
  const auto text = [](const std::string& yaml) {
    return make_stage(stages::systemd_units, yaml)->text(stage::Tense::will);
  };
  EXPECT_EQ(text("{enable: [hello]}"), "Enable hello.service");
  EXPECT_EQ(text("{enable: [a, b.timer], mask: [c.socket]}"), "Enable a.service, b.timer; mask c.socket");
  EXPECT_EQ(text("{disable: [a, b, c, d]}"), "Disable 4 units: a.service, b.service, ...");
}

TEST_F(SystemdUnitsTest, AMaskedUnitIsNotInstalledOver) {
  EXPECT_EQ(run("{mask: [nginx]}"), "no error");
  tree.file("nginx.service", "[Install]\nWantedBy=multi-user.target\n");
  EXPECT_NE(run("{install: [nginx.service]}").find("is masked"), std::string::npos);
}

}  // namespace
}  // namespace kiln::tests
