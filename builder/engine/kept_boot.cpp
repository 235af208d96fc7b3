#include "engine/kept_boot.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <utility>

#include "base/error.hpp"
#include "base/size.hpp"
#include "engine/proof_spec.hpp"
#include "engine/publish.hpp"

namespace kiln::engine {
namespace {

constexpr std::uint64_t kRoom = 1ULL << 30;  // bytes, for a guest's memory and what it wrote

cache::Settled find_or_make(const host::Host& host, cache::Store& store, Machines& machines,
                            const proof::BootOptions& options, const std::string& name,
                            stage::Observer& observer) {
  const auto lock = store.lock_key("settled-" + name, [&](const std::string& who) {
    observer.note(
        fmt::format("the image is being booted by {}; waiting for it", who.empty() ? "another kiln" : who));
  });
  const std::string machine = machines.saved_identity(options);
  if (auto kept = store.find_settled(name)) {
    if (kept->machine == machine) return *std::move(kept);
    observer.note(
        "the guest that is kept has other memory, cpus or accelerator, or is of another QEMU: booting anew");
  } else {
    observer.note("no guest of this image is kept yet: it is booted first, and kept when it has settled");
  }
  require_space(store.root(), kRoom, "a settled guest");
  const auto entry = store.begin();
  cache::Settled made{entry.folder(), machine, proof::saved_files(options.firmware)};
  const double begun = host.elapsed();
  machines.keep(options, made.folder);
  made = store.keep_settled(name, std::move(made));
  observer.note(fmt::format("booted and settled in {}; kept for the next --settled of this image",
                            base::human_seconds(std::max(0.0, host.elapsed() - begun))));
  return made;
}

}  // namespace

void with_kept_boot(const host::Host& host, cache::Store& store, Machines& machines,
                    const proof::BootOptions& options, const std::string& sha256, stage::Observer& observer,
                    const std::function<void(const proof::BootOptions&)>& use) {
  const std::string name = cache::Store::settled_name(sha256, firmware_name(options.firmware));
  for (bool again = true;; again = false) {
    proof::BootOptions own = options;
    own.saved = find_or_make(host, store, machines, options, name, observer).folder;
    bool resumed = false;
    own.on_resumed = [&] { resumed = true; };
    try {
      use(own);
      return;
    } catch (const base::Error& error) {
      if (resumed || error.exit() != base::Exit::failed) throw;
      // What does not work once is not tried again with what is kept.
      store.drop_settled(name);
      if (!again) throw;
      observer.note(fmt::format("the guest that is kept is not resumed: {}; booting anew", error.message()));
    }
  }
}

}  // namespace kiln::engine
