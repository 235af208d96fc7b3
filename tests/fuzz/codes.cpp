// Codes scanned from paper, one a line: whatever they are, the answer is a text, what is missing, or an
// error.
#include <cstdlib>

#include "base/text.hpp"
#include "env/qr.hpp"
#include "env/read.hpp"
#include "fuzz/fuzz.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  env::Assembly assembly;
  for (const std::string& code : base::lines(bytes)) assembly.add(code);
  if (assembly.size() > env::kMostCodes) std::abort();
  const auto text = assembly.text();
  if (!text) {
    if (assembly.missing().message().empty()) std::abort();
    return;
  }
  if (text->size() > env::kLongest) std::abort();
  // What was read can be printed and read again.
  env::Assembly again;
  for (const std::string& code : env::codes_of(*text)) again.add(code);
  if (again.text() != text) std::abort();
}
