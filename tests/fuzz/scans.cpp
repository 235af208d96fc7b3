// A picture from a scanner.
#include <cstdlib>

#include "env/picture.hpp"
#include "env/scan.hpp"
#include "fuzz/fuzz.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  const env::Picture picture = env::read_picture(bytes);
  if (picture.grey.size() != picture.width * picture.height || picture.grey.empty()) std::abort();
  if (picture.grey.size() > 40'000) return;  // the readers are slow
  env::scan(picture);
  env::scan_otherwise(env::softened(picture));
}
