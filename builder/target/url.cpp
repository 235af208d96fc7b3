#include "target/url.hpp"

#include <fmt/format.h>

namespace kiln::target {

bool has_login(std::string_view url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string_view::npos) return false;
  url.remove_prefix(begin + 3);
  return url.substr(0, url.find_first_of("/?#")).find('@') != std::string_view::npos;
}

void refuse_login(std::string_view stage, std::string_view url, const base::Where& where,
                  const std::string& hint) {
  if (!has_login(url)) return;
  throw base::Error(fmt::format("{}: the URL holds a login, which keys, logs and the plan would show", stage),
                    base::Exit::usage)
      .at(where)
      .hint(hint);
}

}  // namespace kiln::target
