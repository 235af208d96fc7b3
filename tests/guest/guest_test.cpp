// A real guest: what it promises its users, and what it finds out when something goes wrong. The cases that
// leave it alive share one boot.
#include "image/guest.hpp"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fmt/format.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sys/mount.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "base/scope_exit.hpp"
#include "base/text.hpp"
#include "engine/machines.hpp"
#include "engine/workspace.hpp"
#include "host/atomic_file.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::image {
namespace {

namespace fs = std::filesystem;
using std::chrono::seconds;

host::Host& the_host() {
  static host::Host host = host::Host::system();
  return host;
}

std::string base_image() {
  const char* base = std::getenv("KILN_TEST_BASE");
  return base == nullptr ? "" : base;
}

std::string out_of(const host::Command& command) {
  return host::require(*the_host().runner, command).out;
}

// Kernel and initrd of the base, taken out once.
const engine::Session::BootFiles& boot_files() {
  static const host::TempDir folder({}, "kiln-guest-boot-");
  static const engine::Session::BootFiles files = [] {
    const auto machines = engine::real_machines(the_host(), folder.path() / "state");
    const auto scratch = folder.path() / "scratch";
    fs::create_directories(scratch);
    const auto open = machines->open_files(fs::absolute(base_image()), scratch, true, the_host().root, true);
    auto taken = engine::take_boot_files(open->files(), folder.path());
    open->close();
    return taken;
  }();
  return files;
}

// A throw-away overlay of the base, or of another disk.
class Bench {
 public:
  // `disk_folder`: where the overlay is, beside the rest when empty.
  explicit Bench(fs::path disk_folder = {}, const fs::path& below = fs::absolute(base_image()))
      : folder_({}, "kiln-guest-test-"), disk_folder_(std::move(disk_folder)) {
    if (disk_folder_.empty()) disk_folder_ = folder_.path();
    out_of({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below.string(), disk().string()});
    options.disk = disk();
    options.kernel = boot_files().kernel;
    options.initrd = boot_files().initrd;
    options.root = boot_files().root;
    options.scratch = folder_.path();
    options.console = folder_.path() / "console.log";
    options.limits = limits_for(Accel::tcg);
  }
  [[nodiscard]] fs::path disk() const { return disk_folder_ / "disk.qcow2"; }
  [[nodiscard]] fs::path path(const std::string& name) const { return folder_.path() / name; }
  std::unique_ptr<Guest> boot() {
    return Guest::boot(the_host(), options, [this](std::string_view what) { doings.emplace_back(what); });
  }

  GuestOptions options;
  std::vector<std::string> doings;

