#include "image/machine.hpp"

#include <array>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <thread>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/fd.hpp"

namespace kiln::image {
namespace {

using ::testing::Contains;

TEST(Machine, a_comma_in_a_path_begins_no_option) {
  EXPECT_EQ(option_path("/a,b/c,,d"), "/a,,b/c,,,,d");
  fakes::World world;
  fakes::TempTree tree;
  world.on({"qemu-system-x86_64"}, fakes::failed(1));
  MachineOptions options;
  options.scratch = tree.path();
  options.console = tree / "a,id=b/console";
  EXPECT_THROW(Machine::start(world.host(), std::move(options)), base::Error);
  ASSERT_EQ(world.commands().size(), 1U);
  EXPECT_THAT(world.commands()[0].argv,
              Contains("file,id=console,append=on,path=" + (tree / "a,,id=b/console").string()));
}

// QEMU whose guest powers off: when it is waited for the second time it has ended, and said so just before.
class Ending : public host::Process {
 public:
  explicit Ending(host::Fd socket) : socket_(std::move(socket)), thread_([this] { answer(); }) {}
  ~Ending() override {
    ::shutdown(socket_.get(), SHUT_RDWR);
    thread_.join();
  }
  Ending(const Ending&) = delete;
  Ending& operator=(const Ending&) = delete;

  [[nodiscard]] int pid() const override { return 1; }
  std::optional<host::Finished> wait(std::chrono::milliseconds) override {
    if (++waits_ == 1) return std::nullopt;
    if (waits_ == 2) tell({{"event", "SHUTDOWN"}, {"data", {{"guest", true}, {"reason", "guest-shutdown"}}}});
    host::Finished finished;
    finished.exit = 0;
    return finished;
  }
  void stop(std::chrono::milliseconds) override {}

 private:
  void tell(const nlohmann::json& message) {
    const std::string line = message.dump() + "\r\n";
    ASSERT_EQ(::send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(line.size()));
  }
  void answer() {
    tell({{"QMP", nlohmann::json::object()}});
    std::string text;
    std::array<char, 4096> bytes{};
    for (ssize_t got = 0; (got = ::recv(socket_.get(), bytes.data(), bytes.size(), 0)) > 0;) {
      text.append(bytes.data(), static_cast<std::size_t>(got));
      for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n')) {
        tell(
            {{"return", nlohmann::json::object()}, {"id", nlohmann::json::parse(text.substr(0, end))["id"]}});
        text.erase(0, end + 1);
      }
    }
  }
  host::Fd socket_;
  int waits_ = 0;
  std::thread thread_;
};

class EndingRunner : public host::Runner {
 public:
  host::Finished run(const host::Command&, const host::OnOutput&) override { return {}; }
  std::unique_ptr<host::Process> start(const host::Command& command) override {
    return std::make_unique<Ending>(host::Fd(::fcntl(command.keep_fds.at(0), F_DUPFD_CLOEXEC, 3)));
  }
  std::optional<std::filesystem::path> find_program(const std::string& name) override {
    return "/bin/" + name;
  }
};

std::unique_ptr<Machine> ending_machine(const fakes::TempTree& tree) {
  host::Host host = host::Host::system();
  host.runner = std::make_shared<EndingRunner>();
  MachineOptions options;
  options.scratch = tree.path();
  options.console = tree.path() / "console";
  options.limits.first_byte = std::chrono::seconds(600);
  return Machine::start(host, std::move(options));
}

TEST(Machine, a_guest_that_was_told_to_may_power_off_at_any_moment) {
  const fakes::TempTree tree;
  EXPECT_NO_THROW(ending_machine(tree)->wait_off(std::chrono::seconds(60)));
}

TEST(Machine, a_guest_that_was_not_told_to_power_off_is_an_error) {
  const fakes::TempTree tree;
  const auto machine = ending_machine(tree);
  machine->watch(std::chrono::milliseconds(0));
  try {
    machine->watch(std::chrono::milliseconds(0));
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_EQ(error.message(), "the guest powered itself off");
  }
}

}  // namespace
}  // namespace kiln::image
