// A world for tests: commands are answered by a script and kept in a list, clock, environment, user and tool
// versions are what the test says. Nothing is run and no file is touched.
//
//   fakes::World world;
//   world.on({"qemu-img", "info"}, fakes::printed("{}"));       // argv that begins so
//   world.versions["mmdebstrap"] = "mmdebstrap 1.0-1";
//   host::Host host = world.host();                             // shares the world: ask it afterwards
//   EXPECT_EQ(world.lines(), std::vector<std::string>{"qemu-img info /x.qcow2"});
//
//   fakes::TempTree tree({{"salt/top.sls", "base: {}\n"}, {"bin/tool", "#!", 0755}, {"empty/"}});
//   tree.link("salt/link", "top.sls");                          // all gone with the object
//
// A command that no script answers is a failure of the test: run() throws std::logic_error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::fakes {

// Ended with status 0 and this on stdout.
host::Finished printed(std::string out);
// Ended with another status.
host::Finished failed(int exit, std::string err = {});

class World {
 public:
  using Answer = std::function<host::Finished(const host::Command&)>;

  World();

  // Answers commands whose argv begins with `begin`; the newest such rule counts. Programs named here are
  // found by find_program() as /usr/bin/<name>.
  World& on(std::vector<std::string> begin, Answer answer);
  World& on(std::vector<std::string> begin, host::Finished finished);
  // Programs that find_program() knows though no rule names them.
  World& program(const std::string& name);

  // All commands so far, in order; those of start() too.
  [[nodiscard]] const std::vector<host::Command>& commands() const;
  // The same as copy-pasteable lines, without environment and directory.
  [[nodiscard]] std::vector<std::string> lines() const;

  // The world as kiln sees it. What is set below may still change afterwards.
  host::Host host();

  std::int64_t& now;  // seconds since 1970; begins at 1700000000
  double& elapsed;    // moves only when the test moves it
  std::map<std::string, std::string>& env;
  std::map<std::string, std::string>& versions;  // else "absent"
  bool root = false;                             // taken by host()
  int uid = 1000;                                // taken by host(); 0 when root
  host::Terminal terminal;

 private:
  struct State;
  class FakeRunner;
  class FakeProcess;
  explicit World(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

// A folder with files, removed with the object.
class TempTree {
 public:
  struct File {
    std::string path;  // one that ends with '/' is a directory
    // NOLINTNEXTLINE(readability-redundant-member-init): written out, so that a row may leave it out
    std::string content = {};
    unsigned mode = 0644;
  };
  TempTree();
  TempTree(std::initializer_list<File> files);
  // Makes or replaces a file and the directories above it; returns its absolute path.
  std::filesystem::path file(const std::string& path, const std::string& content, unsigned mode = 0644);
  std::filesystem::path folder(const std::string& path);
  std::filesystem::path link(const std::string& path, const std::string& target);
  [[nodiscard]] const std::filesystem::path& path() const { return dir_.path(); }
  [[nodiscard]] std::filesystem::path operator/(const std::string& below) const {
    return dir_.path() / below;
  }

 private:
  host::TempDir dir_;
};

// A tar of plain files by name.
void write_tar(const std::filesystem::path& to, const std::map<std::string, std::string>& files);

}  // namespace kiln::fakes
