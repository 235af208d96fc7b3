#include "unit/engine/machines_fake.hpp"

#include <algorithm>
#include <array>
#include <fmt/core.h>
#include <fstream>
#include <stdexcept>
#include <unistd.h>
#include <utility>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "stage/key_writer.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;

void append(const fs::path& file, const std::string& line) {
  std::ofstream(file, std::ios::app) << line << '\n';
}

class FakeFiles final : public image::Files {
 public:
  FakeFiles(FakeMachines& machines, fs::path image, bool read_only)
      : machines_(machines), image_(std::move(image)), read_only_(read_only) {}
  std::optional<image::Stat> find(const std::string& path) override {
    if (path == "/boot") return image::Stat{'d', 0755, 0, 0, 0, {}};
    if (path.starts_with("/boot/") && machines_.boot_names.contains(path.substr(6))) return image::Stat{};
    if (path == "/etc/fstab" && !machines_.fstab.empty()) return image::Stat{};
    if (path == "/var/lib/dpkg/status" && !machines_.dpkg_status.empty()) return image::Stat{};
    return std::nullopt;
  }
  std::string read(const std::string& path) override {
    if (path == "/etc/fstab") return machines_.fstab;
    if (path == "/var/lib/dpkg/status") return machines_.dpkg_status;
    throw std::logic_error("not in this world: " + path);
  }
  std::vector<std::string> list(const std::string& directory) override {
    if (directory == "/") return {"boot"};
    return {machines_.boot_names.begin(), machines_.boot_names.end()};
  }
  std::uint64_t used(const std::string& directory) override {
    return directory.starts_with("/boot") ? 300ULL << 20 : 0;
  }
  void write(const std::string& path, const std::string& content, const image::Attributes&) override {
    if (read_only_) throw std::logic_error("a read-only image is written to");
    append(image_, fmt::format("write {} {}", path, content));
  }
  void make_directory(const std::string&, const image::Attributes&) override {}
  void link(const std::string&, const std::string&) override {}
  void remove(const std::string&) override {}
  void set_attributes(const std::string&, const image::Attributes&) override {}
  void unpack(const fs::path&, const std::string&) override {}
  void copy_out(const std::string& path, const fs::path& local) override { host::write_file(local, path); }
  void discard_free() override {}

 private:
  FakeMachines& machines_;
  fs::path image_;
  bool read_only_;
};

// Says when it is opened and closed; two of a kind at once are a mistake of the engine.
class Open {
 public:
  Open(FakeMachines& machines, std::string what) : machines_(machines), what_(std::move(what)) {
    if (!machines_.open.empty()) throw std::logic_error(what_ + " opened beside " + *machines_.open.begin());
    machines_.open.insert(what_);
    machines_.log.push_back("open " + what_);
  }
  ~Open() { end("drop "); }
  Open(const Open&) = delete;
  Open& operator=(const Open&) = delete;
  void close() { end("close "); }

 private:
  void end(const char* how) {
    if (machines_.open.erase(what_) > 0) machines_.log.push_back(how + what_);
  }
  FakeMachines& machines_;
  std::string what_;
};

class FakeOffline final : public Machines::Offline {
 public:
  FakeOffline(FakeMachines& machines, const fs::path& image, bool read_only, const std::string& what)
      : open_(machines, what), files_(machines, image, read_only) {}
  image::Files& files() override { return files_; }
  void close() override { open_.close(); }

 private:
  Open open_;
  FakeFiles files_;
};

host::Finished answer(FakeMachines& machines, const fs::path& image, const image::Exec& exec,
                      const host::OnOutput& on_output) {
  append(image, "run " + base::shell_line(exec.argv));
  host::Finished finished;
  finished.exit = 0;
  if (machines.answer) finished = machines.answer(exec);
  if (on_output && !finished.out.empty()) on_output(host::Stream::out, finished.out);
  return finished;
}

class FakeSandbox final : public Machines::Sandbox, public image::System {
 public:
  FakeSandbox(FakeMachines& machines, fs::path image)
      : open_(machines, "sandbox"), machines_(machines), image_(std::move(image)) {}
  image::System& system() override { return *this; }
  void close() override { open_.close(); }
  host::Finished run(const image::Exec& exec, const host::OnOutput& on_output) override {
    return answer(machines_, image_, exec, on_output);
  }
  [[nodiscard]] bool booted() const override { return false; }