 private:
  host::TempDir folder_;
  fs::path disk_folder_;
};

Exec command(std::vector<std::string> argv) {
  Exec exec;
  exec.argv = std::move(argv);
  return exec;
}

// A guest that was booted once and kept: what a test needs of a running guest is resumed from it, so that it
// does not pay for a boot.
struct Kept {
  Kept() {
    auto guest = bench.boot();
    const auto told = guest->run(command({"sh", "-c", "echo kept >/root/kept; echo lively >/run/lively"}));
    if (!told.ok()) throw std::runtime_error(told.err);
    guest->save(memory, initrd);
  }
  Bench bench;
  fs::path memory = bench.path("memory.zst");
  fs::path initrd = bench.path("initrd.saved");
};
const Kept& kept() {
  static const Kept one;
  return one;
}

class Resumed : public Bench {
 public:
  explicit Resumed(const fs::path& disk_folder = {}) : Bench(disk_folder, kept().bench.disk()) {
    options.initrd = kept().initrd;
  }
  [[nodiscard]] std::unique_ptr<Guest> start() const {
    return Guest::resume(the_host(), options, kept().memory);
  }
};

// The message of the error `deed` throws, "" when it throws none.
template <typename Deed>
std::string error_of(Deed deed) {
  try {
    deed();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

// The process whose command line has `word`, 0 when there is none.
pid_t process_with(const std::string& word) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    const std::string line((std::istreambuf_iterator<char>(file)), {});
    if (line.find(word) != std::string::npos) return std::stoi(name);
  }
  return 0;
}

// Each file system of `disk` is as after a clean shutdown.
void expect_clean(const fs::path& disk) {
  const host::TempDir folder({}, "kiln-guest-disk-");
  const auto raw = folder.path() / "disk.raw";
  out_of({"qemu-img", "check", "-q", disk.string()});
  out_of({"qemu-img", "convert", "-O", "raw", disk.string(), raw.string()});
  const auto table = nlohmann::json::parse(out_of({"sfdisk", "-J", raw.string()}));
  int checked = 0;
  for (const auto& partition : table["partitiontable"]["partitions"]) {
    const auto start = partition["start"].get<std::uint64_t>();
    const auto size = partition["size"].get<std::uint64_t>();
    const std::string node(base::trim(partition["node"].get<std::string>()));
    std::vector<std::string> check;
    if (node.ends_with("raw1")) {
      check = {"e2fsck", "-fn", raw.string() + "?offset=" + std::to_string(start * 512)};
    } else if (node.ends_with("raw15")) {
      const auto esp = folder.path() / "esp";
      out_of({"dd", "status=none", "if=" + raw.string(), "of=" + esp.string(), "bs=512",
              "skip=" + std::to_string(start), "count=" + std::to_string(size)});
      check = {"fsck.vfat", "-n", esp.string()};
    } else {
      continue;
    }
    ++checked;
    const auto told = the_host().runner->run(host::Command(check));
    EXPECT_TRUE(told.ok()) << told.out << told.err;
    EXPECT_EQ(told.out.find("recover"), std::string::npos) << told.out;
    EXPECT_EQ(told.out.find("Dirty bit"), std::string::npos) << told.out;
  }
  EXPECT_EQ(checked, 2) << table.dump();
}

class GuestTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (base_image().empty()) return;
    bench_ = std::make_unique<Bench>();
    guest_ = bench_->boot();
  }
  static void TearDownTestSuite() {
    guest_.reset();
    bench_.reset();
  }
  void SetUp() override {
    if (base_image().empty()) GTEST_SKIP() << "KILN_TEST_BASE names no base image";
    ASSERT_TRUE(guest_);
  }
  static std::unique_ptr<Bench> bench_;
  static std::unique_ptr<Guest> guest_;
};
std::unique_ptr<Bench> GuestTest::bench_;
std::unique_ptr<Guest> GuestTest::guest_;

TEST_F(GuestTest, StreamsOutputAsItComes) {
  std::vector<std::pair<host::Stream, std::string>> seen;
  double first = 0;
  const auto finished = guest_->run(command({"sh", "-c", "echo one; echo two >&2; sleep 4; echo three"}),
                                    [&](host::Stream stream, std::string_view text) {
                                      if (seen.empty()) first = the_host().elapsed();
                                      seen.emplace_back(stream, text);
                                    });
  EXPECT_TRUE(finished.ok());
  EXPECT_EQ(finished.out, "one\nthree\n");
  EXPECT_EQ(finished.err, "two\n");
  ASSERT_GE(seen.size(), 3U);
  EXPECT_GT(the_host().elapsed() - first, 3);
}

TEST_F(GuestTest, TellsStatusSignalAndMissingProgram) {
  EXPECT_EQ(guest_->run(command({"sh", "-c", "exit 3"})).exit, 3);
  const auto killed = guest_->run(command({"sh", "-c", "kill -9 $$"}));
  EXPECT_EQ(killed.signal, 9);
  EXPECT_EQ(killed.exit, -1);
  const auto missing = guest_->run(command({"no-such-program"}));
  EXPECT_EQ(missing.exit, 127);
  EXPECT_NE(missing.err.find("no-such-program: No such file"), std::string::npos) << missing.err;
}

TEST_F(GuestTest, PassesWordsAndEnvironmentUnchanged) {
  auto exec = command({"printf", "%s|", "a b", "", "$HOME", "ä\n'\""});
  EXPECT_EQ(guest_->run(exec).out, "a b||$HOME|ä\n'\"|");
  exec = command({"sh", "-c", "echo $HOME $LANG $EXTRA $PWD"});
  exec.env["EXTRA"] = "more";
  EXPECT_EQ(guest_->run(exec).out, "/root C.UTF-8 more /\n");
}

TEST_F(GuestTest, CarriesFilesInAndOut) {
  // More than the window and the pipe hold, and every byte value.
  std::string content;
  for (int i = 0; i < 5'000'000; ++i) content += static_cast<char>(i * 7 + i / 251);
  host::write_file(bench_->path("in"), content);
  auto in = command({"sh", "-c", "sleep 1; cat >/tmp/carried"});
  in.input_file = bench_->path("in");
  ASSERT_TRUE(guest_->run(in).ok());
  auto back = command({"cat", "/tmp/carried"});
  back.output_file = bench_->path("out");
  const auto finished = guest_->run(back);
  ASSERT_TRUE(finished.ok());
  EXPECT_EQ(finished.out, "");
  EXPECT_EQ(host::read_file(bench_->path("out")), content);
  guest_->write("/tmp/mode", "text", 0640);
  EXPECT_EQ(guest_->read("/tmp/mode"), "text");
  EXPECT_EQ(guest_->run(command({"stat", "-c", "%a %u", "/tmp/mode"})).out, "640 0\n");
}

