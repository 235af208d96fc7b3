// What kiln and its agent in a build guest say to each other over one virtio-serial port. Header only,
// without the standard library's containers: the agent is linked statically and stays small.
//
// Both directions carry frames: a header of 16 bytes (magic, type, id of the command, length; little endian)
// and `length` bytes. A reader that meets something else skips to the next magic, so that a line of noise or
// half a frame of a former conversation costs nothing but itself.
//
// One command runs at a time. Its input is given in pieces, at most `window` bytes ahead of what the agent
// has passed on (it returns `credit`), so that a cancel never waits behind input nobody reads. A command is
// over when its `exit` or `failed` frame has come, and by nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace kiln::agent {

inline constexpr char port_name[] = "org.kiln.agent";
inline constexpr unsigned char magic[4] = {'K', 'L', 'N', '1'};
inline constexpr std::size_t header_size = 16;
inline constexpr std::uint32_t max_payload = 1U << 20;
inline constexpr std::uint32_t window = 256U << 10;
inline constexpr std::uint32_t piece = 32U << 10;

enum class Type : std::uint8_t {
  // kiln to agent
  ping = 1,       // any payload; comes back as pong
  exec = 2,       // argc, envc (u32 each), then cwd, argv and env, each ended by NUL
  input = 3,      // bytes for stdin
  end_input = 4,  // close stdin
  cancel = 5,     // SIGTERM, then SIGKILL to the command's process group
  release = 6,    // end what commands left running, take back what was laid over /etc; answered by pong
  wake = 7,       // after a resume: u64 seconds since the epoch, then bytes of randomness; answered by pong
  freeze = 8,  // the disk's file systems written out and closed to writers; answered by pong: "", or why not
  thaw = 9,    // open to them again; answered by pong
  // agent to kiln
  pong = 0x81,
  out = 0x82,
  err = 0x83,
  exit_status = 0x84,  // u32 exit status, u32 signal (0: none)
  failed = 0x85,       // text: the command could not be started
  credit = 0x86,       // u32: so many bytes of input were taken
  note = 0x87,         // text for kiln's log
};

struct Header {
  Type type{};
  std::uint32_t id = 0;
  std::uint32_t length = 0;
};

inline void put_u32(unsigned char* to, std::uint32_t value) {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<unsigned char>(value >> (8 * i));
}

inline std::uint32_t get_u32(const unsigned char* from) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = (value << 8) | from[i];
  return value;
}

inline void put_header(unsigned char* to, const Header& header) {
  std::memcpy(to, magic, sizeof magic);
  to[4] = static_cast<unsigned char>(header.type);
  to[5] = to[6] = to[7] = 0;
  put_u32(to + 8, header.id);
  put_u32(to + 12, header.length);
}

// Bytes to skip before `from` may begin a header; equal to `size` when nothing in it can.
inline std::size_t skip_to_magic(const unsigned char* from, std::size_t size) {
  std::size_t at = 0;
  for (; at < size; ++at) {
    const std::size_t have = size - at < sizeof magic ? size - at : sizeof magic;
    if (std::memcmp(from + at, magic, have) == 0) break;
  }
  return at;
}

// Reads a header of `header_size` bytes that begins with the magic; false when it cannot be one.
inline bool get_header(const unsigned char* from, Header& header) {
  if (std::memcmp(from, magic, sizeof magic) != 0 || from[5] != 0 || from[6] != 0 || from[7] != 0)
    return false;
  header.type = static_cast<Type>(from[4]);
  header.id = get_u32(from + 8);
  header.length = get_u32(from + 12);
  return header.length <= max_payload;
}

}  // namespace kiln::agent
