// URLs in profiles. What stands there is public: it is in keys, logs and image.json.
#pragma once

#include <string>
#include <string_view>

#include "base/error.hpp"

namespace kiln::target {

// True when the URL carries a user or password in front of its host.
bool has_login(std::string_view url);

// An option that says where to fetch something: its pattern, and the same for people.
inline constexpr std::string_view url_pattern = "(https?|file)://[^\\s]+";
inline constexpr std::string_view url_write = "a URL that begins with https://, http:// or file://";

// Throws base::Error (Exit::usage) when a URL to fetch from has a login. `hint` says what else to write.
void refuse_login(std::string_view stage, std::string_view url, const base::Where& where,
                  const std::string& hint);

}  // namespace kiln::target