TEST_F(GuestTest, IgnoresInputNobodyReads) {
  auto exec = command({"true"});
  exec.input = std::string(3'000'000, 'x');
  EXPECT_TRUE(guest_->run(exec).ok());
}

TEST_F(GuestTest, DoesNotWaitForWhatACommandLeavesRunning) {
  const double start = the_host().elapsed();
  const auto finished = guest_->run(command({"sh", "-c", "sleep 60 & echo started"}));
  EXPECT_EQ(finished.out, "started\n");
  EXPECT_LT(the_host().elapsed() - start, 20);
}

TEST_F(GuestTest, StopsACommandWhoseTimeIsUp) {
  auto exec = command({"sh", "-c", "trap '' TERM; echo words; sleep 1000; sleep 1000"});
  exec.timeout = seconds(3);
  const std::string error = error_of([&] { guest_->run(exec); });
  EXPECT_NE(error.find("did not end within 3"), std::string::npos) << error;
  EXPECT_NE(error.find("words"), std::string::npos) << error;
  EXPECT_EQ(guest_->run(command({"pgrep", "-x", "-f", "sleep 1000"})).out, "");
  EXPECT_EQ(guest_->run(command({"echo", "alive"})).out, "alive\n");
}

TEST_F(GuestTest, IsSettledQuietAndOnTheNetwork) {
  const auto state = guest_->run(command({"systemctl", "is-system-running"})).out;
  EXPECT_TRUE(state == "running\n" || state == "degraded\n") << state;
  EXPECT_EQ(guest_->run(command({"systemctl", "is-active", "apt-daily.timer"})).out, "inactive\n");
  EXPECT_EQ(guest_->run(command({"sh", "-c", "grep -c 10.0.2.3 /etc/resolv.conf"})).out, "1\n");
  const auto routes = guest_->run(command({"cat", "/proc/net/route"})).out;
  EXPECT_NE(routes.find("\t00000000\t0202000A\t"), std::string::npos) << routes;
}

TEST_F(GuestTest, HintsAtAFullDisk) {
  const auto finished = guest_->run(
      command({"sh", "-c",
               "mkdir /tmp/small && mount -t tmpfs -o size=64k none /tmp/small && "
               "dd if=/dev/zero of=/tmp/small/x bs=1k count=100; s=$?; umount /tmp/small; exit $s"}));
  EXPECT_EQ(finished.exit, 1);
  EXPECT_NE(finished.err.find("No space left on device"), std::string::npos);
  EXPECT_NE(finished.err.find("kiln: the image's disk is full"), std::string::npos) << finished.err;
}

TEST_F(GuestTest, ShowsItsDisplay) {
  ASSERT_TRUE(guest_->screenshot(bench_->path("screen.png")));
  EXPECT_EQ(host::read_file(bench_->path("screen.png")).substr(1, 3), "PNG");
  if (const char* keep = std::getenv("KILN_TEST_KEEP")) {
    fs::copy_file(bench_->path("screen.png"), fs::path(keep) / "screen.png",
                  fs::copy_options::overwrite_existing);
    fs::copy_file(bench_->options.console, fs::path(keep) / "console.log",
                  fs::copy_options::overwrite_existing);
  }
}

// Last of this boot, for it ends it.
TEST_F(GuestTest, ZLeavesNothingBehind) {
  // What changed in /etc and /usr since the agent came. ssh's host keys are made by the base's own service,
  // .pwd.lock by systemd for a service with a user of its own; the machine id is a mount, and the file below
  // it is looked at next.
  const std::string script = R"(
    find /etc /usr /var/lib/systemd/random-seed -xdev -newercm /run/kiln/agent ! -path /etc ! -path '/etc/ssh*' ! -path /etc/.pwd.lock ! -path /etc/machine-id
    mkdir /tmp/disk && mount --bind / /tmp/disk
    find /tmp/disk/run ! -type d
    cat /tmp/disk/etc/machine-id
    ls -A /tmp/disk/run | grep -v '^lock$'
    ls /tmp/disk/var/log/journal
    umount /tmp/disk && rmdir /tmp/disk
  )";
  const auto left = guest_->run(command({"sh", "-c", script}));
  EXPECT_EQ(left.out, "") << left.err;
  guest_->shut_down();
  guest_.reset();
  expect_clean(bench_->disk());
}

class LostGuestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (base_image().empty()) GTEST_SKIP() << "KILN_TEST_BASE names no base image";
  }
};

TEST_F(LostGuestTest, FindsAKernelPanic) {
  const Resumed bench;
  const auto guest = bench.start();
  auto exec = command({"sh", "-c", "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger; sleep 100"});
  exec.purpose = "testing";
  const double start = the_host().elapsed();
  const std::string error = error_of([&] { guest->run(exec); });
  EXPECT_NE(error.find("kernel panicked: Kernel panic - not syncing: sysrq triggered crash"),
            std::string::npos)
      << error;
  EXPECT_NE(error.find("while testing"), std::string::npos) << error;
  EXPECT_LT(the_host().elapsed() - start, 15);
}

TEST_F(LostGuestTest, FindsADeadQemu) {
  const Resumed bench;
  const auto guest = bench.start();
  ASSERT_TRUE(guest->run(command({"sh", "-c", "echo last words >/dev/console"})).ok());
  const pid_t qemu = process_with(bench.disk().string());
  ASSERT_GT(qemu, 0);
  ASSERT_EQ(::kill(qemu, SIGKILL), 0);
  const double start = the_host().elapsed();
  const std::string error = error_of([&] { guest->run(command({"sleep", "300"})); });
  EXPECT_NE(error.find("QEMU died: killed by signal 9"), std::string::npos) << error;
  EXPECT_NE(error.find("last words"), std::string::npos) << "the last lines of the console: " << error;
  EXPECT_LT(the_host().elapsed() - start, 15);
}

// The host's disk is full while the guest writes: not the guest's fault, and it says where to make room.
TEST_F(LostGuestTest, NamesTheFullFileSystemOfTheHost) {
  if (::geteuid() != 0) GTEST_SKIP() << "skip: only root mounts a small file system";
  host::private_mounts();
  const host::TempDir small({}, "kiln-guest-small-");
  ASSERT_EQ(::mount("small", small.path().c_str(), "tmpfs", 0, "size=48m"), 0);
  const base::ScopeExit gone([&] { ::umount2(small.path().c_str(), MNT_DETACH); });
  const Resumed bench(small.path());
  const auto guest = bench.start();
  const std::string error = error_of([&] {
    auto fill =
        command({"sh", "-c", "dd if=/dev/urandom of=/var/tmp/fill bs=1M count=100 conv=fsync; sleep 300"});
    fill.timeout = seconds(240);
    guest->run(fill);
  });
  EXPECT_NE(error.find("the host's file system that holds"), std::string::npos) << error;
  EXPECT_NE(error.find(small.path().string()), std::string::npos) << error;
}

TEST_F(LostGuestTest, FindsAGuestThatPowersItselfOff) {
  const Resumed bench;
  const auto guest = bench.start();
  const std::string error = error_of([&] {
    guest->run(command({"systemctl", "poweroff"}));
    guest->run(command({"sleep", "300"}));
  });
  EXPECT_NE(error.find("the guest powered itself off"), std::string::npos) << error;
}

TEST_F(LostGuestTest, SaysWhenTheRootIsNotFound) {
  Bench bench;
  bench.options.root = "LABEL=no-such-root";
  const std::string error = error_of([&] { bench.boot(); });
  EXPECT_NE(error.find("no-such-root"), std::string::npos) << error;
}

// ---- kept and resumed (engine rule 11)

