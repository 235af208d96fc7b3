// The sandbox on a folder that plays a mounted layer, with a shell of this host's inside. Root only, as the
// sandbox is: what it mounts is in a mount namespace of the test's own.
#include "image/sandbox.hpp"

#include <cstdio>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

host::Host& the_host() {
  static host::Host host = host::Host::system();
  return host;
}

class SandboxTest : public ::testing::Test {
 protected:
  // `outside` is beside the layer: nothing may read or change it.
  SandboxTest() : tree_({{"outside/secret", "of the host"}, {"layer/etc/hostname", "x\n"}}) {
    for (const char* folder : {"dev", "proc", "sys", "run", "tmp", "usr/sbin", "var/cache/apt/archives"})
      tree_.folder(std::string("layer/") + folder);
  }
  void SetUp() override {
    if (!the_host().root) GTEST_SKIP() << "skip: a sandbox needs root";
    // A shell, and what it is linked with.
    const std::string shell = fs::canonical("/bin/sh");
    take(shell, "/bin/sh");
    for (const std::string& line : base::lines(host::require(*the_host().runner, {"ldd", shell}).out)) {
      for (const std::string& word : base::split(std::string(base::trim(line)), ' '))
        if (word.starts_with('/')) take(word, word);
    }
  }
  void take(const fs::path& from, const std::string& to) {
    const fs::path place = tree_ / ("layer" + to);
    fs::create_directories(place.parent_path());
    fs::copy_file(from, place, fs::copy_options::overwrite_existing);
  }
  std::unique_ptr<System> open(bool network = true) {
    SandboxOptions options;
    options.root = tree_ / "layer";
    options.scratch = tree_ / "scratch";
    options.network = network;
    return open_sandbox(the_host(), options);
  }
  // A directory of the layer becomes a link.
  void link(const std::string& path, const std::string& target) {
    fs::remove_all(tree_ / ("layer/" + path));
    tree_.link("layer/" + path, target);
  }
  std::string refusal() {
    try {
      open();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  static host::Finished sh(System& system, const std::string& script) {
    Exec exec;
    exec.argv = {"sh", "-c", script};
    return system.run(exec);
  }
  std::vector<std::string> outside() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(tree_ / "outside"))
      names.push_back(entry.path().filename());
    return names;
  }
  // All there is in the layer: with a mount it is more.
  std::vector<std::string> listing() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(tree_ / "layer"))
      names.push_back(entry.path().string());
    std::sort(names.begin(), names.end());
    return names;
  }

  fakes::TempTree tree_;
};

TEST_F(SandboxTest, runs_with_an_environment_of_its_own_and_tells_how_it_ended) {
  const auto system = open();
  const auto said = sh(*system, "export -p; echo $0; pwd; echo $$");
  EXPECT_TRUE(said.ok()) << said.err;
  EXPECT_THAT(said.out, HasSubstr("export PATH='/run/kiln-tools:/usr/local/sbin:"));
  EXPECT_THAT(said.out, AllOf(HasSubstr("export PWD='/'"), HasSubstr("\nsh\n/\n1\n")));
  EXPECT_THAT(said.out, Not(HasSubstr(fs::current_path().string())));
  EXPECT_EQ(sh(*system, "exit 3").exit, 3);
  EXPECT_EQ(sh(*system, "kill -9 $$; exit 5").exit, 5);  // the first of its namespace
  Exec exec;
  exec.argv = {"no-such-program"};
  const auto missing = system->run(exec);
  EXPECT_EQ(missing.exit, 127);
  EXPECT_THAT(missing.err, HasSubstr("no-such-program"));
  exec.argv = {"sh", "-c", "printf %s \"$MORE\"; read line; echo \"$line\""};
  exec.env = {{"MORE", "a b$"}};
  exec.input = "typed\n";
  EXPECT_EQ(system->run(exec).out, "a b$typed\n");
}

// Remembers the last command.
class Listening : public host::Runner {
 public:
  host::Finished run(const host::Command& command, const host::OnOutput& on_output) override {
    last = command;
    return the_host().runner->run(command, on_output);
  }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    return the_host().runner->start(command);
  }
  std::optional<fs::path> find_program(const std::string& name) override {
    return the_host().runner->find_program(name);
  }
  host::Command last;
};

