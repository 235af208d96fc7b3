#include "target/systemd.hpp"

#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::target {
namespace {

using Strings = std::vector<std::string>;

class SystemdTest : public ::testing::Test {
 protected:
  SystemdTest() {
    files.add_folder("/etc/systemd/system");
    files.add("/lib/systemd/system/nginx.service",
              "[Unit]\nDescription=x\n[Install]\nWantedBy=multi-user.target\n");
    files.add("/lib/systemd/system/ssh.service",
              "[Install]\nWantedBy=multi-user.target\nAlias=sshd.service\nAlso=ssh-keys.service\n");
    files.add("/lib/systemd/system/ssh-keys.service", "[Install]\nRequiredBy=ssh.service\n");
    files.add("/lib/systemd/system/getty@.service",
              "[Install]\nWantedBy=getty.target\nDefaultInstance=tty1\n");
    files.add("/lib/systemd/system/tunnel@.service", "[Install]\nWantedBy=%p-%i.target\n");
    files.add("/lib/systemd/system/static.service", "[Service]\nExecStart=/bin/true\n");
  }
  std::string target_of(const std::string& path) {
    const auto stat = files.find(path);
    return stat && stat->kind == 'l' ? stat->target : "no link";
  }

  tests::FakeFiles files;
  Systemd systemd{files};
};

TEST(SystemdInstall, IsReadAsSystemdReadsIt) {
  const Install install = read_install(
      "[Unit]\nWantedBy=not-here.target\n[Install]\n# WantedBy=comment.target\nWantedBy = a.target b.target "
      "\\\n"
      "; in between\n  "
      "c.target\nWantedBy=d.target\nAlias=x.service\nAlias=\nAlso=y.socket\nDefaultInstance=one\n"
      "[Service]\nAlias=z.service\n");
  EXPECT_EQ(install.wanted_by, (Strings{"a.target", "b.target", "c.target", "d.target"}));
  EXPECT_TRUE(install.alias.empty());
  EXPECT_EQ(install.also, Strings{"y.socket"});
  EXPECT_EQ(install.default_instance, "one");
}

TEST_F(SystemdTest, EnableMakesTheLinksOfInstall) {
  systemd.enable("nginx");
  EXPECT_EQ(target_of("/etc/systemd/system/multi-user.target.wants/nginx.service"),
            "/lib/systemd/system/nginx.service");
}

TEST_F(SystemdTest, EnableMakesAliasesAndWhatComesAlso) {
  const Strings made = systemd.enable("ssh.service");
  EXPECT_EQ(made.size(), 3U);
  EXPECT_EQ(target_of("/etc/systemd/system/sshd.service"), "/lib/systemd/system/ssh.service");
  EXPECT_EQ(target_of("/etc/systemd/system/ssh.service.requires/ssh-keys.service"),
            "/lib/systemd/system/ssh-keys.service");
}

TEST_F(SystemdTest, AnAliasStandsForItsUnit) {
  systemd.enable("ssh");
  const auto found = systemd.find("sshd");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->name, "ssh.service");
}

TEST_F(SystemdTest, TemplatesAreEnabledByInstance) {
  systemd.enable("getty@");
  EXPECT_EQ(target_of("/etc/systemd/system/getty.target.wants/getty@tty1.service"),
            "/lib/systemd/system/getty@.service");
  systemd.enable("getty@ttyS0.service");
  EXPECT_EQ(target_of("/etc/systemd/system/getty.target.wants/getty@ttyS0.service"),
            "/lib/systemd/system/getty@.service");
  systemd.enable("tunnel@uplink");
  EXPECT_EQ(target_of("/etc/systemd/system/tunnel-uplink.target.wants/tunnel@uplink.service"),
            "/lib/systemd/system/tunnel@.service");
  EXPECT_NE(tests::error_of([&] { systemd.enable("tunnel@"); }).find("is a template"), std::string::npos);
}

TEST_F(SystemdTest, WhatCannotBeEnabledIsAnError) {
  EXPECT_NE(tests::error_of([&] { systemd.enable("static"); }).find("no [Install] section"),
            std::string::npos);
  systemd.mask("nginx");
  EXPECT_NE(tests::error_of([&] { systemd.enable("nginx"); }).find("masked"), std::string::npos);
  EXPECT_NE(tests::error_of([&] { systemd.enable("ngnix"); }).find("did you mean 'nginx.service'?"),
            std::string::npos);
  files.add("/etc/init.d/old", "#!/bin/sh\n");
  EXPECT_NE(tests::error_of([&] { systemd.enable("old"); }).find("init script"), std::string::npos);
}

TEST_F(SystemdTest, DisableTakesBackWhatEnableMade) {
  const Strings before = files.listing();
  for (const char* unit : {"ssh", "nginx", "getty@tty1", "getty@tty2"}) systemd.enable(unit);
  EXPECT_NE(files.listing(), before);
  systemd.disable("ssh.service");
  systemd.disable("nginx");
  systemd.disable("getty@");  // all instances
  EXPECT_EQ(files.listing(), before);
}

TEST_F(SystemdTest, DisableLeavesOthersAlone) {
  systemd.enable("nginx");
  systemd.enable("ssh");
  systemd.enable("getty@tty1");
  systemd.enable("getty@tty2");
  systemd.disable("nginx");
  systemd.disable("getty@tty2");
  EXPECT_EQ(target_of("/etc/systemd/system/multi-user.target.wants/nginx.service"), "no link");
  EXPECT_NE(target_of("/etc/systemd/system/multi-user.target.wants/ssh.service"), "no link");
  EXPECT_NE(target_of("/etc/systemd/system/getty.target.wants/getty@tty1.service"), "no link");
  EXPECT_EQ(target_of("/etc/systemd/system/getty.target.wants/getty@tty2.service"), "no link");
}

TEST_F(SystemdTest, MaskDoesNotLoseAUnitFile) {
  systemd.mask("nginx");
  EXPECT_EQ(target_of("/etc/systemd/system/nginx.service"), "/dev/null");
  EXPECT_TRUE(systemd.find("nginx")->masked);
  files.add("/etc/systemd/system/own.service", "[Install]\nWantedBy=multi-user.target\n");
  EXPECT_NE(tests::error_of([&] { systemd.mask("own"); }).find("would lose"), std::string::npos);
}

}  // namespace
}  // namespace kiln::target
