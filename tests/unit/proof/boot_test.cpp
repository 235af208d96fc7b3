// The proof and the shell with a QEMU that is played: what they ask of it, and whose fault is whose.
#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/temp_dir.hpp"
#include "proof/verdict.hpp"
#include "unit/proof/server.hpp"

namespace kiln::proof {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Contains;
using testing::HasSubstr;

// QEMU's end of its control socket: greets, answers, and says `events` once the ports were asked for.
class Qemu {
 public:
  explicit Qemu(int ssh_port) : ssh_port_(ssh_port) {}
  ~Qemu() {
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
  }
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;

  void run(host::Fd socket) {
    socket_ = std::move(socket);
    thread_ = std::thread([this] { serve(); });
  }
  [[nodiscard]] bool ended() const { return ended_; }

  std::vector<json> events;
  std::string status = "running";
  bool ends_by_itself = false;  // once the events are told

 private:
  void tell(const json& message) { say(socket_.get(), message.dump() + "\r\n"); }
  json answer(const json& command) {
    if (command["execute"] == "query-status") return {{"status", status}};
    if (command["execute"] != "human-monitor-command") return json::object();
    return "  TCP[HOST_FORWARD]  14       127.0.0.1 " + std::to_string(ssh_port_) +
           "       10.0.2.15    22     0     0\r\n";
  }
  void serve() {
    tell({{"QMP", json::object()}});
    std::string text;
    char bytes[4096];
    for (ssize_t got = 0; (got = ::recv(socket_.get(), bytes, sizeof bytes, 0)) > 0;) {
      text.append(bytes, static_cast<std::size_t>(got));
      for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        const json command = json::parse(text.substr(0, end));
        text.erase(0, end + 1);
        tell({{"return", answer(command)}, {"id", command["id"]}});
        if (command["execute"] == "quit") ended_ = true;
        if (command["execute"] != "human-monitor-command") continue;
        for (const json& event : events) tell(event);
        if (ends_by_itself) ended_ = true;
      }
    }
  }
  int ssh_port_;
  host::Fd socket_;
  std::thread thread_;
  std::atomic<bool> ended_ = false;
};

class Running : public host::Process {
 public:
  explicit Running(const Qemu& qemu) : qemu_(qemu) {}
  [[nodiscard]] int pid() const override { return 1; }
  std::optional<host::Finished> wait(std::chrono::milliseconds patience) override {
    if (!qemu_.ended()) std::this_thread::sleep_for(std::min(patience, std::chrono::milliseconds(10)));
    if (!qemu_.ended()) return std::nullopt;
    host::Finished finished;
    finished.exit = 0;
    return finished;
  }
  void stop(std::chrono::milliseconds) override {}

 private:
  const Qemu& qemu_;
};

class Over : public host::Process {
 public:
  [[nodiscard]] int pid() const override { return 2; }
  std::optional<host::Finished> wait(std::chrono::milliseconds) override {
    host::Finished finished;
    finished.exit = 0;
    return finished;
  }
  void stop(std::chrono::milliseconds) override {}
};

class Tools : public host::Runner {
 public:
  explicit Tools(Qemu& qemu) : qemu_(qemu) {}
  host::Finished run(const host::Command& command, const host::OnOutput&) override {
    host::Finished finished;
    finished.exit = 0;
    const auto& argv = command.argv;
    if (argv[0] == "qemu-img") asked.push_back(argv[1]);
    if (argv[0] == "qemu-img" && argv[1] == "info") finished.out = info;
    if (argv[0] == "ssh-keygen") {
      std::ofstream(argv.back()) << "private";
      std::ofstream(argv.back() + ".pub") << "ssh-ed25519 AAAA once\n";
    }
    return finished;
  }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    if (command.argv[0] == "ssh") {
      std::ofstream(command.log) << "kiln-answer\n";
      return std::make_unique<Over>();
    }
    for (const auto& word : command.argv)
      if (word.find("id=seed,") != std::string::npos) seed = word.substr(word.find("file=") + 5);
    qemu_.run(host::Fd(::fcntl(command.keep_fds.at(0), F_DUPFD_CLOEXEC, 3)));
    return std::make_unique<Running>(qemu_);
  }
  std::optional<fs::path> find_program(const std::string& name) override { return fs::path("/bin") / name; }

  std::string info = R"({"virtual-size": 1048576})";
  std::vector<std::string> asked;  // of qemu-img
  fs::path seed;                   // as QEMU is told

 private:
  Qemu& qemu_;
};

class BootTest : public testing::Test {
 protected:
  BootTest() {
    host_ = host::Host::system();
    host_.runner = tools_;
    options_.image = folder_.path() / "image.qcow2";
    options_.scratch = folder_.path() / "scratch";
    options_.console = folder_.path() / "console.log";
    options_.screen = folder_.path() / "screen.png";
    std::ofstream(options_.image) << "a disk";
  }

