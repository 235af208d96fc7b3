#include "engine/machines.hpp"

#include <utility>

#include "image/disk.hpp"
#include "image/mount.hpp"
#include "image/sandbox.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;

class MountedFiles final : public Machines::Offline {
 public:
  explicit MountedFiles(std::unique_ptr<image::Mount> mount)
      : mount_(std::move(mount)), files_(image::mounted_files(*mount_)) {}
  image::Files& files() override { return *files_; }
  void close() override {
    files_.reset();
    mount_->close();
  }

 private:
  std::unique_ptr<image::Mount> mount_;
  std::unique_ptr<image::Files> files_;  // after mount_: goes first
};

class GuestfsFiles final : public Machines::Offline {
 public:
  explicit GuestfsFiles(std::unique_ptr<image::Files> files) : files_(std::move(files)) {}
  image::Files& files() override { return *files_; }
  void close() override { files_->close(); }

 private:
  std::unique_ptr<image::Files> files_;
};

class MountedSandbox final : public Machines::Sandbox {
 public:
  MountedSandbox(std::unique_ptr<image::Mount> mount, std::unique_ptr<image::System> system)
      : mount_(std::move(mount)), system_(std::move(system)) {}
  image::System& system() override { return *system_; }
  void close() override {
    system_.reset();
    mount_->close();
  }

 private:
  std::unique_ptr<image::Mount> mount_;
  std::unique_ptr<image::System> system_;  // after mount_: goes first
};

class RealMachines final : public Machines {
 public:
  RealMachines(const host::Host& host, fs::path state) : host_(host), state_(std::move(state)) {}

  std::uint64_t virtual_size(const fs::path& image) override {
    return image::disk_info(host_, image).virtual_size;
  }
  void make_overlay(const fs::path& overlay, const std::string& backing, std::uint64_t size) override {
    image::make_overlay(host_, overlay, backing, size);
  }
  void check_image(const fs::path& image) override { image::check_image(host_, image); }
  std::unique_ptr<Offline> open_files(const fs::path& image, const fs::path& scratch, bool read_only,
                                      bool native, bool force_tcg) override {
    if (native) return std::make_unique<MountedFiles>(image::Mount::open(host_, image, scratch, read_only));
    return std::make_unique<GuestfsFiles>(image::guestfs_files(host_, image, scratch, read_only, force_tcg));
  }
  std::unique_ptr<Sandbox> open_sandbox(const fs::path& image, const fs::path& scratch,
                                        const fs::path& apt_cache, std::chrono::seconds step_limit) override {
    auto mount = image::Mount::open(host_, image, scratch, false);
    image::SandboxOptions options;
    options.root = mount->root();
    options.scratch = scratch;
    options.apt_cache = apt_cache;
    options.step_limit = step_limit;
    auto system = image::open_sandbox(host_, options);
    return std::make_unique<MountedSandbox>(std::move(mount), std::move(system));
  }
  std::unique_ptr<image::Guest> boot(const image::GuestOptions& options,
                                     const std::function<void(std::string_view)>& on_doing) override {
    return image::Guest::boot(host_, options, on_doing);
  }
  std::unique_ptr<image::Guest> resume(const image::GuestOptions& options, const fs::path& memory,
                                       const std::function<void(std::string_view)>& on_doing) override {
    return image::Guest::resume(host_, options, memory, on_doing);
  }
  std::string guest_identity(const image::GuestOptions& options) override {
    return image::Guest::identity(host_, options);
  }
  image::AccelVerdict choose_accel(image::Wish wish, const fs::path& kernel) override {
    fs::create_directories(state_);
    return image::choose_accel(host_, wish, kernel, state_);
  }
  proof::Verdict prove(const proof::BootOptions& options) override { return proof::prove(host_, options); }
  int shell(const proof::BootOptions& options, const proof::HandOver& hand_over,
            const std::vector<std::string>& command) override {
    return proof::shell(host_, options, hand_over, command);
  }
  void keep(const proof::BootOptions& options, const fs::path& folder) override {
    proof::keep(host_, options, folder);
  }
  std::string saved_identity(const proof::BootOptions& options) override {
    return proof::saved_identity(host_, options);
  }

 private:
  const host::Host& host_;
  fs::path state_;
};

}  // namespace

std::unique_ptr<Machines> real_machines(const host::Host& host, const fs::path& state) {
  return std::make_unique<RealMachines>(host, state);
}

}  // namespace kiln::engine
