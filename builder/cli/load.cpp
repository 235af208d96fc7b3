#include <fmt/format.h>

#include "cache/store.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {

std::vector<Loaded> load_all(const Invocation& call, std::vector<base::Error>& errors) {
  std::vector<Loaded> all;
  for (const std::string& name : call.arguments) {
    try {
      plan::Plan plan = plan::load_plan(profile::find_profile(name, call.share), call.stages);
      if (plan::step_from(plan, call.from) >= plan::steps_until(plan, call.until) && !call.from.empty())
        throw base::Error(
            fmt::format("--from: '{}' comes after '{}', behind which --until stops", call.from, call.until),
            base::Exit::usage)
            .hint("let --until name a later step");
      // Keys read every local file a step names: what cannot be read shows here and not in the middle of a
      // build.
      std::vector<plan::StepKey> keys = plan::make_keys(plan, call.host);
      const auto mistakes = plan::mistakes_in_secrets(plan, plan::steps_until(plan, call.until), call.host);
      errors.insert(errors.end(), mistakes.begin(), mistakes.end());
      if (mistakes.empty()) all.push_back({std::move(plan), std::move(keys)});
    } catch (const base::Errors& several) {
      errors.insert(errors.end(), several.all().begin(), several.all().end());
    } catch (const base::Error& error) {
      errors.push_back(error);
    }
  }
  return all;
}

std::unique_ptr<cache::Store> open_store(const Invocation& call) {
  std::error_code ignored;
  if (!std::filesystem::exists(call.store, ignored)) return nullptr;
  return std::make_unique<cache::Store>(call.host, call.store);
}

engine::States look_up(const Invocation& call, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                       cache::Store* store) {
  return engine::states(plan, keys, store, forced_from(call, plan), call.host.now());
}

std::string forced_from(const Invocation& call, const plan::Plan& plan) {
  return call.no_cache ? plan.steps.front().id : call.from;
}

}  // namespace kiln::cli
