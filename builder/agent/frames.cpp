#include "agent/frames.hpp"

#include <fmt/format.h>

#include "base/error.hpp"

namespace kiln::agent {
namespace {

const unsigned char* unsigned_bytes(const char* from) {
  return reinterpret_cast<const unsigned char*>(from);
}

void append_u32(std::string& to, std::size_t value) {
  unsigned char bytes[4];
  put_u32(bytes, static_cast<std::uint32_t>(value));
  to.append(reinterpret_cast<const char*>(bytes), sizeof bytes);
}

void append_word(std::string& to, const std::string& word) {
  if (word.find('\0') != std::string::npos)
    throw base::Error("a command's words cannot hold a NUL character");
  to += word;
  to += '\0';
}

}  // namespace

std::string encode(const Frame& frame) {
  unsigned char head[header_size];
  put_header(head, Header{frame.type, frame.id, static_cast<std::uint32_t>(frame.payload.size())});
  return std::string(reinterpret_cast<const char*>(head), sizeof head) + frame.payload;
}

std::string encode_command(const std::vector<std::string>& argv,
                           const std::map<std::string, std::string>& env, const std::string& cwd) {
  std::string payload;
  append_u32(payload, argv.size());
  append_u32(payload, env.size());
  append_word(payload, cwd);
  for (const auto& word : argv) append_word(payload, word);
  for (const auto& [name, value] : env) append_word(payload, fmt::format("{}={}", name, value));
  if (payload.size() > max_payload) {
    throw base::Error("the command line is longer than 1 MiB").hint("give the data as the command's input");
  }
  return payload;
}

void FrameReader::add(std::string_view bytes) {
  if (at_ > bytes_.size() / 2) {
    bytes_.erase(0, at_);
    at_ = 0;
  }
  bytes_ += bytes;
}

std::optional<Frame> FrameReader::next() {
  for (;;) {
    at_ += skip_to_magic(unsigned_bytes(bytes_.data()) + at_, bytes_.size() - at_);
    if (bytes_.size() - at_ < header_size) return std::nullopt;
    Header header;
    if (!get_header(unsigned_bytes(bytes_.data()) + at_, header)) {
      ++at_;
      continue;
    }
    if (bytes_.size() - at_ < header_size + header.length) return std::nullopt;
    Frame frame{header.type, header.id, bytes_.substr(at_ + header_size, header.length)};
    at_ += header_size + header.length;
    return frame;
  }
}

std::uint32_t number_at(std::string_view payload, std::size_t offset) {
  return payload.size() < offset + 4 ? 0 : get_u32(unsigned_bytes(&payload[offset]));
}

}  // namespace kiln::agent