 private:
  Open open_;
  FakeMachines& machines_;
  fs::path image_;
};

class FakeGuest final : public image::Guest {
 public:
  FakeGuest(FakeMachines& machines, fs::path image)
      : open_(machines, "guest"), machines_(machines), image_(std::move(image)) {
    machines_.guest_disk = image_;
  }
  host::Finished run(const image::Exec& exec, const host::OnOutput& on_output) override {
    if (at_rest_) throw std::logic_error("a command for a guest at rest");
    return answer(machines_, image_, exec, on_output);
  }
  std::string cut(const fs::path& overlay) override {
    machines_.log.push_back("cut");
    if (!machines_.unrest.empty()) return machines_.unrest;
    image_ = machines_.guest_disk = overlay;
    at_rest_ = true;
    return {};
  }
  void leave_rest() override {
    machines_.log.push_back("wake");
    at_rest_ = false;
  }
  [[nodiscard]] bool booted() const override { return true; }
  void shut_down() override { open_.close(); }
  void save(const fs::path& memory, const fs::path& initrd) override {
    machines_.log.push_back("save");
    if (!machines_.saves) throw base::Error("QEMU refused 'migrate': no");
    host::write_file(memory, "memory of\n" + host::read_file(image_));
    host::write_file(initrd, host::read_file(machines_.last_guest.initrd));
    open_.close();
  }
  bool screenshot(const fs::path& png) override {
    host::write_file(png, "picture");
    return true;
  }

 private:
  Open open_;
  FakeMachines& machines_;
  fs::path image_;
  bool at_rest_ = false;
};

class ScriptStage final : public stage::Stage {
 public:
  ScriptStage(std::string id, Deed deed) : id_(std::move(id)), deed_(std::move(deed)) {}
  [[nodiscard]] std::string text(stage::Tense tense) const override {
    return (tense == stage::Tense::will ? "Do " : "Doing ") + id_;
  }
  // of the step that World::usual() exports by
  [[nodiscard]] std::string ending() const override { return id_ == "export" ? ".qcow2" : ""; }
  void run(stage::Workspace& work) const override { deed_(work); }

 private:
  std::string id_;
  Deed deed_;
};

stage::Option option(std::string_view name, stage::Type type) {
  stage::Option made;
  made.name = name;
  made.type = type;
  made.doc = "any";
  return made;
}
const std::array<stage::Option, 2> kOptions = {option("text", stage::Type::text),
                                               option("tree", stage::Type::tree)};
constexpr std::array<std::string_view, 1> kTools = {"mmdebstrap"};

stage::StageType type(std::string_view name, stage::Kind kind, stage::Place place) {
  stage::StageType made;
  made.name = name;
  made.kind = kind;
  made.place = place;
  made.options = kOptions;
  if (kind == stage::Kind::base) made.tools = kTools;
  return made;
}

stage::StageType base_type() {
  auto made = type("fake_base", stage::Kind::base, stage::Place::offline);
  made.resolves = true;
  return made;
}
const stage::StageType kBase = base_type();
const stage::StageType kImage = type("fake_image", stage::Kind::image, stage::Place::native_or_guest);
const stage::StageType kGuest = type("fake_guest", stage::Kind::image, stage::Place::guest);
const stage::StageType kArtifact = type("fake_export", stage::Kind::artifact, stage::Place::offline);

stage::StageType secret_type() {
  auto made = kArtifact;
  made.name = "fake_secret";
  made.reuse = stage::Reuse::never;
  return made;
}
const stage::StageType kSecret = secret_type();

}  // namespace

image::Exec command(std::vector<std::string> argv) {
  image::Exec exec;
  exec.argv = std::move(argv);
  return exec;
}

host::Finished FakeRunner::run(const host::Command& command, const host::OnOutput&) {
  throw std::logic_error("no command is run in this world: " + command.text());
}
std::unique_ptr<host::Process> FakeRunner::start(const host::Command& command) {
  throw std::logic_error("no command is run in this world: " + command.text());
}
std::optional<fs::path> FakeRunner::find_program(const std::string& name) {
  if (missing.contains(name)) return std::nullopt;
  return fs::path("/usr/bin") / name;
}

