// A world without disks: layers are text files that name their backing file and list what was done to them,
// guests are scripts. What the engine does with them is real.
#pragma once

#include <atomic>
#include <deque>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "cache/store.hpp"
#include "engine/engine.hpp"
#include "engine/machines.hpp"
#include "host/temp_dir.hpp"
#include "plan/plan.hpp"
#include "stage/observer.hpp"
#include "stage/workspace.hpp"

namespace kiln::engine {

class FakeRunner final : public host::Runner {
 public:
  host::Finished run(const host::Command& command, const host::OnOutput& on_output) override;
  std::unique_ptr<host::Process> start(const host::Command& command) override;
  std::optional<std::filesystem::path> find_program(const std::string& name) override;
  std::set<std::string> missing;
};

class FakeMachines final : public Machines {
 public:
  std::uint64_t virtual_size(const std::filesystem::path& image) override;
  void check_image(const std::filesystem::path& image) override;
  void make_overlay(const std::filesystem::path& overlay, const std::string& backing,
                    std::uint64_t size) override;
  std::unique_ptr<Offline> open_files(const std::filesystem::path& image,
                                      const std::filesystem::path& scratch, bool read_only, bool native,
                                      bool force_tcg) override;
  std::unique_ptr<Sandbox> open_sandbox(const std::filesystem::path& image,
                                        const std::filesystem::path& scratch,
                                        const std::filesystem::path& apt_cache,
                                        std::chrono::seconds step_limit) override;
  std::unique_ptr<image::Guest> boot(const image::GuestOptions& options,
                                     const std::function<void(std::string_view)>& on_doing) override;
  std::unique_ptr<image::Guest> resume(const image::GuestOptions& options,
                                       const std::filesystem::path& memory,
                                       const std::function<void(std::string_view)>& on_doing) override;
  std::string guest_identity(const image::GuestOptions& options) override;
  image::AccelVerdict choose_accel(image::Wish wish, const std::filesystem::path& kernel) override;
  proof::Verdict prove(const proof::BootOptions& options) override;
  int shell(const proof::BootOptions& options, const proof::HandOver& hand_over,
            const std::vector<std::string>& command) override;
  void keep(const proof::BootOptions& options, const std::filesystem::path& folder) override;
  std::string saved_identity(const proof::BootOptions& options) override;

  std::vector<std::string> log;  // what was asked for, in order
  std::set<std::string> open;    // what is open now
  bool healthy = true;           // the next proof
  bool disks_are_whole = true;
  bool saves = true, resumes = true;  // what is asked of a settled guest
  std::string unrest;                 // why a guest does not come to rest; "": it does
  std::filesystem::path guest_disk;   // of the guest that is open
  std::string qemu = "qemu 7.2";
  std::set<std::string> boot_names = {"vmlinuz-6.1.0-9-cloud", "initrd.img-6.1.0-9-cloud"};
  std::string fstab = "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n";
  std::string dpkg_status;
  image::GuestOptions last_guest;
  image::Limits last_proof;
  std::filesystem::path last_debs;
  std::function<host::Finished(const image::Exec&)> answer;  // of commands
};

class FakeObserver final : public stage::Observer {
 public:
  FakeObserver() = default;
  // What is told to this is in `all` too, in the end.
  explicit FakeObserver(FakeObserver& all) : all_(&all) {}
  ~FakeObserver() override;
  FakeObserver(const FakeObserver&) = delete;
  FakeObserver& operator=(const FakeObserver&) = delete;
  void step_begins(std::string_view id, std::string_view) override {
    lines.push_back("begin " + std::string(id));
  }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override;
  void doing(std::string_view) override {}
  void output(std::string_view line) override { lines.push_back("output " + std::string(line)); }
  void note(std::string_view text) override { lines.push_back("note " + std::string(text)); }
  void warn(std::string_view text) override { lines.push_back("warn " + std::string(text)); }
  void bytes(std::string_view, std::uint64_t, std::uint64_t) override {}
  std::vector<std::string> lines;

 private:
  FakeObserver* all_ = nullptr;
  std::mutex joining_;
};

image::Exec command(std::vector<std::string> argv);

using Deed = std::function<void(stage::Workspace&)>;

// A host, a store and a profile whose steps are lambdas.
class World {
 public:
  World();
  // `text` is an option and so part of the key; `tree`, when given, is an input.
  void base(const std::string& id, const std::string& text, Deed deed = {});
  void image(const std::string& id, const std::string& text, Deed deed = {},
             const std::filesystem::path& tree = {});
  void guest(const std::string& id, const std::string& text, Deed deed = {});
  void artifact(const std::string& id, const std::string& text, Deed deed = {});
  void secret(const std::string& id, Deed deed);
  // base -> one -> two -> export, each with text "1".
  void usual();
  plan::PlannedStep& step(const std::string& id);
  void change(const std::string& id, const std::string& text);

  [[nodiscard]] std::vector<plan::StepKey> keys() const;
  // With a store opened for this build alone, as a process would.
  BuildReport build();
  engine::States states();
  [[nodiscard]] std::string layer_text(const std::string& id) const;
  [[nodiscard]] std::vector<std::string> names(const std::filesystem::path& folder) const;

  host::TempDir dir;
  std::filesystem::path root = dir.path() / "store";
  std::filesystem::path out = dir.path() / "out" / "demo";
  std::shared_ptr<FakeRunner> runner = std::make_shared<FakeRunner>();
  host::Host host;
  std::atomic<std::int64_t> clock = 1'700'000'000;
  std::atomic<double> elapsed = 0;
  std::vector<std::pair<std::string, std::string>> env;
  plan::Plan plan;
  BuildOptions options;
  FakeObserver observer;
  FakeMachines machines;
  std::vector<std::string> ran;  // ids of the steps whose deed was done

 private:
  std::mutex running_;  // of `ran`
  void add(const stage::StageType& type, const std::string& id, const std::string& text, Deed deed,
           const std::filesystem::path& tree);
};

}  // namespace kiln::engine
