// What a stage may touch, for tests: an image that is a local folder, commands answered by a script, and a
// record of all that was said. Owners are kept beside, so no root is needed.
//
//   FakeWorkspace work;
//   work.image_files.add("/etc/passwd", "root:x:0:0::/root:/bin/sh\n");
//   work.fake_system.on({"apt-get"}, fakes::failed(100, "E: Unable to locate package nginxx\n"));
//   stage->run(work);
//   EXPECT_EQ(work.image_files.read("/etc/motd"), "hello\n");
#pragma once

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <vector>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "fakes/host.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/download.hpp"
#include "host/temp_dir.hpp"
#include "stage/stage_set.hpp"
#include "stage/workspace.hpp"

namespace kiln::tests {

// A folder as the image's root; links are followed inside it only.
class FakeFiles : public image::Files {
 public:
  [[nodiscard]] const std::filesystem::path& root() const { return root_.path(); }

  // A file with the directories above it.
  FakeFiles& add(const std::string& path, const std::string& content = {},
                 const image::Attributes& attributes = {}) {
    std::filesystem::create_directories(local(path).parent_path());
    write(path, content, attributes);
    return *this;
  }
  FakeFiles& add_folder(const std::string& path, const image::Attributes& attributes = {.mode = 0755}) {
    std::filesystem::create_directories(local(path));
    set_attributes(path, attributes);
    return *this;
  }
  FakeFiles& add_link(const std::string& path, const std::string& target) {
    std::filesystem::create_directories(local(path).parent_path());
    link(path, target);
    return *this;
  }

  // Every path below the root, one a line: kind, mode, owner, path, and what it holds.
  [[nodiscard]] std::vector<std::string> listing() {
    std::vector<std::string> result;
    list_below("/", result);
    std::sort(result.begin(), result.end(), [](const std::string& a, const std::string& b) {
      return a.substr(a.find('/')) < b.substr(b.find('/'));
    });
    return result;
  }

