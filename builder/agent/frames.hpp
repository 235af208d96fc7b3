// kiln's side of the agent's protocol: frames as values, and a reader that finds them in a stream.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/protocol.hpp"

namespace kiln::agent {

struct Frame {
  Type type{};
  std::uint32_t id = 0;
  std::string payload;
  bool operator==(const Frame&) const = default;
};

std::string encode(const Frame& frame);

// The payload of an exec frame. Throws base::Error when a word holds a NUL or all are more than a frame
// takes.
std::string encode_command(const std::vector<std::string>& argv,
                           const std::map<std::string, std::string>& env, const std::string& cwd);

class FrameReader {
 public:
  void add(std::string_view bytes);
  // The next whole frame; what is no frame is skipped.
  std::optional<Frame> next();

 private:
  std::string bytes_;
  std::size_t at_ = 0;
};

// A u32 of `payload` at `offset`; 0 when it is too short.
std::uint32_t number_at(std::string_view payload, std::size_t offset);

}  // namespace kiln::agent
