#include "host/runner.hpp"

#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"

using namespace kiln;
using namespace std::chrono_literals;
using host::Command;
using host::Finished;
using testing::HasSubstr;

namespace {

// Waits for `what`, as long as a loaded machine may need.
template <typename What>
bool soon(What what) {
  for (int i = 0; i < 1500; ++i) {
    if (what()) return true;
    std::this_thread::sleep_for(10ms);
  }
  return false;
}

// A zombie that nobody reaped yet (its reaper may be this machine's init) does not run any more.
bool alive(int pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  if (!std::getline(status, text)) return false;
  const std::size_t state = text.rfind(") ");
  return state != std::string::npos && text[state + 2] != 'Z' && text[state + 2] != 'X';
}

// A shell that starts a grandchild in a session of its own, deaf to SIGTERM, with a child of its own, writes
// their process ids to `pids` and then waits.
Command tree_of_sleepers(const std::filesystem::path& pids) {
  const std::string file = base::shell_word(pids.string());
  return Command{"sh", "-c",
                 "setsid sh -c 'trap \"\" TERM HUP INT; sleep 1000 & echo $! $$ >> " + file +
                     "; wait; sleep 1000' & echo $$ >> " + file + "; wait; sleep 1000"};
}

std::vector<int> pids_in(const std::filesystem::path& file) {
  std::vector<int> pids;
  std::ifstream in(file);
  for (int pid = 0; in >> pid;) pids.push_back(pid);
  return pids;
}

bool all_gone(const std::vector<int>& pids) {
  for (const int pid : pids) {
    if (alive(pid)) return false;
  }
  return true;
}

std::string thrown_by(const std::function<void()>& deed, base::Exit exit = base::Exit::failed) {
  try {
    deed();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), exit) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no error";
  return {};
}

}  // namespace

class SystemRunner : public testing::Test {
 protected:
  std::unique_ptr<host::Runner> runner_ = host::system_runner();
  fakes::TempTree tree_;
};

TEST_F(SystemRunner, GivesStatusAndBothStreamsApart) {
  std::string streamed;
  const Finished finished = runner_->run(
      {"sh", "-c", "echo out; echo err >&2; exit 7"}, [&](host::Stream stream, std::string_view text) {
        streamed += (stream == host::Stream::out ? "o:" : "e:") + std::string(text);
      });
  EXPECT_EQ(finished.exit, 7);
  EXPECT_EQ(finished.signal, 0);
  EXPECT_EQ(finished.out, "out\n");
  EXPECT_EQ(finished.err, "err\n");
  EXPECT_THAT(streamed, HasSubstr("o:out\n"));
  EXPECT_THAT(streamed, HasSubstr("e:err\n"));
}

TEST_F(SystemRunner, DoesNotTakeDeathByASignalForAnExitStatus) {
  const Finished finished = runner_->run({"sh", "-c", "kill -SEGV $$"});
  EXPECT_EQ(finished.exit, -1);
  EXPECT_EQ(finished.signal, SIGSEGV);
  const Finished like_it = runner_->run({"sh", "-c", "exit 139"});
  EXPECT_EQ(like_it.exit, 139);
  EXPECT_EQ(like_it.signal, 0);
}

TEST_F(SystemRunner, NamesAMissingProgramAndTheWayOut) {
  EXPECT_EQ(
      thrown_by([&] { runner_->run({"kiln-no-such-program"}); }, base::Exit::missing),
      "cannot run 'kiln-no-such-program': there is no such program; install it; `kiln doctor` lists what "
      "is missing");
  EXPECT_THAT(thrown_by([&] { runner_->start({"/nonexistent/program"}); }, base::Exit::missing),
              HasSubstr("there is no such program"));
}

TEST_F(SystemRunner, TellsAMissingInterpreterFromAMissingProgram) {
  const auto script = tree_.file("script", "#!/nonexistent/interpreter\n", 0755);
  EXPECT_THAT(thrown_by([&] { runner_->run(Command(std::vector{script.string()})); }, base::Exit::missing),
              HasSubstr("interpreter"));
}

