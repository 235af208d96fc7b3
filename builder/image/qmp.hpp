// QEMU's machine protocol over a unix socket: commands, and the events that tell a paused, failed or panicked
// machine (STOP, BLOCK_IO_ERROR, GUEST_PANICKED, SHUTDOWN).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "host/fd.hpp"

namespace kiln::image {

class Qmp {
 public:
  // Negotiates over a socket that is connected already (one end of a pair whose other end QEMU inherited);
  // throws base::Error when nobody answers within `patience`.
  static std::unique_ptr<Qmp> adopt(host::Fd socket, std::chrono::milliseconds patience);
  virtual ~Qmp() = default;
  // Runs a command; `arguments` and the result are JSON texts. Throws base::Error with QEMU's own words.
  virtual std::string execute(const std::string& command, const std::string& arguments = "{}") = 0;
  // Hands QEMU a descriptor that later commands call `name` ("fd:NAME"). Throws like execute().
  virtual void give(const std::string& name, int fd) = 0;
  // The human monitor's answer, for what QMP has no command for ("info usernet").
  virtual std::string human(const std::string& line) = 0;
  // Names and data of events since the last call.
  struct Event {
    std::string name;
    std::string data;  // JSON
  };
  virtual std::optional<Event> next_event(std::chrono::milliseconds patience) = 0;
};

}  // namespace kiln::image
