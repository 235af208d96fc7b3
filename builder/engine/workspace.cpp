#include "engine/workspace.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <fmt/core.h>
#include <stdexcept>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/settled.hpp"
#include "host/atomic_file.hpp"
#include "host/download.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;

// Version order of kernel release names: 6.1.0-9 before 6.1.0-10.
bool older(const std::string& a, const std::string& b) {
  return ::strverscmp(a.c_str(), b.c_str()) < 0;
}

}  // namespace

// ---- Inputs

void Inputs::take(const std::map<fs::path, std::vector<host::TreeNode>>& inputs, const fs::path& folder) {
  for (const auto& [local, nodes] : inputs) {
    const auto key = local.lexically_normal();
    auto text = host::tree_text(nodes);
    if (const auto known = copies_.find(key); known != copies_.end()) {
      if (known->second.text == text) continue;
      throw base::Error("it changed between the keys of two steps that read it")
          .at({key.string()})
          .hint("build again");
    }
    // The file's own name stays, for tools that look at it.
    const fs::path own = folder / std::to_string(copies_.size());
    fs::create_directories(own);
    const fs::path copy = own / (key.has_filename() ? key.filename() : fs::path("tree"));
    host::snapshot(local, nodes, copy);
    copies_[key] = {copy, std::move(text)};
  }
}

std::optional<fs::path> Inputs::find(const fs::path& local) const {
  const auto wanted = local.lexically_normal();
  if (const auto found = copies_.find(wanted); found != copies_.end()) return found->second.folder;
  for (const auto& [root, copy] : copies_) {
    const auto rest = wanted.lexically_relative(root);
    if (!rest.empty() && *rest.begin() != ".." && *rest.begin() != ".") return copy.folder / rest;
  }
  return std::nullopt;
}

// ---- Session

Session::Session(const host::Host& host_, const profile::Profile& profile_, cache::Store& store_,
                 const BuildOptions& options_, stage::Observer& observer_, Machines& machines_)
    : host(host_),
      profile(profile_),
      store(store_),
      options(options_),
      observer(observer_),
      machines(machines_),
      begun(host_.elapsed()) {}

image::AccelVerdict Session::accel(const fs::path& kernel) {
  if (accel_ && (kernel.empty() || accel_kernel_ == kernel.string())) return *accel_;
  const auto verdict = machines.choose_accel(options.accel, kernel);
  if (!accel_ || accel_->accel != verdict.accel || accel_->why != verdict.why) observer.note(verdict.why);
  accel_ = verdict;
  accel_kernel_ = kernel.string();
  return verdict;
}

const fs::path& Session::folder() {
  if (!entry_) entry_.emplace(store.scratch());
  return entry_->folder();
}

Session::BootFiles take_boot_files(image::Files& files, const fs::path& folder) {
  std::vector<std::string> releases;
  for (const auto& name : files.find("/boot") ? files.list("/boot") : std::vector<std::string>()) {
    constexpr std::string_view kPrefix = "vmlinuz-";
    if (!name.starts_with(kPrefix)) continue;
    const std::string release = name.substr(kPrefix.size());
    if (files.find("/boot/initrd.img-" + release)) releases.push_back(release);
  }
  if (releases.empty())
    throw base::Error("there is no kernel with an initrd in the image's /boot, so it cannot be booted")
        .hint("let an earlier step install a kernel package");
  const std::string release = *std::max_element(releases.begin(), releases.end(), older);

  fs::create_directories(folder);
  Session::BootFiles boot{folder / "vmlinuz", folder / "initrd.img", "LABEL=cloudimg-rootfs"};
  files.copy_out("/boot/vmlinuz-" + release, boot.kernel);
  files.copy_out("/boot/initrd.img-" + release, boot.initrd);
  if (files.find("/etc/fstab")) {
    for (const auto& line : base::lines(files.read("/etc/fstab"))) {
      const auto words = base::words(line);
      if (words.size() >= 2 && words[1] == "/" &&
          (words[0].starts_with("LABEL=") || words[0].starts_with("UUID=") ||
           words[0].starts_with("PARTUUID=")))
        boot.root = words[0];
    }
  }
  return boot;
}