TEST_F(SystemRunner, NamesAMissingDirectory) {
  Command command{"true"};
  command.cwd = "/nonexistent/folder";
  EXPECT_EQ(thrown_by([&] { runner_->run(command); }),
            "cannot enter '/nonexistent/folder': No such file or directory");
}

TEST_F(SystemRunner, NeedsNoReaderOfItsInputToTakeBigOutput) {
  Command command{"sh", "-c", "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; cat"};
  command.input = std::string(3'000'000, 'i');
  const Finished finished = runner_->run(command);
  EXPECT_TRUE(finished.ok());
  EXPECT_EQ(finished.out.size(), 6'000'000U);
  EXPECT_EQ(finished.err.size(), 3'000'000U);
  EXPECT_EQ(finished.out.substr(3'000'000), command.input);
}

TEST_F(SystemRunner, SurvivesACommandThatLeavesItsInputUnread) {
  Command command{"true"};
  command.input = std::string(3'000'000, 'i');
  EXPECT_TRUE(runner_->run(command).ok());
}

TEST_F(SystemRunner, GivesAnEmptyInputRatherThanTheTerminal) {
  EXPECT_EQ(runner_->run({"cat"}).out, "");
}

TEST_F(SystemRunner, KeepsTheLast16MiBOfAnEndlessTalker) {
  const Finished finished = runner_->run({"sh", "-c", "head -c 50000000 /dev/zero; echo end"});
  EXPECT_EQ(finished.out.size(), std::size_t{16} << 20U);
  EXPECT_TRUE(finished.out.ends_with("end\n"));
}

TEST_F(SystemRunner, AppendsBothStreamsToTheLog) {
  Command command{"sh", "-c", "echo out; echo err >&2"};
  command.log = tree_ / "log";
  runner_->run(command);
  EXPECT_TRUE(runner_->start(command)->wait(20s)->ok());
  const std::string log = host::read_file(command.log);
  EXPECT_EQ(base::lines(log).size(), 4U) << log;
}

TEST_F(SystemRunner, SetsAndRemovesVariablesAndEntersTheDirectory) {
  Command command{"sh", "-c", "echo \"$KILN_TEST_A\" \"${HOME-none}\"; pwd"};
  command.env["KILN_TEST_A"] = "a b";
  command.env["HOME"] = std::nullopt;
  command.cwd = tree_.folder("below");
  EXPECT_EQ(runner_->run(command).out, "a b none\n" + command.cwd.string() + "\n");
}

TEST_F(SystemRunner, GivesAnEnvironmentOfItsOwn) {
  ASSERT_NE(std::getenv("PATH"), nullptr);
  Command command{"env"};
  command.clear_env = true;
  EXPECT_EQ(runner_->run(command).out, "");
  command.env = {{"PATH", "/nowhere"}, {"HOME", std::nullopt}, {"A", "b c"}};
  EXPECT_EQ(runner_->run(command).out, "A=b c\nPATH=/nowhere\n");
}

TEST(LimitedRunner, LimitsWhatHasNoLimitOfItsOwnAndNothingThatIsStarted) {
  fakes::World world;
  world.on({"qemu-img"}, fakes::printed("done"));
  const auto runner = host::limited_runner(world.host().runner, 7min);
  Command command{"qemu-img", "info"};
  EXPECT_EQ(runner->run(command).out, "done");
  runner->start(command);
  command.timeout = 20min;
  runner->run(command);
  EXPECT_EQ(command.timeout, 20min);
  ASSERT_EQ(world.commands().size(), 3U);
  EXPECT_EQ(world.commands()[0].timeout, 7min);
  EXPECT_EQ(world.commands()[1].timeout, 0min);
  EXPECT_EQ(world.commands()[2].timeout, 20min);
  EXPECT_TRUE(runner->find_program("qemu-img"));
}

