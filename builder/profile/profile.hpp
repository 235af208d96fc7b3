// The value a profile file means, `extends` and defaults resolved.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/error.hpp"
#include "yaml/node.hpp"

namespace kiln::profile {

using yaml::Node;  // what a profile is written in

// One entry of `steps:`, its options not yet read: the plan does that by the stage's option table.
struct Step {
  std::string id;
  std::string stage;
  Node options;       // null or a map
  base::Where where;  // of the entry
  // Added by an extending profile without `after:`. Only the plan knows which stages are artifacts: it puts
  // such a step before the sealing and the artifacts.
  bool appended = false;
};

// Of a machine, the building or the proving one.
inline constexpr std::uint64_t kLeastMemory = 256ULL << 20;
inline constexpr std::uint64_t kMostMemory = 1ULL << 40;

// What the proof looks at in the booted image.
struct PortCheck {
  int port = 0;
  std::string protocol;       // ssh, http, https, tls, smtp, tcp
  std::string path = "/";     // http, https
  std::optional<int> status;  // http, https
  std::string body;           // http, https: regular expression found in the body
  base::Where where;
};
struct FileCheck {
  std::string path;
  std::string kind = "file";  // file, directory, link, absent
  std::string target;         // of a link
  std::string mode;           // octal text, "" = any
  std::string owner;          // user name, "" = any
  std::string content;        // regular expression found in the file
  base::Where where;
};
struct CommandCheck {
  std::vector<std::string> run;  // argv
  int status = 0;
  std::string output;  // regular expression found in stdout
  base::Where where;
};
enum class Firmware { bios, uefi };
struct Proof {
  std::vector<Firmware> firmware = {Firmware::bios};
  std::uint64_t memory = 2ULL << 30;
  int cpus = 2;
  std::vector<std::string> units;     // must be active
  std::vector<std::string> may_fail;  // units whose failure is no failure of the proof; each needs a reason
                                      // in the profile's comment
  std::vector<PortCheck> ports;
  std::vector<FileCheck> files;
  std::vector<CommandCheck> commands;
};

// How long what a mirror gave is good for, in days.
inline constexpr int kFreshDays = 7;
inline constexpr int kMostFreshDays = 36'500;

struct Guest {
  std::uint64_t memory = 2ULL << 30;  // of build guests; in the key
  int cpus = 2;
};

struct Profile {
  std::string name;  // of the file without .yml, unless it says `name:`
  std::string description;
  std::filesystem::path file;
  Guest guest;
  // Days after which the layer of a stage that asks a mirror what is newest is made again; nullopt: `pinned`,
  // never. A rule for looking up, in no key.
  std::optional<int> fresh = kFreshDays;
  std::vector<Step> steps;
  base::Where steps_where;  // of the list; of the extended profile's when this one has none
  bool all_steps = true;    // false: some could not be read, so that it is not known what is missing
  Proof proof;
};

// Where `--profile NAME` is looked for: a path (with '/' or ending in .yml or .yaml), else
// `./profiles/NAME.yml`, else `<share>/profiles/NAME.yml`. Throws base::Error (Exit::usage) with a guess when
// there is none.
std::filesystem::path find_profile(const std::string& name, const std::filesystem::path& share);

// Reads a profile and what it extends. All errors go to `errors`; the profile is usable when none was added.
// Relative paths in options stay as written: Node::file() says which file they start from.
//
// `extends: other.yml`: scalars of the extending file win, `firmware` as a whole; entries of the other lists
// below `proof` are added, and one about the same port and path, file or command replaces the extended one. A
// step with the explicit id of an extended step replaces it in place; another comes after `after: ID`, else
// it is marked as appended. A step may say `remove: ID` instead.
Profile load(const std::filesystem::path& file, std::vector<base::Error>& errors);

}  // namespace kiln::profile
