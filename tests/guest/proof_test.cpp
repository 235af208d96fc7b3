// The proof on a real machine: what it sees in a good image, and what it says of a bad one.
#include <algorithm>
#include <cstdlib>
#include <gtest/gtest.h>
#include <iostream>

#include "base/digest.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"
#include "proof/verdict.hpp"

namespace kiln::proof {
namespace {

namespace fs = std::filesystem;

class ProofTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* base = std::getenv("KILN_TEST_BASE");
    if (base == nullptr) GTEST_SKIP() << "KILN_TEST_BASE names no base image";
    options.image = base;
    options.limits = image::limits_for(image::Accel::tcg);
    options.scratch = folder.path() / "scratch";
    options.console = folder.path() / "console.log";
    options.screen = folder.path() / "screen.png";
  }
  void TearDown() override {
    const char* keep = std::getenv("KILN_TEST_KEEP");
    if (keep == nullptr) return;
    for (const auto& file : {options.console, options.screen}) {
      std::error_code ignored;
      fs::copy_file(file, fs::path(keep) / file.filename(), fs::copy_options::overwrite_existing, ignored);
    }
  }
  static const CheckResult& find(const Verdict& verdict, const std::string& name) {
    static const CheckResult none;
    const auto at = std::find_if(verdict.checks.begin(), verdict.checks.end(),
                                 [&](const CheckResult& check) { return check.name == name; });
    return at == verdict.checks.end() ? none : *at;
  }

  host::Host host = host::Host::system();
  host::TempDir folder{{}, "kiln-proof-test-"};
  BootOptions options;
};

TEST_F(ProofTest, SeesWhatIsThereAndWhatIsNot) {
  const std::string before = base::sha256_file(options.image);
  options.proof.units = {"ssh.service", "no-such.service", "systemd-journald.service"};
  options.proof.files = {{"/etc/os-release", "link", "../usr/lib/os-release", "", "", "", {}},
                         {"/etc/passwd", "file", "", "0644", "root", "^root:", {}},
                         {"/etc/shadow", "file", "", "0600", "daemon", "", {}},
                         {"/var/log", "directory", "", "", "", "", {}},
                         {"/etc/it's here", "absent", "", "", "", "", {}},
                         {"/etc/passwd", "absent", "", "", "", "", {}}};
  options.proof.commands = {{{"printf", "%s|", "a b", "$HOME", "it's"}, 0, "^a b\\|\\$HOME\\|it's\\|$", {}},
                            {{"sh", "-c", "cat; echo more >&2; exit 3"}, 3, "", {}},
                            {{"false"}, 0, "", {}},
                            {{"no-such-program"}, 127, "", {}}};
  options.proof.ports = {{22, "ssh", "/", {}, "", {}}, {80, "http", "/", {}, "", {}}};
  const auto verdict = prove(host, options);
  std::cout << verdict.json() << "\n";
  EXPECT_FALSE(verdict.proven);
  EXPECT_TRUE(verdict.inside);
  for (const char* good :
       {"boots by bios", "cloud-init has finished", "root file system has grown", "system has settled",
        "no failed unit", "ssh.service", "systemd-journald.service", "/etc/os-release", "/var/log",
        "/etc/it's here", "no-such-program", "port 22 ssh"}) {
    EXPECT_TRUE(find(verdict, good).passed) << good << ": " << find(verdict, good).detail;
  }
  for (const char* bad : {"no-such.service", "/etc/shadow", "false", "port 80 http"}) {
    EXPECT_TRUE(find(verdict, bad).ran && !find(verdict, bad).passed)
        << bad << ": " << find(verdict, bad).detail;
    EXPECT_NE(find(verdict, bad).detail, "");
  }
  EXPECT_EQ(std::count_if(verdict.checks.begin(), verdict.checks.end(),
                          [](const auto& check) { return !check.passed; }),
            5);
  EXPECT_EQ(base::sha256_file(options.image), before);
  EXPECT_TRUE(fs::exists(options.screen));
  EXPECT_TRUE(fs::is_empty(options.scratch) || !fs::exists(options.scratch / "key"));
}

TEST_F(ProofTest, SaysThatAnEmptyDiskDoesNotBoot) {
  const auto empty = folder.path() / "empty.qcow2";
  host::require(*host.runner, {"qemu-img", "create", "-q", "-f", "qcow2", empty.string(), "64M"});
  options.image = empty;
  options.limits.first_byte = std::chrono::seconds(20);
  options.proof.ports = {{22, "ssh", "/", {}, "", {}}};
  const auto verdict = prove(host, options);
  EXPECT_FALSE(verdict.proven);
  ASSERT_FALSE(verdict.checks.empty());
  EXPECT_NE(verdict.checks[0].detail.find("stayed silent for 20 s"), std::string::npos) << verdict.json();
  EXPECT_FALSE(find(verdict, "port 22 ssh").ran);
  EXPECT_LT(verdict.seconds, 40);
}

}  // namespace
}  // namespace kiln::proof
