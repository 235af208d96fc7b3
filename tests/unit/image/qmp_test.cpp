#include "image/qmp.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

#include "base/error.hpp"
#include "image/machine.hpp"

namespace kiln::image {
namespace {

using std::chrono::milliseconds;

// Plays QEMU at the other end: greets, then answers each command by `answer`, which returns lines.
class Peer {
 public:
  using Answer = std::function<std::string(const nlohmann::json&)>;
  Peer(host::Fd socket, Answer answer)
      : socket_(std::move(socket)), thread_([this, answer = std::move(answer)] { serve(answer); }) {}
  ~Peer() {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  void say(const std::string& text) const {
    if (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return;
  }
  void serve(const Answer& answer) const {
    say("{\"QMP\": {\"version\": {}}}\r\n");
    std::string text;
    char bytes[4096];
    for (ssize_t got = 0; (got = ::recv(socket_.get(), bytes, sizeof bytes, 0)) > 0;) {
      text.append(bytes, static_cast<std::size_t>(got));
      for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        const auto command = nlohmann::json::parse(text.substr(0, end));
        text.erase(0, end + 1);
        if (command["execute"] == "qmp_capabilities") {
          say(nlohmann::json({{"return", nlohmann::json::object()}, {"id", command["id"]}}).dump() + "\r\n");
        } else if (command["execute"] == "hang-up") {
          ::shutdown(socket_.get(), SHUT_RDWR);
        } else {
          say(answer(command));
        }
      }
    }
  }
  host::Fd socket_;
  std::thread thread_;
};

std::string returned(const nlohmann::json& command, const nlohmann::json& value) {
  return nlohmann::json({{"return", value}, {"id", command["id"]}}).dump() + "\r\n";
}

TEST(QmpTest, GivesResultsAndKeepsEventsThatCameBetween) {
  auto pair = socket_pair();
  const Peer peer(std::move(pair.theirs), [](const nlohmann::json& command) {
    EXPECT_EQ(command["arguments"]["filename"], "/x");
    return R"({"event": "STOP", "timestamp": {}})"
           "\r\n"
           R"({"event": "BLOCK_IO_ERROR", "data": {"nospace": true}})"
           "\r\n" +
           returned(command, {{"status", "paused"}});
  });
  const auto qmp = Qmp::adopt(std::move(pair.ours), milliseconds(5000));
  EXPECT_EQ(nlohmann::json::parse(qmp->execute("screendump", R"({"filename": "/x"})"))["status"], "paused");
  const auto first = qmp->next_event(milliseconds(0));
  ASSERT_TRUE(first);
  EXPECT_EQ(first->name, "STOP");
  EXPECT_EQ(qmp->next_event(milliseconds(0))->data, R"({"nospace":true})");
  EXPECT_FALSE(qmp->next_event(milliseconds(20)));
}

TEST(QmpTest, ThrowsQemusOwnWords) {
  auto pair = socket_pair();
  const Peer peer(std::move(pair.theirs), [](const nlohmann::json& command) {
    return nlohmann::json(
               {{"error", {{"class", "GenericError"}, {"desc", "no such device"}}}, {"id", command["id"]}})
               .dump() +
           "\r\n";
  });
  const auto qmp = Qmp::adopt(std::move(pair.ours), milliseconds(5000));
  try {
    qmp->execute("device_del");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.message(), "QEMU refused 'device_del': no such device");
  }
}

TEST(QmpTest, GivesTheHumanMonitorsText) {
  auto pair = socket_pair();
  const Peer peer(std::move(pair.theirs), [](const nlohmann::json& command) {
    EXPECT_EQ(command["arguments"]["command-line"], "info usernet");
    return returned(command, "two\r\nlines\r\n");
  });
  const auto qmp = Qmp::adopt(std::move(pair.ours), milliseconds(5000));
  EXPECT_EQ(qmp->human("info usernet"), "two\r\nlines\r\n");
}

TEST(QmpTest, FindsOutWhenQemuIsGone) {
  auto pair = socket_pair();
  const Peer peer(std::move(pair.theirs), [](const nlohmann::json&) { return std::string(); });
  const auto qmp = Qmp::adopt(std::move(pair.ours), milliseconds(5000));
  const auto start = std::chrono::steady_clock::now();
  EXPECT_THROW(qmp->execute("hang-up"), base::Error);
  EXPECT_FALSE(qmp->next_event(milliseconds(10000)));
  EXPECT_THROW(qmp->execute("quit"), base::Error);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
}

TEST(MachineTest, ReadsForwardedPorts) {
  const auto ports = forwarded_ports(
      "Hub -1 (net):\r\n"
      "  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ\r\n"
      "  TCP[ESTABLISHED]   25       127.0.0.1 50000       10.0.2.15    22     0     0\r\n"
      "  TCP[HOST_FORWARD]  14       127.0.0.1 41043       10.0.2.15    22     0     0\r\n"
      "  TCP[HOST_FORWARD]  15       127.0.0.1 34567       10.0.2.15   443     0     0\r\n"
      "  UDP[236 sec]       16       10.0.2.15 68           10.0.2.2    67     0     0\r\n");
  EXPECT_EQ(ports, (std::vector<std::pair<int, int>>{{22, 41043}, {443, 34567}}));
  EXPECT_TRUE(forwarded_ports("TCP[HOST_FORWARD] of another layout altogether it is").empty());
}

TEST(MachineTest, KnowsAPanicByItsLine) {
  EXPECT_EQ(panic_line("[  1.0] fine\n"), "");
  EXPECT_EQ(panic_line("x\n[    2.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n[ 3] more"),
            "Kernel panic - not syncing: VFS: Unable to mount root fs");
}

TEST(MachineTest, ShowsAConsoleWithoutItsColours) {
  EXPECT_EQ(plain("[\x1b[0;32m  OK  \x1b[0m] Started \x1b[0;1;39mssh\x1b[0m.\r\n\x1b"
                  "7x"),
            "[  OK  ] Started ssh.\nx");
}

}  // namespace
}  // namespace kiln::image
