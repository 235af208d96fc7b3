#include "engine/settled.hpp"

#include <fmt/core.h>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "engine/steps.hpp"
#include "host/atomic_file.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;

// Boots from `layer` on a disk of its own, and keeps what came of it. Throws base::Error: of a guest that
// does not boot by `booting`.
cache::Settled make(Session& session, const std::string& layer, const image::GuestOptions& options,
                    const std::string& machine, const stage::Workspace::Warm& warm,
                    const std::function<void(std::string_view)>& doing, bool& booting) {
  const auto entry = session.store.begin();
  cache::Settled made{entry.folder(), machine};
  const auto size = session.machines.virtual_size(options.disk);
  session.machines.make_overlay(made.disk(), cache::backing_of(layer), size);
  image::GuestOptions own = options;
  own.disk = made.disk();
  booting = true;
  auto guest = session.machines.boot(own, doing);
  booting = false;
  if (warm) warm(*guest);
  doing("keeping the settled guest");
  guest->save(made.memory(), made.initrd());
  guest.reset();
  host::copy_sparse(options.kernel, made.kernel());
  return session.store.keep_settled(layer, std::move(made));
}

}  // namespace

std::unique_ptr<image::Guest> settled_guest(Session& session, const std::string& layer,
                                            const image::GuestOptions& options,
                                            const stage::Workspace::Warm& warm,
                                            const std::function<void(std::string_view)>& doing,
                                            stage::Observer& observer) {
  const std::string machine = session.machines.guest_identity(options);
  bool booting = false;
  try {
    auto settled = session.store.find_settled(layer);
    if (!settled || settled->machine != machine)
      settled = make(session, layer, options, machine, warm, doing, booting);
    image::GuestOptions own = options;
    own.kernel = settled->kernel();
    own.initrd = settled->initrd();
    // Copied, so that nothing that is kept has a by-product below it; the copy is as deep as the original.
    fs::remove(options.disk);
    host::copy_sparse(settled->disk(), options.disk);
    fs::permissions(options.disk, fs::perms::owner_read | fs::perms::owner_write);
    return session.machines.resume(own, settled->memory(), doing);
  } catch (const base::Error& error) {
    if (booting || is_interrupt(error)) throw;
    observer.note(fmt::format("no settled guest is resumed: {}", error.message()));
  }
  // What does not work once is not tried again with what is kept.
  session.store.drop_settled(layer);
  const auto size = session.machines.virtual_size(session.store.root() / "layers" / layer / "image.qcow2");
  fs::remove(options.disk);
  session.machines.make_overlay(options.disk, cache::backing_of(layer), size);
  return nullptr;
}

}  // namespace kiln::engine