std::vector<Package> parse_dpkg_status(const std::string& status) {
  std::vector<Package> packages;
  Package current;
  bool installed = false;
  const auto finish = [&] {
    if (installed && !current.name.empty()) packages.push_back(current);
    current = {};
    installed = false;
  };
  for (const auto& line : base::lines(status)) {
    if (line.empty()) finish();
    const auto value = [&](std::string_view field) -> std::optional<std::string> {
      if (!line.starts_with(field)) return std::nullopt;
      return std::string(base::trim(std::string_view(line).substr(field.size())));
    };
    if (auto text = value("Package:"))
      current.name = *text;
    else if (auto version = value("Version:"))
      current.version = *version;
    else if (auto machine = value("Architecture:"))
      current.architecture = *machine;
    else if (auto kilobytes = value("Installed-Size:"))
      current.size = base::parse_size(*kilobytes + "K").value_or(0);
    else if (auto state = value("Status:"))
      installed = state->ends_with(" installed");
  }
  finish();
  std::sort(packages.begin(), packages.end(), [](const Package& a, const Package& b) {
    return a.name != b.name ? a.name < b.name : a.architecture < b.architecture;
  });
  return packages;
}

// ---- what a step says, also in its log

class StepWorkspace::LoggedObserver final : public stage::Observer {
 public:
  LoggedObserver(stage::Observer& next, const host::Host& host, fs::path file)
      : next_(next), host_(host), file_(std::move(file)), begun_(host.elapsed()) {}

  void step_begins(std::string_view id, std::string_view text) override { next_.step_begins(id, text); }
  void step_ends(std::string_view id, How how, double seconds, std::string_view note) override {
    next_.step_ends(id, how, seconds, note);
  }
  void doing(std::string_view what) override {
    line(what);
    next_.doing(what);
  }
  // Stages log what a tool writes, word for word, by Workspace::log.
  void output(std::string_view text) override { next_.output(text); }
  void note(std::string_view text) override {
    line(text);
    next_.note(text);
  }
  void warn(std::string_view text) override {
    line(fmt::format("warning: {}", text));
    next_.warn(text);
  }
  void bytes(std::string_view what, std::uint64_t done, std::uint64_t total) override {
    next_.bytes(what, done, total);
  }