  std::optional<image::Stat> find(const std::string& path) override {
    const std::filesystem::path at = local(path);
    struct stat status{};
    if (::lstat(at.c_str(), &status) != 0) return std::nullopt;
    image::Stat result;
    result.kind = S_ISREG(status.st_mode)   ? 'f'
                  : S_ISDIR(status.st_mode) ? 'd'
                  : S_ISLNK(status.st_mode) ? 'l'
                                            : '?';
    result.mode = status.st_mode & 07777U;
    const auto owner = owners_.find(at.string());
    if (owner != owners_.end()) std::tie(result.uid, result.gid) = owner->second;
    result.size = static_cast<std::uint64_t>(status.st_size);
    if (result.kind == 'l') result.target = std::filesystem::read_symlink(at).string();
    return result;
  }
  std::string read(const std::string& path) override { return host::read_file(local(path, true)); }
  std::vector<std::string> list(const std::string& directory) override {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(local(directory, true))) {
      names.push_back(entry.path().filename().string());
    }
    std::sort(names.begin(), names.end());
    return names;
  }
  std::uint64_t used(const std::string& directory) override {
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(local(directory, true)))
      if (entry.is_regular_file() && !entry.is_symlink()) bytes += entry.file_size();
    return bytes;
  }
  void write(const std::string& path, const std::string& content,
             const image::Attributes& attributes) override {
    const std::filesystem::path at = local(path);
    std::filesystem::remove(at);
    host::write_file(at, content, attributes.mode);
    owners_[at.string()] = {attributes.uid, attributes.gid};
  }
  void make_directory(const std::string& path, const image::Attributes& attributes) override {
    std::filesystem::create_directory(local(path));
    set_attributes(path, attributes);
  }
  void link(const std::string& path, const std::string& target) override {
    const std::filesystem::path at = local(path);
    std::filesystem::remove(at);
    std::filesystem::create_symlink(target, at);
    owners_.erase(at.string());
  }
  void remove(const std::string& path) override { std::filesystem::remove_all(local(path)); }
  void set_attributes(const std::string& path, const image::Attributes& attributes) override {
    const std::filesystem::path at = local(path);
    if (::chmod(at.c_str(), attributes.mode) != 0) throw std::runtime_error("chmod " + at.string());
    owners_[at.string()] = {attributes.uid, attributes.gid};
  }
  // Like the real ones: what is in the archive replaces files and links, and nothing is written through a
  // link.
  void unpack(const std::filesystem::path& tar, const std::string& directory) override {
    host::read_archive(tar, [&](const host::Member& member, const host::Content& content) {
      const std::string path = (directory == "/" ? "" : directory) + "/" + member.path;
      const image::Attributes attributes{
          .mode = member.mode, .uid = std::stoi(member.owner), .gid = std::stoi(member.group)};
      if (member.kind == 'd') {
        make_directory(path, attributes);
      } else if (member.kind == 'l') {
        link(path, member.target);
        owners_[local(path).string()] = {attributes.uid, attributes.gid};
      } else {
        write(path, content(), attributes);
      }
    });
  }
  void copy_out(const std::string& path, const std::filesystem::path& to) override {
    std::filesystem::copy_file(local(path, true), to);
  }
  void discard_free() override { ++discarded; }

  int discarded = 0;

 private:
  // The local path; links on the way (and at the end with `follow`) are followed inside the root.
  [[nodiscard]] std::filesystem::path local(const std::string& path, bool follow = false) const {
    std::deque<std::string> left;
    for (std::string& part : base::split(path, '/')) left.push_back(std::move(part));
    std::vector<std::string> at;
    int links = 0;
    const auto so_far = [&] {
      std::filesystem::path result = root_.path();
      for (const std::string& part : at) result /= part;
      return result;
    };
    while (!left.empty()) {
      const std::string part = std::move(left.front());
      left.pop_front();
      if (part.empty() || part == ".") continue;
      if (part == "..") {
        if (!at.empty()) at.pop_back();
        continue;
      }
      at.push_back(part);
      const std::filesystem::path here = so_far();
      if ((left.empty() && !follow) || !std::filesystem::is_symlink(here)) continue;
      if (++links > 40) throw std::runtime_error("links in a circle at " + path);
      const std::string target = std::filesystem::read_symlink(here).string();
      at.pop_back();
      if (target.starts_with('/')) at.clear();
      const std::vector<std::string> more = base::split(target, '/');
      left.insert(left.begin(), more.begin(), more.end());
    }
    return so_far();
  }

  void list_below(const std::string& directory, std::vector<std::string>& result) {
    for (const std::string& name : list(directory)) {
      const std::string path = (directory == "/" ? "" : directory) + "/" + name;
      const image::Stat stat = *find(path);
      std::string line = std::string(1, stat.kind) + " ";
      if (stat.kind != 'l') line += fmt::format("{:04o} ", stat.mode);
      line += fmt::format("{}:{} {}", stat.uid, stat.gid, path);
      if (stat.kind == 'l') line += " -> " + stat.target;
      if (stat.kind == 'f') line += " " + (stat.size == 0 ? "empty" : base::sha256(read(path)).substr(0, 12));
      result.push_back(line);
      if (stat.kind == 'd') list_below(path, result);
    }
  }

  host::TempDir root_;
  std::map<std::string, std::pair<int, int>> owners_;  // by local path; root where there is none
};

// Commands are kept; those that no rule answers end with status 0 and say nothing.
class FakeSystem : public image::System {
 public:
  using Answer = std::function<host::Finished(const image::Exec&)>;

  explicit FakeSystem(bool is_booted) : booted_(is_booted) {}

  // Answers commands whose argv begins with `begin`; the newest such rule counts.
  FakeSystem& on(std::vector<std::string> begin, Answer answer) {
    rules_.insert(rules_.begin(), {std::move(begin), std::move(answer)});
    return *this;
  }
  FakeSystem& on(std::vector<std::string> begin, host::Finished finished) {
    return on(std::move(begin), [finished = std::move(finished)](const image::Exec&) { return finished; });
  }
  [[nodiscard]] std::vector<std::string> lines() const {
    std::vector<std::string> result;
    result.reserve(commands.size());
    for (const image::Exec& command : commands) result.push_back(base::shell_line(command.argv));
    return result;
  }
  // True when one of the commands has `part` in its line.
  [[nodiscard]] bool ran(const std::string& part) const {
    const std::vector<std::string> all = lines();
    return std::any_of(all.begin(), all.end(),
                       [&](const std::string& line) { return line.find(part) != std::string::npos; });
  }

  host::Finished run(const image::Exec& exec, const host::OnOutput& on_output) override {
    commands.push_back(exec);
    host::Finished finished = fakes::printed("");
    for (const auto& [begin, answer] : rules_) {
      if (exec.argv.size() >= begin.size() && std::equal(begin.begin(), begin.end(), exec.argv.begin())) {
        finished = answer(exec);
        break;
      }
    }
    if (on_output && !finished.err.empty()) on_output(host::Stream::err, finished.err);
    if (!exec.output_file.empty()) {
      std::ofstream(exec.output_file) << finished.out;
      finished.out.clear();
    } else if (on_output && !finished.out.empty()) {
      on_output(host::Stream::out, finished.out);
    }
    return finished;
  }
  [[nodiscard]] bool booted() const override { return booted_; }

