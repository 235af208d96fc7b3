#include "env/gzip.hpp"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <memory>
#include <zlib.h>

#include "base/error.hpp"

namespace kiln::env {

using base::Error;

namespace {

constexpr int kGzip = 15 + 16;  // zlib's largest window, and gzip's head and tail
constexpr std::size_t kChunk = std::size_t{1} << 16U;

// zlib reads its input and takes a pointer that is not const all the same.
void give(z_stream& stream, std::string_view bytes) {
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
}

}  // namespace

std::string gzip(std::string_view text) {
  z_stream stream{};
  if (::deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw Error("no memory to compress");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, &::deflateEnd);
  std::string bytes(::deflateBound(&stream, static_cast<uLong>(text.size())), '\0');
  give(stream, text);
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data());
  stream.avail_out = static_cast<uInt>(bytes.size());
  if (::deflate(&stream, Z_FINISH) != Z_STREAM_END) throw Error("zlib did not compress all");
  bytes.resize(stream.total_out);
  return bytes;
}

std::optional<std::string> gunzip(std::string_view bytes, std::size_t most) {
  z_stream stream{};
  if (::inflateInit2(&stream, kGzip) != Z_OK) throw Error("no memory to expand");
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end(&stream, &::inflateEnd);
  give(stream, bytes);
  std::string text;
  std::array<char, kChunk> buffer{};
  while (true) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    const int result = ::inflate(&stream, Z_NO_FLUSH);
    text.append(buffer.data(), buffer.size() - stream.avail_out);
    if (text.size() > most) throw Error(fmt::format("the text in it has over {} bytes", most));
    if (result == Z_STREAM_END) break;
    if (result == Z_BUF_ERROR || (result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0))
      return std::nullopt;
    if (result != Z_OK) throw Error("damaged: what it holds does not expand, or not to its checksum");
  }
  if (stream.avail_in > 0) throw Error("damaged: more follows behind its end");
  return text;
}

}  // namespace kiln::env