std::uint64_t FakeMachines::virtual_size(const fs::path& image) {
  if (!fs::exists(image)) throw std::logic_error("size of nothing");
  return 4ULL << 30;
}
void FakeMachines::check_image(const fs::path& image) {
  const bool elsewhere = open == std::set<std::string>{"guest"} && guest_disk != image;
  if (!open.empty() && !elsewhere) throw std::logic_error("checked while it is open");
  if (!disks_are_whole) throw base::Error("the disk '" + image.string() + "' is damaged");
}
void FakeMachines::make_overlay(const fs::path& overlay, const std::string& backing, std::uint64_t size) {
  // As the real one would, later: the parent is where the child will look for it.
  // A layer in the making lies in tmp/ under the name it will have.
  const auto id = fs::path(backing).parent_path().filename();
  if (!fs::exists(overlay.parent_path() / backing) && !fs::exists(overlay.parent_path().parent_path() / id))
    throw std::logic_error("no parent at " + backing);
  log.push_back("overlay");
  host::write_file(overlay, fmt::format("backing {} {}\n", backing, size));
}
std::unique_ptr<Machines::Offline> FakeMachines::open_files(const fs::path& image, const fs::path& scratch,
                                                            bool read_only, bool native, bool force_tcg) {
  if (!fs::is_directory(scratch)) throw std::logic_error("no scratch folder");
  return std::make_unique<FakeOffline>(*this, image, read_only,
                                       native      ? "mount"
                                       : force_tcg ? "guestfs-tcg"
                                                   : "guestfs");
}
std::unique_ptr<Machines::Sandbox> FakeMachines::open_sandbox(const fs::path& image, const fs::path&,
                                                              const fs::path& apt_cache,
                                                              std::chrono::seconds) {
  last_debs = apt_cache;
  return std::make_unique<FakeSandbox>(*this, image);
}
std::unique_ptr<image::Guest> FakeMachines::boot(const image::GuestOptions& options,
                                                 const std::function<void(std::string_view)>&) {
  last_guest = options;
  host::write_file(options.console, "Linux version\n");
  return std::make_unique<FakeGuest>(*this, options.disk);
}
std::unique_ptr<image::Guest> FakeMachines::resume(const image::GuestOptions& options, const fs::path& memory,
                                                   const std::function<void(std::string_view)>&) {
  log.push_back("resume");
  if (!resumes) throw base::Error("QEMU could not load the guest's memory");
  // As the real one would notice, sooner or later.
  if (host::read_file(memory) != "memory of\n" + host::read_file(options.disk))
    throw std::logic_error("this memory is of another disk");
  last_guest = options;
  host::write_file(options.console, "");
  return std::make_unique<FakeGuest>(*this, options.disk);
}
std::string FakeMachines::guest_identity(const image::GuestOptions& options) {
  return fmt::format("{} {}", qemu, options.memory);
}
image::AccelVerdict FakeMachines::choose_accel(image::Wish, const fs::path&) {
  return {image::Accel::tcg, "no KVM in this world"};
}
proof::Verdict FakeMachines::prove(const proof::BootOptions& options) {
  log.push_back(options.firmware == profile::Firmware::uefi ? "prove uefi" : "prove bios");
  last_proof = options.limits;
  host::write_file(options.console, "console\n");
  host::write_file(options.screen, "screen\n");
  proof::Verdict verdict;
  verdict.passed = healthy;
  verdict.resumed = !options.saved.empty();
  verdict.proven = healthy && !verdict.resumed;
  verdict.inside = true;
  verdict.firmware = options.firmware == profile::Firmware::uefi ? "uefi" : "bios";
  verdict.accel = "tcg";
  verdict.checks = {{"boot", "boot", true, true, "", 1}, {"unit", "nginx", healthy, true, "inactive", 0}};
  return verdict;
}

int FakeMachines::shell(const proof::BootOptions& options, const proof::HandOver& hand_over,
                        const std::vector<std::string>& command) {
  log.push_back(options.saved.empty() ? "shell" : "shell resumed");
  if (!options.saved.empty()) {
    if (!resumes) throw base::Error("QEMU could not load the guest's memory");
    if (host::read_file(options.saved / "memory.zst") != "memory of " + options.image.string())
      throw std::logic_error("this memory is of another image");
    options.on_resumed();
  }
  return hand_over(command);
}
void FakeMachines::keep(const proof::BootOptions& options, const fs::path& folder) {
  log.push_back("keep");
  if (!saves) throw base::Error("nobody can log in");
  for (const auto& name : proof::saved_files(options.firmware)) host::write_file(folder / name, name);
  host::write_file(folder / "memory.zst", "memory of " + options.image.string());
}
std::string FakeMachines::saved_identity(const proof::BootOptions&) {
  return qemu;
}

