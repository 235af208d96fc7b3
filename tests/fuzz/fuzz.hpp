// What every fuzz target is: one function that takes any bytes and either reads them or throws base::Error.
// libFuzzer finds the bytes; ASan and UBSan find what is wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.hpp"

namespace kiln::fuzz {

// Reads `bytes`; base::Error is an answer, anything else is a finding.
void read(std::string_view bytes);

}  // namespace kiln::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    kiln::fuzz::read({reinterpret_cast<const char*>(data), size});
  } catch (const kiln::base::Error&) {
    return 0;
  }
  return 0;
}
