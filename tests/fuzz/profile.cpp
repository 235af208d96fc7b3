// A profile's text: YAML bombs, nonsense, hostile names.
#include "profile/profile.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/input_file.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  std::vector<base::Error> errors;
  static_cast<void>(profile::load(input_file(bytes), errors));
  for (const auto& error : errors) static_cast<void>(error.what());
}
