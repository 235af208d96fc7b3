// A TCP service on 127.0.0.1 for tests: what a guest's forwarded port looks like from the host.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <csignal>
#include <functional>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <string>
#include <sys/socket.h>
#include <thread>

#include "host/fd.hpp"

namespace kiln::proof {

// Listens on a port the system chose; `talk` gets each connection, one after the other.
class Server {
 public:
  using Talk = std::function<void(int)>;
  explicit Server(Talk talk) : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    // OpenSSL writes to sockets with write(): a client that hung up first would end the test without a word.
    // Its user in kiln, libcurl, is safe by what cli::run() does first, which is tested there.
    std::signal(SIGPIPE, SIG_IGN);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 4), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, talk = std::move(talk)] {
      while (!over_) {
        pollfd wait{listener_.get(), POLLIN, 0};
        if (::poll(&wait, 1, 20) <= 0) continue;
        const host::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (fd) talk(fd.get());
      }
    });
  }
  ~Server() {
    over_ = true;
    thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] bool over() const { return over_; }

 private:
  host::Fd listener_;
  int port_ = 0;
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

inline void say(int fd, const std::string& text) {
  ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace kiln::proof
