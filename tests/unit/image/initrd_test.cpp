#include "image/initrd.hpp"

#include <fstream>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::image {
namespace {

TEST(InitrdTest, PutsTheAgentBehindTheImagesOwn) {
  const host::TempDir folder;
  const auto own = folder.path() / "initrd";
  const auto extended = folder.path() / "both";
  for (const std::string first : {"12345678", "123456789", "1234567890a", ""}) {
    host::write_file(own, first);
    extend_initrd(own, "the agent", extended);
    const std::string both = host::read_file(extended);
    const std::size_t start = (first.size() + 3) / 4 * 4;
    ASSERT_EQ(both.substr(0, first.size()), first);
    EXPECT_EQ(both.substr(first.size(), start - first.size()), std::string(start - first.size(), '\0'));
    ASSERT_EQ(both.substr(start, 6), "070701");
    const auto rest = folder.path() / "rest";
    host::write_file(rest, both.substr(start));
    std::map<std::string, std::string> members;
    host::read_archive(rest, [&](const host::Member& member, const host::Content& read) {
      members[member.path] = member.kind == 'f' ? read() : "";
    });
    EXPECT_EQ(members["kiln-agent"], "the agent");
    EXPECT_EQ(members["conf/param.conf"], param_conf());
    EXPECT_FALSE(std::filesystem::exists(extended.string() + ".kiln.cpio"));
  }
  EXPECT_THROW(extend_initrd(folder.path() / "none", "x", extended), base::Error);
}

TEST(InitrdTest, WritesBelowRunOnly) {
  const std::string text = param_conf();
  // Every redirection goes to /run or to the kernel's log.
  for (std::size_t at = text.find('>'); at != std::string::npos; at = text.find('>', at + 1)) {
    const auto from = text.find_first_not_of('>', at);
    EXPECT_TRUE(text.compare(from, 5, "/run/") == 0 || text.compare(from, 9, "/dev/kmsg") == 0)
        << text.substr(at, 40);
  }
  EXPECT_NE(text.find("apt-daily.timer"), std::string::npos);
  EXPECT_NE(text.find("cloud-final.service"), std::string::npos);
}

// The initramfs' shell runs it: here the host's, in a folder instead of the root.
TEST(InitrdTest, LaysOutRunWhenItsShellSourcesIt) {
  const host::TempDir folder;
  const std::string root = folder.path().string();
  std::string text = param_conf();
  for (const std::string place : {"/run", "/kiln-agent >", "/dev/kmsg"}) {
    std::size_t at = 0;
    // "ExecStart=/run/..." moves along; that does no harm here.
    while ((at = text.find(place, at)) != std::string::npos) {
      text.insert(at, root);
      at += root.size() + place.size();
    }
  }
  std::filesystem::create_directories(folder.path() / "run/initramfs");
  std::filesystem::create_directories(folder.path() / "dev");
  std::filesystem::create_directories(folder.path() / "bin");
  host::write_file(folder.path() / "kiln-agent", "the agent");
  host::write_file(folder.path() / "bin/mount", "#!/bin/sh\necho \"$@\" >" + root + "/mounted\n", 0755);
  host::write_file(folder.path() / "param.conf", text);
  host::Command shell{"/bin/sh", "-eu", "-c",
                      ". " + root + "/param.conf; . " + root + "/param.conf; echo on"};
  shell.env["PATH"] = root + "/bin:/usr/bin:/bin";
  const auto finished = host::Host::system().runner->run(shell);
  EXPECT_EQ(finished.out, "on\n") << finished.err;
  EXPECT_EQ(finished.err, "");
  EXPECT_EQ(host::read_file(folder.path() / "mounted"),
            "-t tmpfs -o nosuid,nodev,mode=0755 kiln " + root + "/run/kiln\n");
  EXPECT_EQ(host::read_file(folder.path() / "run/kiln/agent"), "the agent");
  EXPECT_EQ(host::read_file(folder.path() / "dev/kmsg"), std::string(placed_mark) + "\n");
  const auto units = folder.path() / "run/systemd/system";
  EXPECT_EQ(std::filesystem::read_symlink(units / "sysinit.target.wants/kiln-agent.service"),
            "../kiln-agent.service");
  EXPECT_TRUE(std::filesystem::exists(units / "sysinit.target.wants/kiln-agent.service"));
  EXPECT_EQ(host::read_file(units / "fstrim.timer.d/zz-kiln.conf").substr(0, 28),
            "[Unit]\nConditionPathExists=" + root.substr(0, 1));
}

}  // namespace
}  // namespace kiln::image
