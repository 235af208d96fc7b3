// gzip in memory, by zlib, which lives only here.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::env {

// The same bytes for the same text: neither a name nor a time is in them.
std::string gzip(std::string_view text);
// The text of one gzip stream; nullopt when `bytes` end before the stream does. Throws base::Error when they
// are damaged, when more follows, and when the text has over `most` bytes.
std::optional<std::string> gunzip(std::string_view bytes, std::size_t most);

}  // namespace kiln::env
