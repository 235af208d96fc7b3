// What salt-call says: its JSON, and its log.
#include "fuzz/fuzz.hpp"
#include "target/salt.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  target::SaltLog log([](std::string_view) {}, [](std::string_view) {});
  log.add(bytes);
  log.finish();
  const std::string text(bytes);
  static_cast<void>(target::diffed_paths(text));
  const auto highstate =
      target::read_highstate(text, [](const std::string& path) { return path.size() % 2 == 0; });
  if (highstate.failed() > 0 || !highstate.problems.empty())
    static_cast<void>(target::failure(highstate, [](const std::string& sls) { return sls + ".sls"; }).what());
}
