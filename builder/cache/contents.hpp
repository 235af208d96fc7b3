// What a store holds, thing by thing: what `cache ls` shows, eviction counts and `cache verify` reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::cache {

struct Item {
  enum class Kind { layer, artifact, verdict, settled, blob, package, failure, damaged };
  Kind kind = Kind::layer;
  // Below the store's root and unique in it: "layers/<id>", "artifacts/<key>",
  // "verdicts/<sha256>-<firmware>".
  std::string name;
  std::vector<std::filesystem::path>
      paths;               // the folder or file; a verdict's .json, then what lies beside it
  std::uint64_t size = 0;  // on the disk, not as files tell it
  std::int64_t used = 0;   // last, in nanoseconds since 1970
  // Names of what has to stay as long as this does: the layer it stands on, the verdicts of an export. The
  // layer may be gone; then nobody finds this any more.
  std::vector<std::string> holds;

  // Of layers and artifacts, from info.json. An old kiln may have left some out.
  bool sound = true;  // info.json can be read
  std::string parent, key, step, stage, profile;
  std::int64_t built = 0;

  // A layer's id, an artifact's key, a blob's sha256, the name of anything else.
  [[nodiscard]] std::string id() const { return paths.front().filename(); }
};

// "layer", "export", ...: for people and programs.
std::string_view word(Item::Kind kind);
// All of a store, layers first, by name. Files that come and go with a lock are left out, so is tmp/.
std::vector<Item> contents(const std::filesystem::path& store);

}  // namespace kiln::cache
