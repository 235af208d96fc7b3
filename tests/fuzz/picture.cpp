// The picture QEMU takes of a display.
#include "image/picture.hpp"

#include "fuzz/fuzz.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  static_cast<void>(image::parse_ppm(bytes));
}
