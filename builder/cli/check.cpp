#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cli/verbs.hpp"
#include "plan/plan.hpp"

namespace kiln::cli {

int check(const Invocation& call) {
  std::vector<base::Error> errors;
  nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
  for (const std::string& name : call.arguments) {
    try {
      const std::filesystem::path file = profile::find_profile(name, call.share);
      const plan::Plan plan = plan::load_plan(file, call.stages);
      // Keys read every local file a step names: what cannot be read shows here and not in the middle of a
      // build.
      plan::make_keys(plan, call.host);
      profiles.push_back(
          {{"profile", plan.profile.name}, {"file", file.string()}, {"steps", plan.steps.size()}});
      if (!call.json) call.out << fmt::format("{}: {} steps, ok\n", file.string(), plan.steps.size());
    } catch (const base::Errors& several) {
      errors.insert(errors.end(), several.all().begin(), several.all().end());
    } catch (const base::Error& error) {
      errors.push_back(error);
    }
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (call.json) {
    call.out << nlohmann::ordered_json({{"ok", true}, {"profiles", std::move(profiles)}}).dump(2) << '\n';
  }
  return 0;
}

}  // namespace kiln::cli
