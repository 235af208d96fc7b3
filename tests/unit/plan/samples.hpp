// Stages that do nothing, with options of every type: what the plan is tested with.
#pragma once

#include <filesystem>
#include <string>

#include "host/host.hpp"
#include "host/temp_dir.hpp"
#include "plan/plan.hpp"

namespace kiln::plan {

// base_a, base_b; change (every type of option), boots (in a guest), seal; export, export_too, secret (never
// cached).
const stage::StageSet& samples();

// A host of which nothing but tool versions is asked: "NAME 1.0".
host::Host fake_host();

// A folder that profiles are written into and planned from.
class Desk {
 public:
  std::filesystem::path write(const std::string& name, const std::string& text, bool executable = false);
  [[nodiscard]] std::filesystem::path path(const std::string& name) const { return dir_.path() / name; }
  // Plans `text` as p.yml; throws base::Errors.
  Plan plan(const std::string& text);
  // The messages of load_plan, without this folder's path; empty when it has none.
  std::vector<std::string> mistakes(const std::string& text);

 private:
  host::TempDir dir_;
};

}  // namespace kiln::plan
