// What a step may touch, made of the store, snapshotted inputs and the machines: implements stage::Workspace.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cache/store.hpp"
#include "engine/booted.hpp"
#include "engine/engine.hpp"
#include "engine/machines.hpp"
#include "host/host.hpp"
#include "host/tree.hpp"
#include "stage/observer.hpp"
#include "stage/workspace.hpp"

namespace kiln::engine {

// Local files as they were when the keys were made (engine rule 3). What the keys digested is copied once, at
// the start of a build; steps that run much later read the copies.
class Inputs {
 public:
  // Copies below `folder`. Throws base::Error when a file is no longer what was digested, or was digested
  // twice with another result.
  void take(const std::map<std::filesystem::path, std::vector<host::TreeNode>>& inputs,
            const std::filesystem::path& folder);
  // The copy of `local`, which may lie below a digested tree; nullopt when it was not digested.
  [[nodiscard]] std::optional<std::filesystem::path> find(const std::filesystem::path& local) const;

 private:
  struct Copy {
    std::filesystem::path folder;
    std::string text;  // of the tree, as digested
  };
  std::map<std::filesystem::path, Copy> copies_;
};

// A step that failed.
struct Failure {
  std::string step;   // its id
  std::string error;  // all its lines
  double seconds = 0;
};

// What all steps of one build share.
class Session {
 public:
  Session(const host::Host& host, const profile::Profile& profile, cache::Store& store,
          const BuildOptions& options, stage::Observer& observer, Machines& machines);

  const host::Host& host;
  const profile::Profile& profile;
  cache::Store& store;
  const BuildOptions& options;
  stage::Observer& observer;
  Machines& machines;
  Inputs inputs;
  const double begun;  // on the host's clock of durations
  // Adds to the folder of a failed step's evidence what the build alone knows; must not throw.
  std::function<void(const Failure& failure, const std::filesystem::path& evidence)> explain_failure;

  // Mounts and sandboxes are had.
  [[nodiscard]] bool native() const { return host.root && options.native; }
  // Asked once for each kernel; the observer is told when it is news.
  image::AccelVerdict accel(const std::filesystem::path& kernel = {});
  [[nodiscard]] const std::optional<image::AccelVerdict>& last_accel() const { return accel_; }
  // Folder of this build alone, removed with the session.
  const std::filesystem::path& folder();

  struct BootFiles {
    std::filesystem::path kernel, initrd;
    std::string root;  // as the kernel's root= wants it
  };
  // By layer id: taken out of an image once, for all steps that boot it unchanged.
  std::map<std::string, BootFiles> boot_files;

 private:
  std::optional<cache::Entry> entry_;
  std::optional<image::AccelVerdict> accel_;
  std::string accel_kernel_;

 public:
  // For the next step, if it stands on that very layer. Last, so that a guest ends before its folder goes.
  std::optional<Handover> handover;
  int guests = 0;  // booted or resumed so far
};

// The newest kernel of /boot with an initrd beside it, and what the fstab calls the root file system, copied
// to `folder`. Throws base::Error when there is none.
Session::BootFiles take_boot_files(image::Files& files, const std::filesystem::path& folder);

// `dpkg -l` of an image, read offline from dpkg's status file.
struct Package {
  std::string name, version, architecture;
  std::uint64_t size = 0;  // bytes it takes when installed, as its maker says
};
std::vector<Package> parse_dpkg_status(const std::string& status);

class StepWorkspace final : public stage::Workspace {
 public:
  // `image`: the layer in the making (base and image steps) or the final layer (artifact steps, `output`
  // given). `folder` gets the log and what the step keeps. `parent`: id of the layer below, "" for a base.
  struct Place {
    std::filesystem::path folder;
    std::filesystem::path image;
    std::filesystem::path output;
    std::string parent;
    bool forced = false;  // by --from: what the store has is no reason not to do it
  };
  // `booted`: the guest that writes to `image` already.
  StepWorkspace(Session& session, Place place, std::unique_ptr<Booted> booted = {});
  ~StepWorkspace() override;
  StepWorkspace(const StepWorkspace&) = delete;
  StepWorkspace& operator=(const StepWorkspace&) = delete;

  // Ends the step's work, cleanly: guest shut down, layer unmounted, scratch() removed. Throws base::Error.
  void close();
  // A guest runs.
  [[nodiscard]] bool has_guest() const { return booted_ && booted_->guest && !booted_->at_rest; }
  // Ends the step's work with its guest still running, which writes to `overlay` from then on; nullptr when
  // it does not come to rest, and the work has yet to be closed. Throws base::Error.
  std::unique_ptr<Booted> cut(const std::filesystem::path& overlay);
  // The guest or sandbox the step has open, not logged; nullptr when it has none.
  [[nodiscard]] image::System* open_system() const;
  // Puts log, console, a picture of the display and what the step kept into `folder`.
  void leave_evidence(const std::filesystem::path& folder);
  [[nodiscard]] const std::vector<std::string>& resolved_lines() const { return resolved_; }
  // By URL, with the digest it had.
  [[nodiscard]] const std::map<std::string, std::string>& served_releases() const { return served_; }
  // When a mirror served that, if it was not now.
  [[nodiscard]] std::optional<std::int64_t> resolved_then() const { return resolved_at_; }

  const host::Host& host() const override { return session_.host; }
  stage::Observer& observer() override;
  std::filesystem::path input(const std::filesystem::path& local) override;
  std::chrono::seconds step_limit() const override;
  std::filesystem::path scratch() override;
  std::filesystem::path blob(const std::string& url, const std::string& sha256) override;
  std::filesystem::path package_cache(const std::string& kind) override;
  bool offline() const override { return session_.options.offline; }
  std::filesystem::path new_disk() override;
  image::Files& files() override;
  image::System& system() override;
  using Workspace::guest;
  image::System& guest(const Warm& warm) override;
  void resolved(const std::string& line) override;
  void served(const std::string& url, const std::string& sha256) override { served_[url] = sha256; }
  void resolved_at(std::int64_t when) override { resolved_at_ = when; }
  std::int64_t good_since() const override;
  void keep(const std::string& name, const std::string& content) override;
  void log(std::string_view text) override;
  std::filesystem::path image() override;
  std::filesystem::path output() override;
  std::string profile_name() const override { return session_.profile.name; }

 private:
  class LoggedObserver;
  class LoggedSystem;

  // Ends what is open of the layer; scratch() stays.
  void let_go();
  void require_image_step(std::string_view what) const;
  // What the guest's console said during this step goes to the step's folder.
  void take_console();
  [[nodiscard]] std::filesystem::path scratch_folder(std::string_view name);
  Session::BootFiles boot_files();
  // The guest of the image as it is, in booted_.
  void boot(const Warm& warm);

  Session& session_;
  Place place_;
  std::unique_ptr<LoggedObserver> observer_;
  std::vector<std::string> resolved_;
  std::map<std::string, std::string> served_;
  std::optional<std::int64_t> resolved_at_;
  std::vector<std::string> kept_;
  bool touched_ = false;  // the image may differ from its parent

  std::unique_ptr<Machines::Offline> offline_;
  std::unique_ptr<Machines::Sandbox> sandbox_;
  std::unique_ptr<Booted> booted_;
  std::unique_ptr<image::System> logged_;  // of what is open; after it: goes first
};

}  // namespace kiln::engine