  host::TempDir folder_;
  Server ssh_{[](int fd) { say(fd, "SSH-2.0-OpenSSH_9.2\r\n"); }};
  Qemu qemu_{ssh_.port()};
  std::shared_ptr<Tools> tools_ = std::make_shared<Tools>(qemu_);
  host::Host host_;
  BootOptions options_;
};

TEST_F(BootTest, AFullDiskOfTheHostIsNoVerdictOnTheImage) {
  qemu_.events = {
      {{"event", "BLOCK_IO_ERROR"},
       {"data", {{"operation", "write"}, {"nospace", true}, {"reason", "No space left on device"}}}},
      {{"event", "STOP"}}};
  qemu_.status = "io-error";
  try {
    prove(host_, options_);
    FAIL() << "a verdict was given";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("the host's file system that holds"));
    EXPECT_THAT(error.what(), HasSubstr("booting image.qcow2; this says nothing about the image"));
    EXPECT_EQ(error.exit(), base::Exit::failed);
  }
}

TEST_F(BootTest, AnImageThatNamesAFileOfTheHostIsNotOpened) {
  tools_->info = R"({"virtual-size": 1048576, "backing-filename": "/etc/shadow"})";
  try {
    prove(host_, options_);
    FAIL() << "a verdict was given";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.message(), "'" + options_.image.string() + "' needs a backing file ('/etc/shadow')");
    EXPECT_EQ(error.exit(), base::Exit::usage);
  }
  EXPECT_THAT(tools_->asked, testing::ElementsAre("info"));
}

TEST_F(BootTest, AGuestThatPowersItselfOffIsAVerdict) {
  qemu_.events = {{{"event", "SHUTDOWN"}, {"data", {{"reason", "guest-shutdown"}}}}};
  qemu_.ends_by_itself = true;
  const Verdict verdict = prove(host_, options_);
  EXPECT_FALSE(verdict.proven);
  ASSERT_FALSE(verdict.checks.empty());
  EXPECT_THAT(verdict.checks[0].detail, HasSubstr("the guest powered itself off"));
}

TEST_F(BootTest, AShellOfRootGetsTheTerminalAndLeavesNothing) {
  std::vector<std::string> argv;
  std::string key;
  const int status = shell(host_, options_, [&](const std::vector<std::string>& words) {
    argv = words;
    key = *(std::find(words.begin(), words.end(), "-i") + 1);
    EXPECT_TRUE(fs::exists(key)) << key;
    return 3;
  });
  EXPECT_EQ(status, 3);
  EXPECT_EQ(argv.front(), "ssh");
  EXPECT_THAT(argv, Contains(std::to_string(ssh_.port())));
  EXPECT_EQ(std::vector<std::string>(argv.end() - 3, argv.end()),
            (std::vector<std::string>{"-t", "kiln-proof@127.0.0.1", "exec sudo -n -i"}));
  EXPECT_TRUE(qemu_.ended());
  EXPECT_FALSE(fs::exists(key));
}

TEST_F(BootTest, AnEnvironmentIsTheUsersDataAndTheLoginTheVendors) {
  options_.user_data = "#cloud-config\nappliance: {}\n";
  std::map<std::string, std::string> seed;
  shell(host_, options_, [&](const std::vector<std::string>& words) {
    const fs::path key = *(std::find(words.begin(), words.end(), "-i") + 1);
    EXPECT_FALSE(fs::exists(key.parent_path() / "seed.iso")) << "a secret is on the disk";
    host::read_archive(tools_->seed,
                       [&](const host::Member& member, const auto& read) { seed[member.path] = read(); });
    return 0;
  });
  EXPECT_FALSE(fs::exists(tools_->seed));
  EXPECT_EQ(seed["user-data"], options_.user_data);
  EXPECT_THAT(seed["vendor-data"], HasSubstr("ssh_authorized_keys"));
  EXPECT_THAT(seed["meta-data"], HasSubstr("instance-id: kiln-proof-"));
}

TEST_F(BootTest, ACommandComesOutAsItsWordsWereGiven) {
  std::vector<std::string> argv;
  const int status = shell(host_, options_,
                           [&](const std::vector<std::string>& words) {
                             argv = words;
                             return 0;
                           },
                           {"printf", "%s\n", "it's $HOME", ""});
  EXPECT_EQ(status, 0);
  EXPECT_EQ(std::vector<std::string>(argv.end() - 3, argv.end()),
            (std::vector<std::string>{"-T", "kiln-proof@127.0.0.1",
                                      "cd / && exec sudo -n -H -- 'printf' '%s\n' 'it'\\''s $HOME' ''"}));
}

TEST_F(BootTest, ASavedGuestIsOfItsMachineAndOfNoPort) {
  const auto plain = saved_identity(host_, options_);
  options_.proof.ports = {{443, "https", "/", {}, "", {}}};
  options_.scratch = folder_.path() / "elsewhere";
  EXPECT_EQ(saved_identity(host_, options_), plain);
  options_.proof.memory *= 2;
  EXPECT_NE(saved_identity(host_, options_), plain);
}

}  // namespace
}  // namespace kiln::proof