TEST_F(SandboxTest, hands_variables_over_where_nobody_else_reads_them) {
  const auto runner = std::make_shared<Listening>();
  host::Host host = the_host();
  host.runner = runner;
  host.env = [](const std::string& name) -> std::optional<std::string> {
    if (name == "http_proxy") return "http://me:s3cret@proxy";
    return std::nullopt;
  };
  SandboxOptions options;
  options.root = tree_ / "layer";
  options.scratch = tree_ / "scratch";
  const auto system = open_sandbox(host, options);
  Exec exec;
  exec.argv = {"sh", "-c", "read -r all </proc/$$/environ; echo \"$all\""};
  exec.env = {{"LANG", "C"}, {"TOKEN", "t0ken"}};
  const std::string all = system->run(exec).out;  // without the zeros between
  std::size_t length = 1;
  for (const std::string& variable :
       {fmt::format("PATH={}:{}", stand_ins_folder, image_path), std::string("HOME=/root"),
        std::string("LANG=C"), std::string("DEBIAN_FRONTEND=noninteractive"),
        std::string("SYSTEMD_OFFLINE=1"), std::string("TOKEN=t0ken"),
        std::string("http_proxy=http://me:s3cret@proxy")}) {
    EXPECT_THAT(all, HasSubstr(variable));
    length += variable.size();
  }
  EXPECT_EQ(all.size(), length) << all;  // and nothing of the host
  for (const std::string& word : runner->last.argv)
    EXPECT_THAT(word, AllOf(Not(HasSubstr("s3cret")), Not(HasSubstr("t0ken"))));
  EXPECT_THAT(runner->last.text(), AllOf(Not(HasSubstr("s3cret")), Not(HasSubstr("t0ken"))));
}

TEST_F(SandboxTest, neither_sets_the_hosts_kernel_nor_presses_its_sysrq) {
  const auto system = open();
  // A value that may be written any time: it is written as it is.
  const auto set = sh(*system, "read x </proc/sys/vm/swappiness; echo \"$x\" >/proc/sys/vm/swappiness");
  EXPECT_NE(set.exit, 0);
  EXPECT_THAT(set.err, HasSubstr("Read-only file system"));
  if (fs::exists("/proc/sysrq-trigger")) {
    // Nothing is pressed: the file is only opened.
    const auto press = sh(*system, ": >/proc/sysrq-trigger");
    EXPECT_NE(press.exit, 0);
    EXPECT_THAT(press.err, HasSubstr("Read-only file system"));
  }
  EXPECT_TRUE(sh(*system, "read x </proc/self/stat && : >/dev/null && test ! -e /proc/sys/none").ok());
}

TEST_F(SandboxTest, leaves_the_layer_as_it_was) {
  const auto before = listing();
  auto system = open();
  EXPECT_TRUE(sh(*system,
                 "test -c /dev/null && test -x /usr/sbin/policy-rc.d && test -x /run/kiln-tools/update-grub "
                 "&& test -e /etc/resolv.conf && test -d /sys/kernel && : >/tmp/x && : >/run/x && "
                 ": >/dev/shm/x")
                  .ok());
  EXPECT_THAT(sh(*system, "update-grub && command -v update-grub").out, HasSubstr("/run/kiln-tools/"));
  system.reset();
  EXPECT_EQ(listing(), before);
}

TEST_F(SandboxTest, refuses_an_image_whose_folders_are_links_and_touches_nothing_they_lead_to) {
  const std::string away = tree_ / "outside";
  for (const std::string name : {"dev", "run", "sys", "tmp"}) {
    const auto before = listing();
    link(name, away);
    EXPECT_THAT(refusal(), HasSubstr("/" + name + " of the image is a symbolic link")) << name;
    EXPECT_THAT(outside(), ElementsAre("secret")) << name;
    fs::remove(tree_ / ("layer/" + name));
    tree_.folder("layer/" + name);
    EXPECT_EQ(listing(), before) << name;
  }
}

TEST_F(SandboxTest, a_proc_that_becomes_a_link_is_refused) {
  const auto system = open();
  link("proc", tree_ / "outside");
  EXPECT_THROW(sh(*system, "true"), base::Error);
  EXPECT_THAT(outside(), ElementsAre("secret"));
}

