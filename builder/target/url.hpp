// URLs in profiles. What stands there is public: it is in keys, logs and image.json.
#pragma once

#include <string_view>

namespace kiln::target {

// True when the URL carries a user or password in front of its host.
bool has_login(std::string_view url);

}  // namespace kiln::target
