#include "plan/plan.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/size.hpp"
#include "base/text.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {

namespace {

nlohmann::ordered_json as_json(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                               const std::vector<plan::StepState>& states) {
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const plan::PlannedStep& step = plan.steps[i];
    nlohmann::ordered_json entry = {
        {"id", step.id},        {"stage", step.type->name}, {"text", step.stage->text(stage::Tense::will)},
        {"hit", states[i].hit}, {"why", states[i].why},     {"key", keys[i].key}};
    entry["last_seconds"] = states[i].last_seconds < 0 ? nlohmann::ordered_json()
                                                       : nlohmann::ordered_json(states[i].last_seconds);
    steps.push_back(std::move(entry));
  }
  return {{"profile", plan.profile.name}, {"file", plan.profile.file.string()}, {"steps", std::move(steps)}};
}

void print(std::ostream& out, const plan::Plan& plan, const std::vector<plan::StepState>& states) {
  std::size_t width = 4;
  std::size_t text_width = 0;
  for (const plan::PlannedStep& step : plan.steps) {
    width = std::max(width, step.id.size());
    text_width = std::max(text_width, step.stage->text(stage::Tense::will).size());
  }
  text_width = std::min<std::size_t>(text_width, 60);
  std::size_t hits = 0;
  double expected = 0;
  bool known = true;
  out << plan.profile.name << ": " << plan.profile.file.string() << '\n';
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const plan::StepState& state = states[i];
    const std::string seconds = state.last_seconds < 0 ? "" : base::human_seconds(state.last_seconds);
    std::string line = fmt::format("  {:<{}}  {:<4}  {:<{}}  {:>12}  {}", plan.steps[i].id, width,
                                   state.hit ? "hit" : "miss", plan.steps[i].stage->text(stage::Tense::will),
                                   text_width, seconds, state.hit ? "" : state.why);
    line.erase(line.find_last_not_of(' ') + 1);
    out << base::printable(line) << '\n';
    hits += state.hit ? 1 : 0;
    if (!state.hit && state.last_seconds < 0) known = false;
    if (!state.hit && state.last_seconds > 0) expected += state.last_seconds;
  }
  const std::size_t misses = plan.steps.size() - hits;
  out << fmt::format("  {} of {} steps to run", misses, plan.steps.size());
  if (misses > 0 && known) out << fmt::format(", about {}", base::human_seconds(expected));
  out << '\n';
}

}  // namespace

int plan(const Invocation& call) {
  std::vector<base::Error> errors;
  nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
  const auto store = open_store(call);
  for (auto& [plan, keys] : load_all(call, errors)) {
    plan.steps.resize(plan::steps_until(plan, call.until));
    keys.resize(plan.steps.size());
    const std::vector<plan::StepState> states = look_up(call, plan, keys, store.get());
    if (call.json) {
      profiles.push_back(as_json(plan, keys, states));
    } else {
      print(call.out, plan, states);
    }
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (call.json) {
    call.out << nlohmann::ordered_json({{"ok", true}, {"profiles", std::move(profiles)}})
                    .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
             << '\n';
  }
  return 0;
}

}  // namespace kiln::cli