void FakeObserver::step_ends(std::string_view id, How how, double seconds, std::string_view) {
  if (seconds < 0) throw std::logic_error("negative time");
  const char* word = how == How::done     ? "done"
                     : how == How::reused ? "reused"
                     : how == How::failed ? "failed"
                                          : "skipped";
  lines.push_back(fmt::format("{} {}", word, id));
}

FakeObserver::~FakeObserver() {
  if (all_ == nullptr) return;
  const std::lock_guard guard(all_->joining_);
  all_->lines.insert(all_->lines.end(), lines.begin(), lines.end());
}

World::World() {
  host.runner = runner;
  host.now = [this] { return clock++; };
  host.elapsed = [this] { return elapsed += 1; };
  host.env = [this](const std::string& name) -> std::optional<std::string> {
    for (const auto& [key, value] : env)
      if (key == name) return value;
    return std::nullopt;
  };
  host.tool_version = [](const std::string& name) { return name + " 1.0"; };
  host.root = true;  // so that steps are native; nothing is mounted in this world
  host.uid = static_cast<int>(::geteuid());
  options.output = out;
  options.kiln_version = "1.2.3";
  options.need_free = 1;
  plan.profile.name = "demo";
  plan.profile.description = "a demo";
}

void World::add(const stage::StageType& type, const std::string& id, const std::string& text, Deed deed,
                const fs::path& tree) {
  plan::PlannedStep step;
  step.id = id;
  step.type = &type;
  step.stage = std::make_shared<ScriptStage>(id, [this, id, deed = std::move(deed)](stage::Workspace& work) {
    {
      const std::lock_guard guard(running_);
      ran.push_back(id);
    }
    deed(work);
  });
  step.options.set("text", text, {});
  if (!tree.empty()) step.options.set("tree", tree.string(), {});
  plan.steps.push_back(std::move(step));
}

void World::base(const std::string& id, const std::string& text, Deed deed) {
  if (!deed) deed = [](stage::Workspace& work) { host::write_file(work.new_disk(), "base\n"); };
  add(kBase, id, text, std::move(deed), {});
}
void World::image(const std::string& id, const std::string& text, Deed deed, const fs::path& tree) {
  if (!deed) deed = [id](stage::Workspace& work) { work.files().write("/" + id, "x", {}); };
  add(kImage, id, text, std::move(deed), tree);
}
void World::guest(const std::string& id, const std::string& text, Deed deed) {
  if (!deed) deed = [id](stage::Workspace& work) { work.guest().require(command({"do", id})); };
  add(kGuest, id, text, std::move(deed), {});
}
void World::artifact(const std::string& id, const std::string& text, Deed deed) {
  if (!deed)
    deed = [](stage::Workspace& work) {
      host::write_file(work.output() / (work.profile_name() + ".qcow2"),
                       "exported\n" + host::read_file(work.image()));
    };
  add(kArtifact, id, text, std::move(deed), {});
}
void World::secret(const std::string& id, Deed deed) {
  add(kSecret, id, "1", std::move(deed), {});
}
void World::usual() {
  base("base", "1");
  image("one", "1");
  image("two", "1");
  artifact("export", "1");
}

plan::PlannedStep& World::step(const std::string& id) {
  for (auto& one : plan.steps)
    if (one.id == id) return one;
  throw std::logic_error("no step " + id);
}
void World::change(const std::string& id, const std::string& text) {
  step(id).options.set("text", text, {});
}

std::vector<plan::StepKey> World::keys() const {
  return plan::make_keys(plan, host);
}

BuildReport World::build() {
  ran.clear();
  machines.log.clear();
  observer.lines.clear();
  cache::Store store(host, root);
  return engine::build(host, plan, keys(), store, options, observer, machines);
}
engine::States World::states() {
  cache::Store store(host, root);
  return engine::states(plan, keys(), &store, options.from, clock);
}
std::string World::layer_text(const std::string& id) const {
  return host::read_file(root / "layers" / id / "image.qcow2");
}
std::vector<std::string> World::names(const fs::path& folder) const {
  std::vector<std::string> all;
  std::error_code ignored;
  for (const auto& item : fs::directory_iterator(folder, ignored)) all.push_back(item.path().filename());
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace kiln::engine
