#include "image/qmp.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

#include "base/error.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"

namespace kiln::image {
namespace {

using base::Error;
using std::chrono::milliseconds;

// QEMU answers a command within milliseconds; under load a screendump or a snapshot takes some seconds.
constexpr std::chrono::seconds answer_limit{60};

class Connection : public Qmp {
 public:
  explicit Connection(host::Fd socket) : socket_(std::move(socket)) {}

  void negotiate(milliseconds patience) {
    for (;;) {
      const auto line = read_line(patience);
      if (!line) throw Error("QEMU does not greet on its control socket");
      if (nlohmann::json::parse(*line, nullptr, false).contains("QMP")) break;
    }
    execute("qmp_capabilities", "{}");
  }

  std::string execute(const std::string& command, const std::string& arguments) override {
    return converse(command, arguments, -1);
  }

  void give(const std::string& name, int fd) override {
    converse("getfd", nlohmann::json({{"fdname", name}}).dump(), fd);
  }

  std::string human(const std::string& line) override {
    const nlohmann::json arguments = {{"command-line", line}};
    return nlohmann::json::parse(execute("human-monitor-command", arguments.dump())).get<std::string>();
  }

  std::optional<Event> next_event(milliseconds patience) override {
    while (events_.empty() && !closed_) {
      const auto line = read_line(patience);
      if (!line) break;
      const auto message = nlohmann::json::parse(*line, nullptr, false);
      if (message.is_object() && message.contains("event")) keep_event(message);
    }
    if (events_.empty()) return std::nullopt;
    Event event = std::move(events_.front());
    events_.pop_front();
    return event;
  }

 private:
  void keep_event(const nlohmann::json& message) {
    events_.push_back(
        {message["event"].get<std::string>(), message.value("data", nlohmann::json::object()).dump()});
  }

  // `fd`, unless it is negative, goes along with the command.
  std::string converse(const std::string& command, const std::string& arguments, int fd) {
    const std::string id = std::to_string(++last_id_);
    nlohmann::json request = {{"execute", command}, {"id", id}};
    auto values = nlohmann::json::parse(arguments);
    if (!values.empty()) request["arguments"] = std::move(values);
    send_all(request.dump() + "\n", command, fd);
    for (;;) {
      const auto line = read_line(answer_limit);
      if (!line) {
        throw Error("QEMU did not answer '" + command + "' within " + std::to_string(answer_limit.count()) +
                    " s");
      }
      auto answer = nlohmann::json::parse(*line, nullptr, false);
      if (answer.is_discarded() || !answer.is_object()) throw Error("QEMU's control socket carries no JSON");
      if (answer.contains("event")) {
        keep_event(answer);
      } else if (answer.value("id", nlohmann::json()) == id) {
        if (answer.contains("error")) {
          throw Error("QEMU refused '" + command +
                      "': " + answer["error"].value("desc", std::string("no reason given")));
        }
        return answer.value("return", nlohmann::json::object()).dump();
      }
    }
  }

  void send_all(std::string_view bytes, const std::string& command, int fd) {
    while (!bytes.empty()) {
      const ssize_t put = send_with(bytes, fd);
      if (put > 0) fd = -1;
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) throw Error("QEMU is gone; it cannot be asked for '" + command + "'");
      bytes.remove_prefix(static_cast<std::size_t>(put));
    }
  }

  ssize_t send_with(std::string_view bytes, int fd) const {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};  // NOLINT: sendmsg only reads it
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    if (fd >= 0) {
      message.msg_control = control;
      message.msg_controllen = sizeof control;
      cmsghdr* const header = CMSG_FIRSTHDR(&message);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof fd);
      std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    }
    return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL);
  }

  // One line without its end; nullopt after a silence of `patience`, and when the socket has closed.
  std::optional<std::string> read_line(milliseconds patience) {
    for (;;) {
      if (const auto at = received_.find('\n'); at != std::string::npos) {
        std::string line = received_.substr(0, at);
        received_.erase(0, at + 1);
        return line;
      }
      if (closed_) return std::nullopt;
      const milliseconds slice = std::min(patience, milliseconds(200));
      pollfd wait{socket_.get(), POLLIN, 0};
      const int ready = ::poll(&wait, 1, static_cast<int>(slice.count()));
      host::check_interrupt();
      if (ready < 0 && errno == EINTR) continue;
      if (ready <= 0) {
        patience -= slice;
        if (patience.count() <= 0) return std::nullopt;
        continue;
      }
      char bytes[8192];
      const ssize_t got = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
      if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
      if (got <= 0) {
        closed_ = true;
      } else {
        received_.append(bytes, static_cast<std::size_t>(got));
      }
    }
  }

  host::Fd socket_;
  std::string received_;
  std::deque<Event> events_;
  std::uint64_t last_id_ = 0;
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<Qmp> Qmp::adopt(host::Fd socket, milliseconds patience) {
  auto connection = std::make_unique<Connection>(std::move(socket));
  connection->negotiate(patience);
  return connection;
}

}  // namespace kiln::image
