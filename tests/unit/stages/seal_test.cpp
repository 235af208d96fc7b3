#include <gtest/gtest.h>

#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType seal;
}

namespace kiln::tests {
namespace {

class SealTest : public ::testing::Test {
 protected:
  void seal(const std::string& yaml = "{}") { make_stage(stages::seal, yaml)->run(work); }
  bool there(const std::string& path) { return files.find(path).has_value(); }
  void add_sshd() {
    files.add("/lib/systemd/system/ssh.service", "[Install]\nWantedBy=multi-user.target\n");
    files.add("/etc/ssh/ssh_host_ed25519_key", "canary", {.mode = 0600});
    files.add("/etc/ssh/ssh_host_ed25519_key.pub", "canary");
    files.add("/etc/ssh/sshd_config", "");
  }

  FakeWorkspace work;
  FakeFiles& files = work.image_files;
};

TEST_F(SealTest, HostKeysGoAndAreMadeAgainBeforeSshd) {
  add_sshd();
  seal();
  EXPECT_FALSE(there("/etc/ssh/ssh_host_ed25519_key"));
  EXPECT_FALSE(there("/etc/ssh/ssh_host_ed25519_key.pub"));
  EXPECT_TRUE(there("/etc/ssh/sshd_config"));
  const std::string unit = files.read("/etc/systemd/system/kiln-ssh-keys.service");
  EXPECT_NE(unit.find("Before=basic.target ssh.service"), std::string::npos);
  EXPECT_TRUE(there("/etc/systemd/system/basic.target.wants/kiln-ssh-keys.service"));
}

TEST_F(SealTest, AUnitOfTheImagesOwnThatMakesHostKeysIsEnough) {
  add_sshd();
  files.add("/etc/systemd/system/appliance-hostkeys.service",
            "[Unit]\nBefore=ssh.service\n[Install]\nWantedBy=x.target\n");
  files.add_link("/etc/systemd/system/ssh.service.requires/appliance-hostkeys.service",
                 "/etc/systemd/system/appliance-hostkeys.service");
  seal();
  EXPECT_FALSE(there("/etc/systemd/system/kiln-ssh-keys.service"));
}

TEST_F(SealTest, ThatUnitHasToBeEnabled) {
  add_sshd();
  files.add("/etc/systemd/system/appliance-hostkeys.service",
            "[Unit]\nBefore=ssh.service\n[Install]\nWantedBy=x.target\n");
  seal();
  EXPECT_TRUE(there("/etc/systemd/system/kiln-ssh-keys.service"));
}

TEST_F(SealTest, WithoutSshdNoUnitIsAdded) {
  files.add("/etc/machine-id", "0123\n");
  seal();
  EXPECT_FALSE(there("/etc/systemd/system"));
}

TEST_F(SealTest, TheMachineIdBecomesAnEmptyFile) {
  files.add("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
      .add("/var/lib/dbus/machine-id", "0123\n");
  seal();
  EXPECT_EQ(files.read("/etc/machine-id"), "");
  EXPECT_EQ(files.find("/etc/machine-id")->mode, 0444U);
  EXPECT_EQ(files.find("/var/lib/dbus/machine-id")->target, "/etc/machine-id");
}

TEST_F(SealTest, TheSnakeoilCertificateGoesWithItsLinksAndIsMadeAgain) {
  files.add("/etc/ssl/certs/ssl-cert-snakeoil.pem", "canary")
      .add("/etc/ssl/private/ssl-cert-snakeoil.key", "canary");
  files.add_link("/etc/ssl/certs/abcd1234.0", "ssl-cert-snakeoil.pem").add("/etc/ssl/certs/other.pem", "x");
  seal();
  EXPECT_FALSE(there("/etc/ssl/certs/ssl-cert-snakeoil.pem"));
  EXPECT_FALSE(there("/etc/ssl/private/ssl-cert-snakeoil.key"));
  EXPECT_FALSE(there("/etc/ssl/certs/abcd1234.0"));
  EXPECT_TRUE(there("/etc/ssl/certs/other.pem"));
  EXPECT_TRUE(there("/etc/systemd/system/basic.target.wants/kiln-snakeoil.service"));
}

TEST_F(SealTest, LogsAreEmptiedAndRotatedOnesGo) {
  files.add("/var/log/nginx/access.log", "canary", {.mode = 0640, .uid = 33, .gid = 4});
  files.add("/var/log/nginx/access.log.1", "canary").add("/var/log/syslog.2.gz", "canary");
  files.add("/var/log/journal/0123/system.journal", "canary").add("/var/log/postgresql-15", "canary");
  files.add_link("/var/log/out", "/etc/passwd").add("/etc/passwd", "root");
  seal();
  EXPECT_EQ(files.read("/var/log/nginx/access.log"), "");
  EXPECT_EQ(files.find("/var/log/nginx/access.log")->uid, 33);
  EXPECT_EQ(files.find("/var/log/nginx/access.log")->mode, 0640U);
  EXPECT_FALSE(there("/var/log/nginx/access.log.1"));
  EXPECT_FALSE(there("/var/log/syslog.2.gz"));
  EXPECT_TRUE(there("/var/log/journal"));
  EXPECT_FALSE(there("/var/log/journal/0123"));
  EXPECT_EQ(files.read("/etc/passwd"), "root");
}

TEST_F(SealTest, NoSecretOfTheBuildIsLeft) {
  for (const char* path : {"/var/lib/systemd/random-seed",
                           "/var/lib/systemd/credential.secret",
                           "/var/lib/docker/engine-id",
                           "/etc/docker/key.json",
                           "/etc/salt/minion_id",
                           "/etc/salt/pki/minion/minion.pem",
                           "/var/cache/salt/minion/highstate.cache.p",
                           "/var/lib/cloud/instances/i-1/user-data.txt",
                           "/var/lib/cloud/data/instance-id",
                           "/root/.bash_history",
                           "/home/app/.bash_history",
                           "/tmp/.hidden/x",
                           "/var/tmp/x",
                           "/var/lib/dhcp/dhclient.leases",
                           "/etc/shadow-",
                           "/var/backups/shadow.bak",
                           "/var/lib/apt/lists/mirror_dists_x_InRelease",
                           "/var/cache/apt/pkgcache.bin",
                           "/etc/netplan/50-cloud-init.yaml",
                           "/run/secret"}) {
    files.add(path, "canary");
  }
  seal();
  for (const std::string& line : files.listing()) EXPECT_NE(line.front(), 'f') << line;
}

TEST_F(SealTest, WhatServicesNeedStays) {
  for (const char* path :
       {"/etc/salt/minion.d/kiln.conf", "/var/lib/cloud/seed/nocloud/user-data", "/root/.ssh/authorized_keys",
        "/etc/passwd", "/var/lib/dpkg/status", "/var/lib/apt/extended_states"}) {
    files.add(path, "needed");
  }
  files.add_folder("/tmp", {.mode = 01777}).add_folder("/var/lib/apt/lists/partial", {.mode = 0700});
  const std::vector<std::string> before = files.listing();
  seal();
  EXPECT_EQ(files.listing(), before);
}

TEST_F(SealTest, KeepAndRemoveAreObeyed) {
  files.add("/var/log/installer/log", "x").add("/var/log/other", "x");
  files.add("/tmp/a/keep/x", "x").add("/tmp/a/gone", "x");
  files.add("/opt/notes/one.txt", "x").add("/opt/notes/two.md", "x");
  seal("{keep: [/var/log/installer, /tmp/a/keep], remove: ['/opt/notes/*.txt', /opt/none]}");
  EXPECT_EQ(files.read("/var/log/installer/log"), "x");
  EXPECT_EQ(files.read("/var/log/other"), "");
  EXPECT_TRUE(there("/tmp/a/keep/x"));
  EXPECT_FALSE(there("/tmp/a/gone"));
  EXPECT_FALSE(there("/opt/notes/one.txt"));
  EXPECT_TRUE(there("/opt/notes/two.md"));
  EXPECT_EQ(work.seen.warnings, std::vector<std::string>{"seal: nothing to remove at '/opt/none'"});
}

TEST_F(SealTest, SealingTwiceChangesNothingMore) {
  add_sshd();
  files.add("/etc/machine-id", "0123\n").add("/etc/ssl/certs/ssl-cert-snakeoil.pem", "x");
  seal();
  const std::vector<std::string> once = files.listing();
  seal();
  EXPECT_EQ(files.listing(), once);
}

TEST_F(SealTest, FreeSpaceIsDiscardedLast) {
  seal();
  EXPECT_EQ(files.discarded, 1);
}

}  // namespace
}  // namespace kiln::tests
