// The image operations a build needs, behind one door: the engine decides what is done and in which order,
// this does it. Tests put plain files in the place of disks and scripted systems in the place of guests.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "image/accel.hpp"
#include "image/files.hpp"
#include "image/guest.hpp"
#include "image/system.hpp"
#include "proof/verdict.hpp"

namespace kiln::engine {

class Machines {
 public:
  virtual ~Machines() = default;
  Machines() = default;
  Machines(const Machines&) = delete;
  Machines& operator=(const Machines&) = delete;

  // Something of a layer held open: its files or its sandbox. The destructor lets go of it as well, but
  // swallows what goes wrong.
  class Offline {
   public:
    virtual ~Offline() = default;
    virtual image::Files& files() = 0;
    virtual void close() = 0;  // all is in the image when it returns; throws base::Error
  };
  class Sandbox {
   public:
    virtual ~Sandbox() = default;
    virtual image::System& system() = 0;
    virtual void close() = 0;
  };

  // Bytes of the disk a guest would see.
  virtual std::uint64_t virtual_size(const std::filesystem::path& image) = 0;
  // See image::make_overlay.
  virtual void make_overlay(const std::filesystem::path& overlay, const std::string& backing,
                            std::uint64_t size) = 0;
  // See image::check_image.
  virtual void check_image(const std::filesystem::path& image) = 0;
  // `native`: mounted on the host (root); else libguestfs, under TCG when `force_tcg`.
  virtual std::unique_ptr<Offline> open_files(const std::filesystem::path& image,
                                              const std::filesystem::path& scratch, bool read_only,
                                              bool native, bool force_tcg) = 0;
  // Mounts and enters; `apt_cache` becomes the package cache inside.
  virtual std::unique_ptr<Sandbox> open_sandbox(const std::filesystem::path& image,
                                                const std::filesystem::path& scratch,
                                                const std::filesystem::path& apt_cache,
                                                std::chrono::seconds step_limit) = 0;
  virtual std::unique_ptr<image::Guest> boot(const image::GuestOptions& options,
                                             const std::function<void(std::string_view)>& on_doing) = 0;
  // See image::Guest::resume and ::identity.
  virtual std::unique_ptr<image::Guest> resume(const image::GuestOptions& options,
                                               const std::filesystem::path& memory,
                                               const std::function<void(std::string_view)>& on_doing) = 0;
  virtual std::string guest_identity(const image::GuestOptions& options) = 0;
  // See image::choose_accel.
  virtual image::AccelVerdict choose_accel(image::Wish wish, const std::filesystem::path& kernel) = 0;
  // See proof::prove, ::shell, ::keep and ::saved_identity.
  virtual proof::Verdict prove(const proof::BootOptions& options) = 0;
  virtual int shell(const proof::BootOptions& options, const proof::HandOver& hand_over,
                    const std::vector<std::string>& command) = 0;
  virtual void keep(const proof::BootOptions& options, const std::filesystem::path& folder) = 0;
  virtual std::string saved_identity(const proof::BootOptions& options) = 0;
};

// The real ones. `state` keeps what was found out about this host (does KVM run a kernel?).
std::unique_ptr<Machines> real_machines(const host::Host& host, const std::filesystem::path& state);

}  // namespace kiln::engine
