#include "target/url.hpp"

namespace kiln::target {

bool has_login(std::string_view url) {
  const std::size_t begin = url.find("://");
  if (begin == std::string_view::npos) return false;
  url.remove_prefix(begin + 3);
  return url.substr(0, url.find_first_of("/?#")).find('@') != std::string_view::npos;
}

}  // namespace kiln::target
