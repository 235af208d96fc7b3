// What comes over a guest's serial port.
#include "agent/frames.hpp"
#include "fuzz/fuzz.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  agent::FrameReader reader;
  // In pieces, as a port gives them.
  const std::size_t piece = bytes.empty() ? 1 : 1 + static_cast<unsigned char>(bytes.front());
  for (std::size_t at = 0; at < bytes.size(); at += piece) {
    reader.add(bytes.substr(at, piece));
    while (const auto frame = reader.next()) static_cast<void>(agent::number_at(frame->payload, 0));
  }
}
