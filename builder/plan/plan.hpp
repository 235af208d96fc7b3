// Profile x StageSet -> Plan; Plan -> keys. Pure and offline: no network, no disk image, no root. After
// keys() no user error is left.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "host/tree.hpp"
#include "profile/profile.hpp"
#include "stage/stage.hpp"
#include "stage/stage_set.hpp"

namespace kiln::plan {

struct PlannedStep {
  std::string id;
  const stage::StageType* type = nullptr;
  std::shared_ptr<const stage::Stage> stage;
  stage::Options options;
  base::Where where;
};

struct Plan {
  profile::Profile profile;
  std::vector<PlannedStep> steps;  // one base, images, artifacts
};

// Parses each step's options and checks the order; errors go to `errors` (order: no base, two bases, an image
// stage behind an artifact, seal not last, ...).
Plan make_plan(const profile::Profile& profile, const stage::StageSet& stages,
               std::vector<base::Error>& errors);
// load + make_plan; throws base::Errors (Exit::usage) with all mistakes at once.
Plan load_plan(const std::filesystem::path& file, const stage::StageSet& stages);

struct StepKey {
  std::string text;                                                     // see stage::KeyWriter
  std::string key;                                                      // sha256 of text
  std::map<std::filesystem::path, std::vector<host::TreeNode>> inputs;  // local paths the text digested
};
// One a step. The parent of a base or image step is the step before it, of an artifact the last image step,
// so that exports do not depend on each other. Of a Reuse::never step text and key are empty. Guest memory
// and cpus, the machine type and CPU model are in the keys of stages that may boot. Throws base::Errors
// (Exit::usage) with all mistakes of all inputs at once.
std::vector<StepKey> make_keys(const Plan& plan, const host::Host& host);
// What is wrong inside the inputs of those of the first `steps` steps that have no key. Apart from
// make_keys(), for who only looks at layers does without these files.
std::vector<base::Error> mistakes_in_secrets(const Plan& plan, std::size_t steps, const host::Host& host);

// How many of the plan's steps are run with --until `id`, all for "". Throws base::Error (Exit::usage) with a
// guess when no step has that id.
std::size_t steps_until(const Plan& plan, const std::string& id);
// Place of the step that --from `id` begins with, the number of steps for "". Throws like steps_until.
std::size_t step_from(const Plan& plan, const std::string& id);
// Place of the step `id`. Throws like steps_until, as told by `who`.
std::size_t find_step(const Plan& plan, const std::string& id, std::string_view who);

// `kiln plan` for people: a line a step, "id  hit|miss  text  reason".
// A release file that a mirror served.
struct Release {
  std::string url, sha256;
};

struct StepState {
  bool hit = false;
  std::string why;  // of a miss: never built, input changed (which), revision, parent missed, too old,
                    // evicted, damaged, forced
  double last_seconds = -1;
  std::vector<Release> releases;  // what mirrors served for the step's layer, of a hit
};

// A key text without the line that names the parent's key: what the step itself is made of.
std::string without_parent(const std::string& text);

// Why `now` has no layer although `before` had one, in one line: "input changed: tree: nginx/init.sls",
// "option changed: suite ("bookworm" -> "trixie")", "revision 1 -> 2", ..., "parent missed" when nothing else
// differs, "" when nothing does, "never built" when there is no `before`.
std::string explain(const std::string& before, const std::string& now);

}  // namespace kiln::plan