TEST_F(SandboxTest, an_etc_that_leads_out_is_resolved_in_the_image) {
  const std::string away = tree_ / "outside";
  link("etc", away);
  EXPECT_THAT(refusal(), HasSubstr("/etc of the image"));
  link("etc", "/etc");
  EXPECT_THAT(refusal(), HasSubstr("/etc of the image"));
  EXPECT_THAT(outside(), ElementsAre("secret"));
  // The same path exists in the image, too (below /tmp a mount of the sandbox's would hide it).
  const fs::path host_folder = "/usr/share";
  ASSERT_TRUE(fs::is_directory(host_folder));
  const fs::path twin = tree_.folder("layer" + host_folder.string());
  link("etc", host_folder);
  auto system = open();
  EXPECT_TRUE(sh(*system, "test -e /etc/resolv.conf").ok());
  EXPECT_FALSE(fs::exists(host_folder / "resolv.conf"));
  system.reset();
  EXPECT_TRUE(fs::is_empty(twin));
}

TEST_F(SandboxTest, lends_the_hosts_resolver_whatever_stands_there) {
  const std::string hosts = host::read_file("/etc/resolv.conf");
  const std::string show = "while IFS= read -r line; do printf '%s\\n' \"$line\"; done </etc/resolv.conf";
  const auto shown = [&] { return std::string(base::trim(sh(*open(), show).out)); };
  const std::string wanted(base::trim(hosts));
  const fs::path file = tree_ / "layer/etc/resolv.conf";

  EXPECT_EQ(shown(), wanted);
  EXPECT_FALSE(fs::exists(fs::symlink_status(file)));

  tree_.file("layer/etc/resolv.conf", "nameserver 192.0.2.1\n");
  EXPECT_EQ(shown(), wanted);
  EXPECT_EQ(host::read_file(file), "nameserver 192.0.2.1\n");
  fs::remove(file);

  for (const std::string target :
       {"../run/systemd/resolve/stub-resolv.conf", "/run/resolvconf/resolv.conf"}) {
    tree_.link("layer/etc/resolv.conf", target);
    EXPECT_EQ(shown(), wanted) << target;
    EXPECT_EQ(fs::read_symlink(file), target);
    EXPECT_TRUE(fs::is_empty(tree_ / "layer/run"));
    fs::remove(file);
  }

  // A link that leads out when the host follows it.
  tree_.link("layer/etc/resolv.conf", (tree_ / "outside/secret").string());
  EXPECT_NE(shown(), wanted);
  EXPECT_EQ(host::read_file(tree_ / "outside/secret"), "of the host");
}

TEST_F(SandboxTest, keeps_the_policy_a_package_brings) {
  auto system = open();
  EXPECT_TRUE(sh(*system, "echo mine >/usr/sbin/policy-rc.d").ok());
  system.reset();
  EXPECT_EQ(host::read_file(tree_ / "layer/usr/sbin/policy-rc.d"), "mine\n");
  system = open();
  EXPECT_EQ(sh(*system, "/usr/sbin/policy-rc.d").exit, 101);
  system.reset();
  EXPECT_EQ(host::read_file(tree_ / "layer/usr/sbin/policy-rc.d"), "mine\n");
}

TEST_F(SandboxTest, a_package_that_puts_a_link_in_the_place_of_the_policy_loses_nothing_outside) {
  const fs::path secret = tree_.file(
      "outside/policy", "#!/bin/sh\n# No service is started while the image is built.\nexit 101\n");
  auto system = open();
  link("usr/sbin/policy-rc.d", secret);
  system.reset();
  EXPECT_THAT(outside(), UnorderedElementsAre("secret", "policy"));
  EXPECT_TRUE(fs::is_symlink(fs::symlink_status(tree_ / "layer/usr/sbin/policy-rc.d")));
  // A dangling one would stay unseen by whoever asks for the policy.
  link("usr/sbin/policy-rc.d", "/nowhere");
  EXPECT_THAT(refusal(), HasSubstr("policy-rc.d of the image is a link to nothing"));
}

TEST_F(SandboxTest, unmounts_what_it_mounted_when_a_package_moves_the_folder) {
  const auto before = listing().size();
  auto system = open();
  fs::rename(tree_ / "layer/var/cache", tree_ / "layer/var/moved");
  tree_.link("layer/var/cache", (tree_ / "outside").string());
  system.reset();
  fs::remove(tree_ / "layer/var/cache");
  EXPECT_EQ(listing().size(), before);
  EXPECT_NO_THROW(fs::remove(tree_ / "layer/var/moved/apt/archives"));  // no mount point
}

}  // namespace
}  // namespace kiln::image