TEST_F(SystemRunner, HandsDownOnlyTheDescriptorsItIsTold) {
  const host::Fd kept(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const host::Fd stray(::open("/dev/null", O_RDONLY));
  Command command{"sh",
                  "-c",
                  "for f in \"$@\"; do [ -e /proc/self/fd/$f ] && echo open || echo closed; done",
                  "sh",
                  std::to_string(kept.get()),
                  std::to_string(stray.get())};
  command.keep_fds = {kept.get()};
  EXPECT_EQ(runner_->run(command).out, "open\nclosed\n");
}

TEST_F(SystemRunner, LeavesSignalsAsAFreshProgramExpectsThem) {
  host::install_signal_flags();
  const Finished finished = runner_->run({"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"});
  EXPECT_EQ(finished.out, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(SystemRunner, FindsProgramsThatOnlyRootHasOnItsPath) {
  const char* path = std::getenv("PATH");
  const std::string before = path == nullptr ? "" : path;
  ::setenv("PATH", "/usr/bin:/bin", 1);
  EXPECT_TRUE(runner_->find_program("ldconfig").has_value());
  EXPECT_EQ(runner_->find_program("kiln-no-such-program"), std::nullopt);
  ::setenv("PATH", before.c_str(), 1);
}

TEST_F(SystemRunner, KillsGrandchildrenThatACommandLeftBehind) {
  const auto pids = tree_ / "pids";
  const Finished finished = runner_->run(
      {"sh", "-c", "setsid sleep 1000 & echo $! > " + base::shell_word(pids.string()) + "; exit 4"});
  EXPECT_EQ(finished.exit, 4);
  ASSERT_EQ(pids_in(pids).size(), 1U);
  EXPECT_TRUE(all_gone(pids_in(pids)));
}

TEST_F(SystemRunner, LeavesNothingOfATreeThatIsStopped) {
  const auto pids = tree_ / "pids";
  const auto process = runner_->start(tree_of_sleepers(pids));
  ASSERT_TRUE(soon([&] { return pids_in(pids).size() == 3; }));
  EXPECT_TRUE(alive(process->pid()));
  process->stop(100ms);
  EXPECT_TRUE(all_gone(pids_in(pids)));
  const auto finished = process->wait(0ms);
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->signal, SIGTERM);
}

TEST_F(SystemRunner, LeavesNothingOfATreeWhoseOwnerLetsItGo) {
  const auto pids = tree_ / "pids";
  auto process = runner_->start(tree_of_sleepers(pids));
  ASSERT_TRUE(soon([&] { return pids_in(pids).size() == 3; }));
  process.reset();
  EXPECT_TRUE(all_gone(pids_in(pids)));
}

TEST_F(SystemRunner, LetsAStoppedCommandEndByItself) {
  const auto ready = tree_ / "ready";
  const auto process = runner_->start(
      {"sh", "-c",
       "trap 'exit 5' TERM; echo > " + base::shell_word(ready.string()) + "; while :; do sleep 0.01; done"});
  ASSERT_TRUE(soon([&] { return std::filesystem::exists(ready); }));
  process->stop(20s);
  EXPECT_EQ(process->wait(0ms)->exit, 5);
}

TEST_F(SystemRunner, KillsTheTreeWhenTheTimeIsUp) {
  const auto pids = tree_ / "pids";
  Command command = tree_of_sleepers(pids);
  command.timeout = 1s;
  command.purpose = "sleeping";
  EXPECT_THAT(thrown_by([&] { runner_->run(command); }),
              testing::StartsWith("'sh' (sleeping) did not end within 1.0 s and was stopped"));
  EXPECT_EQ(pids_in(pids).size(), 3U);
  EXPECT_TRUE(all_gone(pids_in(pids)));
}

TEST_F(SystemRunner, KeepsTheLimitOfACommandThatNeverStopsTalking) {
  Command command{"yes"};
  command.timeout = 300ms;
  EXPECT_THAT(thrown_by([&] { runner_->run(command); }), HasSubstr("did not end within 0.3 s"));
}

TEST_F(SystemRunner, KeepsTheLimitOfAStartedCommand) {
  Command command{"sleep", "1000"};
  command.timeout = 200ms;
  const auto process = runner_->start(command);
  EXPECT_THAT(thrown_by([&] { process->wait(20s); }), HasSubstr("did not end within 0.2 s"));
  EXPECT_FALSE(alive(process->pid()));
}

TEST_F(SystemRunner, WaitsNoLongerThanItsPatience) {
  const auto process = runner_->start({"sleep", "1000"});
  EXPECT_EQ(process->wait(50ms), std::nullopt);
}

// kiln's part is played by a child of this test, which is killed as the kernel's OOM killer would.
TEST_F(SystemRunner, LeavesNothingBehindWhenKilnItselfIsKilled) {
  const auto pids = tree_ / "pids";
  for (const bool runs : {true, false}) {
    std::filesystem::remove(pids);
    const pid_t kiln = ::fork();
    if (kiln == 0) {
      const auto runner = host::system_runner();
      if (runs) {
        runner->run(tree_of_sleepers(pids));
      } else {
        const auto process = runner->start(tree_of_sleepers(pids));
        ::pause();
      }
      ::_exit(0);
    }
    const bool started = soon([&] { return pids_in(pids).size() == 3; });
    ::kill(kiln, SIGKILL);
    ::waitpid(kiln, nullptr, 0);
    ASSERT_TRUE(started);
    EXPECT_TRUE(soon([&] { return all_gone(pids_in(pids)); })) << (runs ? "run" : "start");
  }
}

TEST_F(SystemRunner, KillsTheTreeBeforeAnInterruptIsThrown) {
  const auto pids = tree_ / "pids";
  const pid_t kiln = ::fork();
  if (kiln == 0) {
    host::install_signal_flags();
    int status = 1;
    try {
      host::system_runner()->run(tree_of_sleepers(pids));
    } catch (const base::Error& error) {
      const bool gone = all_gone(pids_in(pids));
      bool shielded = false;
      {
        const host::InterruptShield shield;
        shielded = host::system_runner()->run({"true"}).ok();
      }
      status = gone && shielded ? static_cast<int>(error.exit()) : 2;
    }
    ::_exit(status);
  }
  const bool started = soon([&] { return pids_in(pids).size() == 3; });
  ::kill(kiln, SIGINT);
  int status = 0;
  ::waitpid(kiln, &status, 0);
  ASSERT_TRUE(started);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 130);
  EXPECT_TRUE(all_gone(pids_in(pids)));
}

TEST_F(SystemRunner, TakesACommandForKilledWhoseSupervisorWasKilled) {
  const auto process = runner_->start({"sleep", "1000"});
  std::ifstream status("/proc/" + std::to_string(process->pid()) + "/status");
  int supervisor = 0;
  for (std::string word; status >> word;) {
    if (word == "PPid:") status >> supervisor;
  }
  ASSERT_GT(supervisor, 1);
  ASSERT_NE(supervisor, ::getpid());
  ::kill(supervisor, SIGKILL);
  const auto finished = process->wait(20s);
  ASSERT_TRUE(finished.has_value());
  EXPECT_EQ(finished->signal, SIGKILL);
  EXPECT_TRUE(soon([&] { return !alive(process->pid()); }));
}

TEST_F(SystemRunner, KillsTheTreeWhenAListenerThrows) {
  const auto pids = tree_ / "pids";
  Command command{"sh", "-c",
                  "sleep 1000 & echo $! $$ > " + base::shell_word(pids.string()) + "; echo now; wait"};
  EXPECT_THROW(
      runner_->run(command, [](host::Stream, std::string_view) { throw std::runtime_error("stop"); }),
      std::runtime_error);
  EXPECT_EQ(pids_in(pids).size(), 2U);
  EXPECT_TRUE(all_gone(pids_in(pids)));
}

TEST_F(SystemRunner, ShowsTheEndOfAFailedCommandsOutput) {
  Command command{"sh", "-c", "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i >&2; done; exit 2"};
  command.purpose = "counting";
  command.log = tree_ / "log";
  const std::string text = thrown_by([&] { host::require(*runner_, command); });
  EXPECT_THAT(text, testing::StartsWith("counting failed: exit status 2; the whole output is in " +
                                        command.log.string() + "\n    $ sh -c "));
  EXPECT_THAT(text, HasSubstr("\n    line 11\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("\n    line 10\n")));
  EXPECT_TRUE(text.ends_with("\n    line 40"));
}
