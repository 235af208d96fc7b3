// Text that hardly compresses, the same each time.
#pragma once

#include <cstddef>
#include <random>
#include <string>

namespace kiln::env {

// NOLINTNEXTLINE(bugprone-random-generator-seed): a test wants the same text each time
inline std::string noise(std::size_t size, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::string text;
  text.reserve(size);
  while (text.size() < size) text += static_cast<char>(text.size() % 70 == 69 ? '\n' : ' ' + random() % 95);
  return text;
}

}  // namespace kiln::env
