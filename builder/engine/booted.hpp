// A running build guest with the folder it lives in, which one step hands to the next (engine rule 12): the
// folder of the step that booted it becomes a layer's before the guest ends.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "cache/store.hpp"
#include "image/guest.hpp"
#include "stage/observer.hpp"

namespace kiln::engine {

struct Booted {
  explicit Booted(std::filesystem::path own) : folder(std::move(own)) {
    std::filesystem::create_directories(folder);
  }
  ~Booted() {
    guest.reset();
    cache::remove_tree(folder);
  }
  Booted(const Booted&) = delete;
  Booted& operator=(const Booted&) = delete;

  std::filesystem::path folder;
  std::unique_ptr<image::Guest> guest;  // empty until it has booted
  bool at_rest = false;                 // since the disk was cut; see image::Guest::leave_rest
  stage::Observer* observer = nullptr;  // of the step that has it; hears what the guest is at
  std::uintmax_t told = 0;              // bytes of the console that are of earlier steps

  // For the guest, which has it as long as it lives.
  [[nodiscard]] std::function<void(std::string_view)> doing() {
    return [this](std::string_view what) {
      if (observer != nullptr) observer->doing(what);
    };
  }
  [[nodiscard]] std::filesystem::path console() const { return folder / "console"; }
};

// What the step behind gets: a layer in the making that the guest writes to already, and the layer below it.
struct Handover {
  cache::Entry entry;
  std::string parent;              // its id
  std::unique_ptr<Booted> booted;  // after entry: goes first
};

}  // namespace kiln::engine
