// A lock of Python packages.
#include "fuzz/fuzz.hpp"
#include "target/wheel_lock.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  for (const auto& one : target::read_wheel_lock(bytes, "lock.txt").run) static_cast<void>(one.text());
}
