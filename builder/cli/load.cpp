#include "cli/verbs.hpp"

namespace kiln::cli {

std::vector<Loaded> load_all(const Invocation& call, std::vector<base::Error>& errors) {
  std::vector<Loaded> all;
  for (const std::string& name : call.arguments) {
    try {
      plan::Plan plan = plan::load_plan(profile::find_profile(name, call.share), call.stages);
      static_cast<void>(plan::steps_until(plan, call.until));
      // Keys read every local file a step names: what cannot be read shows here and not in the middle of a
      // build.
      std::vector<plan::StepKey> keys = plan::make_keys(plan, call.host);
      all.push_back({std::move(plan), std::move(keys)});
    } catch (const base::Errors& several) {
      errors.insert(errors.end(), several.all().begin(), several.all().end());
    } catch (const base::Error& error) {
      errors.push_back(error);
    }
  }
  return all;
}

}  // namespace kiln::cli