  std::vector<image::Exec> commands;

 private:
  bool booted_;
  std::vector<std::pair<std::vector<std::string>, Answer>> rules_;
};

class RecordingObserver : public stage::Observer {
 public:
  void step_begins(std::string_view, std::string_view) override {}
  void step_ends(std::string_view, How, double, std::string_view) override {}
  void doing(std::string_view what) override { doings.emplace_back(what); }
  void output(std::string_view line) override { outputs.emplace_back(line); }
  void note(std::string_view text) override { notes.emplace_back(text); }
  void warn(std::string_view text) override { warnings.emplace_back(text); }
  void bytes(std::string_view, std::uint64_t, std::uint64_t) override {}

  std::vector<std::string> doings;
  std::vector<std::string> outputs;
  std::vector<std::string> notes;
  std::vector<std::string> warnings;
};

class FakeWorkspace : public stage::Workspace {
 public:
  explicit FakeWorkspace(bool native = true) : fake_system(!native), fake_guest(true), host_(world.host()) {}

  void as_root() {
    world.root = true;
    host_ = world.host();
  }

  const host::Host& host() const override { return host_; }
  stage::Observer& observer() override { return seen; }
  std::filesystem::path input(const std::filesystem::path& path) override { return path; }
  std::chrono::seconds step_limit() const override { return std::chrono::minutes(7); }
  std::filesystem::path scratch() override { return scratch_.path(); }
  std::filesystem::path blob(const std::string& url, const std::string& sha256) override {
    const auto file = blobs.find(url);
    if (file == blobs.end())
      throw base::Error("cannot fetch " + url + ": the server answered with HTTP status 404");
    if (!host::is_fetched(file->second, sha256))
      throw base::Error("what " + url + " serves is not what was asked for");
    return file->second;
  }
  std::filesystem::path package_cache(const std::string& kind) override {
    const std::filesystem::path folder = cache_.path() / kind;
    std::filesystem::create_directories(folder);
    return folder;
  }
  std::filesystem::path new_disk() override { throw std::logic_error("this is no base stage"); }
  image::Files& files() override { return image_files; }
  image::System& system() override { return fake_system; }
  using Workspace::guest;
  image::System& guest(const Warm& warm) override {
    if (warm) warm(fake_guest);
    return fake_guest;
  }
  bool offline() const override { return is_offline; }
  void resolved(const std::string& line) override { resolutions.push_back(line); }
  void served(const std::string& url, const std::string& sha256) override {
    releases.push_back(sha256 + " " + url);
  }
  void resolved_at(std::int64_t when) override { as_of = when; }
  std::int64_t good_since() const override { return since; }
  void keep(const std::string& name, const std::string& content) override { kept[name] = content; }
  void log(std::string_view text) override { logged += text; }
  std::filesystem::path image() override { throw std::logic_error("this is no artifact stage"); }
  std::filesystem::path output() override { throw std::logic_error("this is no artifact stage"); }
  std::string profile_name() const override { return "test"; }

  fakes::World world;
  FakeFiles image_files;
  FakeSystem fake_system;
  FakeSystem fake_guest;
  RecordingObserver seen;
  std::map<std::string, std::filesystem::path> blobs;  // by URL
  std::vector<std::string> resolutions;
  std::vector<std::string> releases;
  std::int64_t as_of = 0;
  std::int64_t since = 0;
  bool is_offline = false;
  std::map<std::string, std::string> kept;
  std::string logged;

 private:
  host::Host host_;
  host::TempDir scratch_;
  host::TempDir cache_;
};

// A stage with the options that `yaml` gives, relative paths from `folder`. Throws what a profile's mistakes
// throw.
inline std::unique_ptr<stage::Stage> make_stage(const stage::StageType& type, const std::string& yaml,
                                                const std::filesystem::path& folder = "/") {
  std::vector<base::Error> errors;
  const profile::Node node = profile::Node::parse(yaml, (folder / "stage.yml").string(), errors);
  stage::Options options = stage::parse_options(type, node, node.where(), errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return type.make(options);
}

// What running the stage throws; fails the test when it throws nothing.
template <typename F>
std::string error_of(F deed) {
  try {
    deed();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace kiln::tests
