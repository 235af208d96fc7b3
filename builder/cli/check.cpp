#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/verbs.hpp"

namespace kiln::cli {

int check(const Invocation& call) {
  std::vector<base::Error> errors;
  nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
  for (const auto& [plan, keys] : load_all(call, errors)) {
    const auto& steps = plan.steps;
    const bool exports = std::any_of(steps.begin(), steps.end(), [](const plan::PlannedStep& step) {
      return step.type->kind == stage::Kind::artifact;
    });
    profiles.push_back({{"profile", plan.profile.name},
                        {"file", plan.profile.file.string()},
                        {"steps", steps.size()},
                        {"exports", exports}});
    if (call.json) continue;
    call.out << fmt::format("{}: {} steps, ok{}\n", plan.profile.file.string(), steps.size(),
                            exports ? "" : "; it exports nothing: a build of it leaves no image");
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (call.json) {
    call.out << nlohmann::ordered_json({{"ok", true}, {"profiles", std::move(profiles)}}).dump(2) << '\n';
  }
  return 0;
}

}  // namespace kiln::cli
