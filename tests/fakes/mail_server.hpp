// A mail server of its own for a test: mail_server.py, which says what it keeps.
#pragma once

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>

#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"

namespace kiln::fakes {

class MailServer {
 public:
  MailServer() : runner_(host::system_runner()) {
    host::Command command = {"/usr/bin/python3", std::string(KILN_TESTS_DIR) + "/fakes/mail_server.py",
                             tree_.path().string()};
    command.log = tree_ / "log";
    process_ = runner_->start(command);
    while (!std::filesystem::exists(tree_ / "port")) {
      if (process_->wait(std::chrono::milliseconds(50)))
        throw std::runtime_error("the mail server ended: " + host::read_file(tree_ / "log"));
    }
  }

  [[nodiscard]] std::string url() const { return "smtp://127.0.0.1:" + host::read_file(tree_ / "port"); }
  // How many mails came.
  [[nodiscard]] int count() const {
    int mails = 0;
    while (std::filesystem::exists(tree_ / std::to_string(mails))) ++mails;
    return mails;
  }
  // A file of a mail: "envelope", "headers", "text", or the name of what is attached to it.
  [[nodiscard]] std::string file(int mail, const std::string& name) const {
    return host::read_file(tree_ / std::to_string(mail) / name);
  }

 private:
  TempTree tree_;
  std::shared_ptr<host::Runner> runner_;
  std::unique_ptr<host::Process> process_;
};

}  // namespace kiln::fakes
