#include "image/rest.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text.hpp"
#include "fakes/host.hpp"

namespace kiln::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

// A guest in which processes hold files, as find tells it, until what they belong to is renewed.
class Busy : public System {
 public:
  host::Finished run(const Exec& exec, const host::OnOutput&) override {
    const auto& argv = exec.argv;
    const std::string line = base::shell_line(argv);
    if (line == "systemctl list-jobs --no-legend --plain") {
      if (jobs == 0) return fakes::printed("No jobs running.\n");
      --jobs;
      return fakes::printed("90 postgresql@15-main.service stop running\n");
    }
    if (argv.size() > 1 && argv[1] == "list-units")
      return fakes::printed("kiln-agent.service loaded active running Runs\n" + running);
    if (argv[0] == "sleep") return fakes::printed("");
    if (argv[0] == "systemctl") said.push_back(line);
    if (line == "systemctl isolate kiln-rest.target" && !isolates) return fakes::failed(1, "no such job\n");
    if (argv[0] == "systemctl") {
      held.erase(argv.back());
      return fakes::printed("");
    }
    if (line == "cat /proc/mounts")
      return fakes::printed(
          "/dev/vda1 / ext4 rw 0 0\nproc /proc proc rw 0 0\n/dev/vda15 /boot/efi vfat rw 0 0\n");
    if (argv[0] == "stat") return fakes::printed(argv.size() == 6 ? "65025\n65039\n" : "");
    if (argv[1] == "/proc") return fakes::printed("/proc/1\n/proc/77\n/proc/88\n");
    if (argv[0] == "find") {
      EXPECT_THAT(argv, Contains("/proc/77/map_files"));
      std::string out = "5 /proc/88/fd/3\n";  // of no disk
      for (const auto& [unit, where] : held) out += where;
      return fakes::printed(out);
    }
    if (line == "cat /proc/77/cgroup") return fakes::printed("0::/system.slice/systemd-udevd.service/udev\n");
    if (line == "cat /proc/88/cgroup") return fakes::printed("2:cpu:/\n1:name=systemd:/\n");
    if (line == "cat /proc/88/comm") return fakes::printed("tail\n");
    if (argv.back().ends_with("/comm")) return fakes::printed("other\n");
    ADD_FAILURE() << "unknown: " << line;
    return fakes::failed(127, "");
  }
  [[nodiscard]] bool booted() const override { return true; }

  std::vector<std::string> said;  // to systemd
  std::map<std::string, std::string> held;
  bool isolates = true;
  std::string running;
  int jobs = 0;  // looks that find a service which is still being stopped
};

TEST(Rest, services_are_stopped_and_nothing_else_is_done_when_no_file_is_held) {
  Busy guest;
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}), IsEmpty());
  EXPECT_THAT(guest.said, ElementsAre("systemctl isolate kiln-rest.target"));
}

TEST(Rest, services_of_the_basic_system_are_stopped_but_for_journal_and_udev) {
  Busy guest;
  guest.running =
      "systemd-journald.service loaded active running Journal\n"
      "systemd-udevd.service loaded active running udev\n"
      "systemd-resolved.service loaded active running Names\n"
      "systemd-timesyncd.service loaded active running Time\n";
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}), IsEmpty());
  EXPECT_THAT(guest.said, ElementsAre("systemctl isolate kiln-rest.target",
                                      "systemctl stop systemd-resolved.service systemd-timesyncd.service"));
}

TEST(Rest, what_holds_a_deleted_file_is_renewed) {
  Busy guest;
  guest.held["daemon-reexec"] = "65025 /proc/1/map_files/1000-2000\n65025 /proc/1/fd/9\n";
  guest.held["systemd-udevd.service"] = "65025 /proc/77/map_files/1000-2000\n";
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}), IsEmpty());
  EXPECT_THAT(guest.said, ElementsAre("systemctl isolate kiln-rest.target", "systemctl daemon-reexec",
                                      "systemctl restart systemd-udevd.service"));
}

TEST(Rest, a_process_of_no_service_is_named) {
  Busy guest;
  guest.held["nothing renews it"] = "65025 /proc/88/fd/4\n";
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}),
              ElementsAre("tail (process 88) holds a deleted file"));
  EXPECT_THAT(guest.said, Not(Contains(HasSubstr("restart"))));
}

TEST(Rest, services_that_do_not_stop_are_a_reason) {
  Busy guest;
  guest.isolates = false;
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}),
              ElementsAre("services do not stop: no such job"));
}

TEST(Rest, services_are_waited_for_until_they_have_stopped_and_named_when_they_do_not) {
  Busy guest;
  guest.jobs = 7;
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}), IsEmpty());
  EXPECT_EQ(guest.jobs, 0);
  guest.jobs = 1'000'000;
  EXPECT_THAT(bring_to_rest(guest, [](std::string_view) {}),
              ElementsAre("these do not stop: postgresql@15-main.service"));
}

}  // namespace
}  // namespace kiln::image
