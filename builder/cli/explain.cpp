// Why a step misses, or would not: what its key is made of now, beside what it was made of last time.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "cache/store.hpp"
#include "cli/verbs.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::cli {

namespace {

// The key text of the last build that knew the step; "" when there was none.
std::string last_text(const cache::Store& store, const std::string& profile, const std::string& step) {
  for (const auto& record : store.last_keys(profile)) {
    if (record.step == step) return record.text;
  }
  return {};
}

// As `diff -u` writes it; "" when both are the same.
std::string difference(const host::Host& host, const std::string& before, const std::string& now) {
  if (before == now) return {};
  const host::TempDir folder;
  host::write_file(folder.path() / "before", before, 0600);
  host::write_file(folder.path() / "now", now, 0600);
  host::Command command{"diff",
                        "-u",
                        "--label",
                        "last",
                        "--label",
                        "now",
                        (folder.path() / "before").string(),
                        (folder.path() / "now").string()};
  command.purpose = "comparing two key texts";
  const host::Finished finished = host.runner->run(command);
  if (finished.exit != 1) throw base::Error(fmt::format("diff ended with {}", finished.how()));
  return finished.out;
}

}  // namespace

int explain(const Invocation& call) {
  const std::string& name = call.arguments.at(0);
  const std::string& id = call.arguments.at(1);
  const plan::Plan plan = plan::load_plan(profile::find_profile(name, call.share), call.stages);
  const std::size_t index = plan::find_step(plan, id, "explain");
  const plan::PlannedStep& step = plan.steps[index];
  const std::vector<plan::StepKey> keys = plan::make_keys(plan, call.host);
  const auto store = open_store(call);
  const std::vector<plan::StepState> states = look_up(call, plan, keys, store.get()).steps;
  const plan::StepState& state = states[index];
  const bool secret = step.type->reuse == stage::Reuse::never;

  const std::string before = store ? last_text(*store, plan.profile.name, id) : "";
  const std::string change = before.empty() || secret ? ""
                                                      : difference(call.host, plan::without_parent(before),
                                                                   plan::without_parent(keys[index].text));
  // What it stands on and is not there either, the first of them being the cause.
  std::vector<std::size_t> missing;
  for (std::size_t i = 0; i < index; ++i) {
    if (!states[i].hit && plan.steps[i].type->kind != stage::Kind::artifact) missing.push_back(i);
  }

  if (call.json) {
    nlohmann::ordered_json object = {{"ok", true},       {"profile", plan.profile.name},
                                     {"step", id},       {"hit", state.hit},
                                     {"why", state.why}, {"parents", nlohmann::ordered_json::array()},
                                     {"diff", change},   {"text", keys[index].text}};
    for (const std::size_t i : missing)
      object["parents"].push_back({{"step", plan.steps[i].id}, {"why", states[i].why}});
    call.out << object.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
    return 0;
  }
  std::string text = fmt::format("{}: {}\n", id, state.hit ? "hit" : "miss, " + state.why);
  for (const std::size_t i : missing)
    text += fmt::format("  stands on '{}': miss, {}\n", plan.steps[i].id, states[i].why);
  if (secret) {
    text += "It handles secrets: nothing of it is kept, not even what its key would be made of.\n";
  } else if (before.empty()) {
    text += "No build of this profile knew it. Its key is made of:\n\n" + keys[index].text;
  } else if (change.empty()) {
    text += "Its own inputs are those of the last build.\n";
    if (!missing.empty())
      text += fmt::format("See {}\n", base::shell_line(std::vector<std::string>{
                                          call.program, "explain", name, plan.steps[missing.front()].id}));
  } else {
    text += "\n" + change;
  }
  for (const std::string& line : base::lines(text)) call.out << base::printable(line) << '\n';
  return 0;
}

}  // namespace kiln::cli