TEST(SettledGuestTest, ResumesWithItsDiskAndWithTimeAndRandomnessOfItsOwn) {
  if (base_image().empty()) GTEST_SKIP() << "KILN_TEST_BASE names no base image";
  EXPECT_EQ(process_with(kept().bench.disk().string()), 0) << "QEMU has ended";
  EXPECT_GT(fs::file_size(kept().memory), 10U << 20);
  EXPECT_LT(fs::file_size(kept().memory), 600U << 20);

  std::vector<std::string> random;
  for (int round = 0; round < 2; ++round) {
    const Resumed bench;
    auto guest = bench.start();
    random.push_back(guest->run(command({"python3", "-c", "import os; print(os.getrandom(16).hex())"})).out);
    const auto now = guest->run(command({"date", "-u", "+%s"})).out;
    EXPECT_NEAR(static_cast<double>(std::stol(now)), static_cast<double>(the_host().now()), 60);
    EXPECT_EQ(guest->run(command({"cat", "/run/lively", "/root/kept"})).out, "lively\nkept\n");
    ASSERT_TRUE(guest->run(command({"sh", "-c", "echo round >/root/round; ip route"})).ok());
    guest->shut_down();
    EXPECT_EQ(out_of({"qemu-img", "check", "-q", bench.disk().string()}), "");
  }
  EXPECT_NE(random[0], random[1]);

  // Cut short: told at once, and nothing is left running.
  const Resumed bench;
  const auto cut = bench.path("memory.zst");
  fs::copy_file(kept().memory, cut);
  fs::resize_file(cut, fs::file_size(cut) / 2);
  const std::string error = error_of([&] { Guest::resume(the_host(), bench.options, cut); });
  EXPECT_NE(error.find("memory.zst' cannot be expanded"), std::string::npos) << error;
  EXPECT_EQ(process_with(bench.disk().string()), 0);
}

// ---- cut while it runs (engine rule 12)

class CutGuest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (base_image().empty()) GTEST_SKIP() << "KILN_TEST_BASE names no base image";
  }
  // The disk of the next step, on top of `below`.
  static fs::path overlay(const Bench& bench, const std::string& name, const fs::path& below) {
    auto disk = bench.path(name);
    out_of({"qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below.string(), disk.string()});
    return disk;
  }
};

TEST_F(CutGuest, LeavesEveryDiskAsACleanShutdownWould) {
  const Resumed bench;
  const auto guest = bench.start();
  // A library that everything uses is replaced; a service and what a command left behind hold deleted files.
  const auto script = command({"sh", "-c", R"sh(
    set -e
    libc=$(readlink -f /lib/x86_64-linux-gnu/libc.so.6)
    cp -a $libc /root/libc
    mv /root/libc $libc
    systemd-run --quiet --unit=holder sh -c 'exec 3>/root/gone; rm /root/gone; echo lots >&3; sleep 1000'
    until [ "$(systemctl is-active holder)" = active ] && [ ! -e /root/gone ]; do sleep 0.2; done
    setsid sh -c 'exec 3>/root/lost; rm /root/lost; echo lots >&3; touch /run/held; sleep 1000' >/dev/null 2>&1 </dev/null &
    until [ -e /run/held ]; do sleep 0.2; done
    echo first >/root/first
    echo first >/boot/efi/first
  )sh"});
  const auto prepared = guest->run(script);
  ASSERT_TRUE(prepared.ok()) << prepared.err;
  const auto second = overlay(bench, "second.qcow2", bench.disk());
  ASSERT_EQ(guest->cut(second), "");
  expect_clean(bench.disk());

  guest->leave_rest();
  EXPECT_EQ(guest->run(command({"systemctl", "is-active", "ssh.service"})).out, "active\n");
  EXPECT_EQ(guest->run(command({"cat", "/root/first", "/boot/efi/first"})).out, "first\nfirst\n");
  EXPECT_EQ(
      guest->run(command({"sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o '[s]leep 1000'"}))
          .out,
      "")
      << "nothing of the first step runs on";
  ASSERT_TRUE(guest->run(command({"sh", "-c", "echo second >/root/second; getent hosts localhost"})).ok());
  const auto third = overlay(bench, "third.qcow2", second);
  ASSERT_EQ(guest->cut(third), "");
  expect_clean(second);

  guest->leave_rest();
  EXPECT_EQ(guest->run(command({"cat", "/root/first", "/root/second"})).out, "first\nsecond\n");
  guest->shut_down();
  expect_clean(third);
}

TEST_F(CutGuest, NamesWhatDoesNotLetGoAndCanBeShutDown) {
  const Resumed bench;
  const auto guest = bench.start();
  // A scope is not systemd's to start anew.
  const auto script = command({"sh", "-c", R"sh(
    systemd-run --quiet --scope sh -c 'exec 3>/root/gone; rm /root/gone; echo lots >&3; touch /run/held; sleep 1000' >/dev/null 2>&1 </dev/null &
    until [ -e /run/held ]; do sleep 0.2; done
  )sh"});
  ASSERT_TRUE(guest->run(script).ok());
  const auto second = overlay(bench, "second.qcow2", bench.disk());
  EXPECT_THAT(guest->cut(second),
              testing::MatchesRegex("(sh|sleep) .process [0-9]+. holds a deleted file.*"));
  guest->shut_down();
  expect_clean(bench.disk());
}

}  // namespace
}  // namespace kiln::image
