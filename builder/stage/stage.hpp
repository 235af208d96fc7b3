// READ FIRST. A stage is one configured step of a profile: it says what it is about to do, what its result
// depends on, and does it.
//
// One file in stages/ is one stage: documentation on top, the class, the StageType constant at the bottom, a
// row in stages/all.cpp.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stage/option.hpp"

namespace kiln::stage {

class KeyWriter;
class Workspace;

enum class Kind {
  base,
  image,
  artifact
};  // one base, then images, then artifacts; the plan refuses another order
enum class Tense { will, does };  // "Apply the highstate" / "Applying the highstate"
enum class Place {
  offline,
  native_or_guest,
  guest
};  // files only; commands without a running system when root allows it; a booted guest
enum class Reuse { cache, never };  // never: secrets

class Stage {
 public:
  virtual ~Stage() = default;
  // One line for people: plan and progress.
  [[nodiscard]] virtual std::string text(Tense tense) const = 0;
  // Adds to the key what the options do not already say: versions of tools that write content, pinned inputs.
  // Options, and the content of file and tree options, are in the key already. Offline; must not depend on
  // anything that leaves the result alone (verbosity, threads, KVM or TCG). Throws what is wrong inside the
  // inputs, before anything runs: base::Errors for several.
  virtual void describe(KeyWriter& key) const;
  // Artifact stages: what follows the profile's name in that of the file they leave, ".qcow2" say; two steps
  // of one ending would be one file, and the plan refuses them. "": they leave files with names of their own.
  [[nodiscard]] virtual std::string ending() const { return {}; }
  // Host programs that its options ask for, beside StageType::tools.
  [[nodiscard]] virtual std::vector<std::string_view> asked_tools() const { return {}; }
  // The deed. Throws base::Error; all it left is dropped then.
  virtual void run(Workspace& work) const = 0;
};

// How a stage enters the house: one constant a file.
struct StageType {
  std::string_view name;     // YAML key = file name = key prefix
  std::string_view summary;  // one line
  std::string_view doc;      // Markdown, with an example
  Kind kind = Kind::image;
  Place place = Place::offline;
  int revision = 1;  // raise when the same options give another result; part of the key
  Reuse reuse = Reuse::cache;
  bool resolves = false;  // asks a mirror what is newest
  std::span<const Option> options;
  std::span<const std::string_view> tools;  // host programs; all checked before the first step runs
  std::unique_ptr<Stage> (*make)(const Options& options) =
      nullptr;  // throws base::Error (Exit::usage) for options that make no sense together
};

}  // namespace kiln::stage