  void line(std::string_view text) {
    write(fmt::format("[{:7.1f}] {}\n", std::max(0.0, host_.elapsed() - begun_), text));
  }
  // A log that cannot be written is no reason to stop a build.
  void write(std::string_view text) {
    if (!fd_) fd_.reset(::open(file_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    while (fd_ && !text.empty()) {
      const auto written = ::write(fd_.get(), text.data(), text.size());
      if (written <= 0) return;
      text.remove_prefix(static_cast<std::size_t>(written));
    }
  }
  std::string_view piece_;  // of a command's output, while a stage is shown it

 private:
  stage::Observer& next_;
  const host::Host& host_;
  fs::path file_;
  double begun_;
  host::Fd fd_;
};

class StepWorkspace::LoggedSystem final : public image::System {
 public:
  LoggedSystem(image::System& next, LoggedObserver& log, std::string where)
      : next_(next), log_(log), where_(std::move(where)) {}

  host::Finished run(const image::Exec& exec, const host::OnOutput& on_output) override {
    log_.line(fmt::format("{}$ {}", where_, base::shell_line(exec.argv)));
    bool fresh = true;
    const auto tee = [&](host::Stream stream, std::string_view text) {
      // A file that passes through is no output for people.
      const bool data = stream == host::Stream::out && !exec.output_file.empty();
      if (!data && !text.empty()) {
        log_.write(text);
        fresh = text.back() == '\n';
      }
      if (!on_output) return;
      log_.piece_ = data ? std::string_view() : text;
      on_output(stream, text);
      log_.piece_ = {};
    };
    try {
      auto finished = next_.run(exec, tee);
      if (!fresh) log_.write("\n");
      if (!finished.ok()) log_.line(finished.how());
      return finished;
    } catch (const std::exception& failure) {
      if (!fresh) log_.write("\n");
      log_.line(failure.what());
      throw;
    }
  }
  [[nodiscard]] bool booted() const override { return next_.booted(); }

 private:
  image::System& next_;
  LoggedObserver& log_;
  std::string where_;
};

// ---- StepWorkspace

StepWorkspace::StepWorkspace(Session& session, Place place, std::unique_ptr<Booted> booted)
    : session_(session),
      place_(std::move(place)),
      observer_(std::make_unique<LoggedObserver>(session.observer, session.host, place_.folder / "log")),
      touched_(booted != nullptr),
      booted_(std::move(booted)) {
  if (booted_) booted_->observer = observer_.get();
}

StepWorkspace::~StepWorkspace() {
  // The work is dropped: whatever is open goes the short way.
  logged_.reset();
  booted_.reset();
  sandbox_.reset();
  offline_.reset();
  for (const auto* name : {"mount", "sandbox", "scratch"}) cache::remove_tree(place_.folder / name);
}

void StepWorkspace::close() {
  let_go();
  cache::remove_tree(place_.folder / "scratch");
}

std::unique_ptr<Booted> StepWorkspace::cut(const fs::path& overlay) {
  observer_->doing("cutting the guest's disk");
  logged_.reset();
  if (const auto why = booted_->guest->cut(overlay); !why.empty()) {
    observer_->note(fmt::format("the guest is shut down before the next step: {}", why));
    return nullptr;
  }
  booted_->at_rest = true;
  take_console();
  cache::remove_tree(place_.folder / "scratch");
  booted_->observer = nullptr;
  return std::move(booted_);
}

void StepWorkspace::take_console() {
  if (!booted_ || !fs::exists(booted_->console())) return;
  const auto text = host::read_file(booted_->console());
  const auto from = std::min<std::uintmax_t>(booted_->told, text.size());
  const fs::path own = place_.folder / "console";
  const std::string before = fs::exists(own) ? host::read_file(own) : "";
  host::write_file(own, before + text.substr(from), 0600);
  booted_->told = text.size();
}

void StepWorkspace::let_go() {
  logged_.reset();
  if (booted_ && booted_->guest) {
    observer_->doing("shutting the guest down");
    booted_->guest->shut_down();
    take_console();
  }
  booted_.reset();
  if (auto sandbox = std::move(sandbox_)) {
    observer_->doing("unmounting the layer");
    sandbox->close();
  }
  if (auto offline = std::move(offline_)) offline->close();
  for (const auto* name : {"mount", "sandbox"}) cache::remove_tree(place_.folder / name);
}

image::System* StepWorkspace::open_system() const {
  if (has_guest()) return booted_->guest.get();
  return sandbox_ ? &sandbox_->system() : nullptr;
}

void StepWorkspace::leave_evidence(const fs::path& folder) {
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  if (booted_ && booted_->guest) {
    try {
      booted_->guest->screenshot(folder / "screenshot.png");
    } catch (const std::exception& failure) {
      observer_->line(fmt::format("no picture of the display: {}", failure.what()));
    }
  }
  take_console();
  std::vector<std::string> names = kept_;
  names.insert(names.end(), {"log", "console"});
  for (const auto& name : names)
    fs::copy_file(place_.folder / name, folder / name, fs::copy_options::overwrite_existing, ignored);
}

stage::Observer& StepWorkspace::observer() {
  return *observer_;
}

fs::path StepWorkspace::input(const fs::path& local) {
  if (auto copy = session_.inputs.find(local)) return *copy;
  throw std::logic_error(
      fmt::format("a stage reads {}, which is in no key: name it in describe()", local.string()));
}

// Of the host: no accelerator makes it faster.
std::chrono::seconds StepWorkspace::step_limit() const {
  const auto said = session_.options.timeout;
  return said.count() > 0 ? said : image::limits_for(image::Accel::tcg).step;
}

fs::path StepWorkspace::scratch() {
  const fs::path folder = place_.folder / "scratch";
  fs::create_directories(folder);
  return folder;
}

fs::path StepWorkspace::scratch_folder(std::string_view name) {
  const fs::path folder = place_.folder / name;
  cache::remove_tree(folder);
  fs::create_directories(folder);
  return folder;
}

fs::path StepWorkspace::blob(const std::string& url, const std::string& sha256) {
  const auto file = session_.store.blob(sha256);
  const auto lock = session_.store.lock_blob(sha256);
  if (!offline() || url.starts_with("file:"))
    host::download(url, sha256, file,
                   [&](std::uint64_t done, std::uint64_t total) { observer_->bytes(url, done, total); });
  else if (!host::is_fetched(file, sha256))
    throw host::not_kept(host::without_password(url));
  session_.store.used(file);
  return file;
}

fs::path StepWorkspace::package_cache(const std::string& kind) {
  return session_.store.packages(kind);
}

fs::path StepWorkspace::new_disk() {
  return place_.image;
}

void StepWorkspace::require_image_step(std::string_view what) const {
  if (!place_.output.empty())
    throw std::logic_error(fmt::format("an artifact step reads the image and cannot ask for {}", what));
}

image::Files& StepWorkspace::files() {
  require_image_step("files()");
  if (!offline_) {
    let_go();
    const bool native = session_.native();
    if (!native) observer_->doing("opening the layer with libguestfs");
    const bool force_tcg = !native && session_.accel().accel == image::Accel::tcg;
    offline_ = session_.machines.open_files(place_.image, scratch_folder("mount"), false, native, force_tcg);
    touched_ = true;
  }
  return offline_->files();
}

image::System& StepWorkspace::system() {
  require_image_step("system()");
  if (!session_.native()) return guest();
  if (!sandbox_) {
    let_go();
    sandbox_ = session_.machines.open_sandbox(place_.image, scratch_folder("sandbox"),
                                              session_.store.packages("debs"), step_limit());
    logged_ = std::make_unique<LoggedSystem>(sandbox_->system(), *observer_, "sandbox");
    touched_ = true;
  }
  return *logged_;
}

Session::BootFiles StepWorkspace::boot_files() {
  const bool as_parent = !touched_ && !place_.parent.empty();
  if (as_parent) {
    const auto found = session_.boot_files.find(place_.parent);
    if (found != session_.boot_files.end()) return found->second;
  }
  observer_->doing("taking kernel and initrd out of the image");
  const fs::path to = session_.folder() / fmt::format("boot-{}", session_.boot_files.size()) /
                      (as_parent ? place_.parent : place_.folder.filename().string());
  const auto boot = take_boot_files(files(), to);
  let_go();
  if (as_parent) {
    session_.boot_files[place_.parent] = boot;
    touched_ = false;  // it was only read
  }
  return boot;
}

image::System& StepWorkspace::guest(const Warm& warm) {
  require_image_step("guest()");
  if (!booted_ || !booted_->guest) boot(warm);
  if (booted_->at_rest) {
    booted_->guest->leave_rest();
    booted_->at_rest = false;
  }
  if (!logged_) logged_ = std::make_unique<LoggedSystem>(*booted_->guest, *observer_, "guest");
  return *logged_;
}

void StepWorkspace::boot(const Warm& warm) {
  let_go();
  const auto boot = boot_files();
  const auto verdict = session_.accel(boot.kernel);
  booted_ = std::make_unique<Booted>(session_.folder() / fmt::format("guest-{}", ++session_.guests));
  booted_->observer = observer_.get();
  image::GuestOptions options;
  options.disk = place_.image;
  options.kernel = boot.kernel;
  options.initrd = boot.initrd;
  options.root = boot.root;
  options.memory = session_.profile.guest.memory;
  options.cpus = session_.profile.guest.cpus;
  options.accel = verdict.accel;
  options.limits = image::limits_for(verdict.accel);
  if (session_.options.timeout.count() > 0) options.limits.step = session_.options.timeout;
  options.scratch = booted_->folder;
  options.console = booted_->console();
  const bool as_parent = !touched_ && !place_.parent.empty();
  touched_ = true;
  if (as_parent && session_.options.settled)
    booted_->guest = settled_guest(session_, place_.parent, options, warm, booted_->doing(), *observer_);
  if (booted_->guest) return;
  observer_->doing(verdict.accel == image::Accel::tcg ? "booting the guest (TCG)" : "booting the guest");
  booted_->guest = session_.machines.boot(options, booted_->doing());
}

void StepWorkspace::resolved(const std::string& line) {
  log(fmt::format("resolved {}\n", line));
  resolved_.push_back(line);
}

std::int64_t StepWorkspace::good_since() const {
  constexpr std::int64_t day = 86'400;
  const auto& fresh = session_.profile.fresh;
  if (offline()) return 0;
  const std::int64_t now = session_.host.now();
  if (place_.forced) return now;
  // What is as old as `fresh` to the second is too old, as find_layer() has it.
  return fresh ? now - *fresh * day + 1 : 0;
}

void StepWorkspace::keep(const std::string& name, const std::string& content) {
  if (name.empty() || name.find('/') != std::string::npos || name.starts_with(".") || name == "log" ||
      name == "image.qcow2" || name == "info.json" || name == "console")
    throw std::logic_error(fmt::format("a step cannot keep a file called '{}'", name));
  host::write_file(place_.folder / name, content, 0600);
  if (std::find(kept_.begin(), kept_.end(), name) == kept_.end()) kept_.push_back(name);
}

void StepWorkspace::log(std::string_view text) {
  // A stage that logs the output of its commands says what the log has already.
  if (text != observer_->piece_) observer_->write(text);
}

fs::path StepWorkspace::image() {
  return place_.image;
}

fs::path StepWorkspace::output() {
  if (place_.output.empty()) throw std::logic_error("only an artifact step has an output directory");
  return place_.output;
}

}  // namespace kiln::engine
