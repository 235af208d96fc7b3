#include "plan/plan.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <tuple>

#include "base/text.hpp"

namespace kiln::plan {

using base::Error;
using base::Exit;
using stage::Kind;

namespace {

// The one stage whose place among the image stages is fixed: engine rule 18.
constexpr std::string_view kSeal = "seal";

Error wrong(const base::Where& where, std::string message) {
  return Error(std::move(message), Exit::usage).at(where);
}

// Steps that an extending profile added without a place go before the sealing and the artifacts of the
// extended one; artifacts stay behind.
void place_appended(std::vector<PlannedStep>& steps, std::vector<PlannedStep> appended) {
  for (PlannedStep& step : appended) {
    auto at = steps.end();
    if (step.type->kind != Kind::artifact) {
      at = std::find_if(steps.begin(), steps.end(), [&](const PlannedStep& other) {
        return other.type->kind == Kind::artifact || (other.type->name == kSeal && step.type->name != kSeal);
      });
    }
    steps.insert(at, std::move(step));
  }
}

bool extended(const PlannedStep& other, const PlannedStep& step) {
  return other.where.file != step.where.file;
}

// Where a step is that `step` cannot stand beside, as seen from it.
std::string place_of(const PlannedStep& other, const PlannedStep& step) {
  return extended(other, step) ? other.where.text() : fmt::format("line {}", other.where.line);
}

// What to do about it: one of an extended profile can be replaced.
std::string way_out(const PlannedStep& other, const PlannedStep& step, std::string_view in_one_file) {
  return extended(other, step) ? fmt::format("to take its place, say 'id: {}'", other.id)
                               : std::string(in_one_file);
}

using Steps = std::vector<const PlannedStep*>;

void check_bases(const Steps& steps, std::vector<Error>& errors) {
  const PlannedStep* base = nullptr;
  for (const PlannedStep* step : steps) {
    if (step->type->kind != Kind::base) continue;
    if (base == nullptr) {
      base = step;
    } else {
      errors.push_back(wrong(step->where, fmt::format("{}: a second base, after '{}' in {}", step->id,
                                                      base->id, place_of(*base, *step)))
                           .hint("an image has one base; to replace an extended one give this step its id"));
    }
  }
  if (base != nullptr && steps.front()->type->kind != Kind::base) {
    errors.push_back(wrong(base->where, fmt::format("{}: a base has to be the first step", base->id))
                         .hint(fmt::format("move it before '{}'", steps.front()->id)));
  }
}

// Artifacts are called after the profile: of two with one ending the second would replace the first.
void check_artifacts(const Steps& steps, std::vector<Error>& errors) {
  std::map<std::string, const PlannedStep*> first;
  for (const PlannedStep* step : steps) {
    if (step->type->kind != Kind::artifact || !step->stage || step->stage->ending().empty()) continue;
    const auto [there, fresh] = first.emplace(step->stage->ending(), step);
    if (fresh) continue;
    const PlannedStep& other = *there->second;
    errors.push_back(wrong(step->where, fmt::format("{}: writes the same file as '{}' in {}", step->id,
                                                    other.id, place_of(other, *step)))
                         .hint(way_out(other, *step,
                                       "keep one of them; another image of this kind is a profile of its "
                                       "own, by 'extends:'")));
  }
}

// Of steps in their order: what stands where it cannot.
void check_order(const Steps& steps, std::vector<Error>& errors) {
  check_bases(steps, errors);
  check_artifacts(steps, errors);
  const PlannedStep* artifact = nullptr;
  const PlannedStep* seal = nullptr;
  for (const PlannedStep* step : steps) {
    if (step->type->kind == Kind::artifact) {
      if (artifact == nullptr) artifact = step;
      continue;
    }
    if (artifact != nullptr && step->type->kind == Kind::image) {
      errors.push_back(
          wrong(step->where, fmt::format("{}: changes the image after '{}' in line {} has read it", step->id,
                                         artifact->id, artifact->where.line))
              .hint(fmt::format("move it before '{}'", artifact->id)));
    } else if (seal != nullptr && step->type->name == kSeal) {
      errors.push_back(wrong(step->where, fmt::format("{}: the image is sealed already by '{}' in {}",
                                                      step->id, seal->id, place_of(*seal, *step)))
                           .hint(way_out(*seal, *step, "keep one of them")));
    } else if (seal != nullptr) {
      errors.push_back(
          wrong(step->where, fmt::format("{}: comes after '{}' in line {}, which has to be the last to "
                                         "change the image",
                                         step->id, seal->id, seal->where.line))
              .hint(fmt::format("move it before '{}'", seal->id)));
    }
    if (step->type->name == kSeal) seal = step;
  }
}

// What no step is there for.
void check_missing(const Plan& plan, std::vector<Error>& errors) {
  const auto& steps = plan.steps;
  if (std::none_of(steps.begin(), steps.end(),
                   [](const auto& step) { return step.type->kind == Kind::base; }))
    errors.push_back(wrong(plan.profile.steps_where, "no base stage")
                         .hint("begin 'steps:' with one, such as base_debian"));
  if (std::any_of(steps.begin(), steps.end(), [](const auto& step) { return step.type->name == kSeal; }))
    return;
  for (const PlannedStep& step : steps) {
    if (step.type->kind == Kind::artifact && step.options.has("sealed") && step.options.flag("sealed")) {
      errors.push_back(wrong(step.options.where("sealed"),
                             fmt::format("{}: exports an image that no step sealed", step.id))
                           .hint("put '- seal:' before it, or say 'sealed: false'"));
    }
  }
}

// `complete`: every step was read and its stage is known. Any other could be what seems to be missing, or
// take the place of a step of the extended profile, so that then only the steps of one file are compared.
void check_steps(const Plan& plan, bool complete, std::vector<Error>& errors) {
  std::map<std::string, Steps> by_file;
  for (const PlannedStep& step : plan.steps) by_file[complete ? "" : step.where.file].push_back(&step);
  for (const auto& [file, steps] : by_file) check_order(steps, errors);
  if (complete) check_missing(plan, errors);
}

// Reads the options of one step and makes its stage; `planned.stage` stays empty when they are no good.
void build_step(const profile::Step& step, PlannedStep& planned, std::vector<Error>& errors) {
  const std::size_t before = errors.size();
  planned.options = stage::parse_options(*planned.type, step.options, step.where, errors);
  if (errors.size() > before) return;
  try {
    planned.stage = planned.type->make(planned.options);
  } catch (const base::Errors& several) {
    errors.insert(errors.end(), several.all().begin(), several.all().end());
  } catch (Error& error) {
    if (error.where().file.empty()) error.at(step.where);
    errors.push_back(error);
  }
}

void unknown_stage(const profile::Step& step, const stage::StageSet& stages, std::vector<Error>& errors) {
  const std::vector<std::string> names = stages.names();
  const std::string guess = base::did_you_mean(step.stage, names);
  Error error =
      wrong(step.where, fmt::format("unknown stage '{}'{}", base::printable(step.stage),
                                    guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)));
  if (guess.empty()) error.hint("known are " + base::join(names, ", "));
  errors.push_back(std::move(error));
}

}  // namespace

Plan make_plan(const profile::Profile& profile, const stage::StageSet& stages, std::vector<Error>& errors) {
  Plan plan;
  plan.profile = profile;
  std::vector<PlannedStep> appended;
  bool complete = profile.all_steps;
  for (const profile::Step& step : profile.steps) {
    PlannedStep planned;
    planned.id = step.id;
    planned.where = step.where;
    planned.type = stages.find(step.stage);
    if (planned.type == nullptr) {
      unknown_stage(step, stages, errors);
      complete = false;
      continue;
    }
    build_step(step, planned, errors);
    (step.appended ? appended : plan.steps).push_back(std::move(planned));
  }
  place_appended(plan.steps, std::move(appended));
  if (!plan.steps.empty()) check_steps(plan, complete, errors);
  return plan;
}

Plan load_plan(const std::filesystem::path& file, const stage::StageSet& stages) {
  std::vector<Error> errors;
  const profile::Profile profile = profile::load(file, errors);
  Plan plan = make_plan(profile, stages, errors);
  if (errors.empty()) return plan;
  // As an editor would go through them: each file from top to bottom, the one asked for first.
  std::stable_sort(errors.begin(), errors.end(), [&](const Error& a, const Error& b) {
    const auto order = [&](const Error& error) {
      const base::Where& where = error.where();
      return std::tuple(where.file != file.string(), where.file, where.line, where.column);
    };
    return order(a) < order(b);
  });
  throw base::Errors(std::move(errors));
}

std::size_t find_step(const Plan& plan, const std::string& id, std::string_view who) {
  std::vector<std::string> ids;
  ids.reserve(plan.steps.size());
  for (const PlannedStep& step : plan.steps) ids.push_back(step.id);
  const auto found = std::find(ids.begin(), ids.end(), id);
  if (found != ids.end()) return static_cast<std::size_t>(found - ids.begin());
  const std::string guess = base::did_you_mean(id, ids);
  throw Error(fmt::format("{}: {} has no step '{}'{}", who, plan.profile.name, id,
                          guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
              Exit::usage)
      .hint("known are " + base::join(ids, ", "));
}

std::size_t steps_until(const Plan& plan, const std::string& id) {
  return id.empty() ? plan.steps.size() : find_step(plan, id, "--until") + 1;
}

std::size_t step_from(const Plan& plan, const std::string& id) {
  return id.empty() ? plan.steps.size() : find_step(plan, id, "--from");
}

}  // namespace kiln::plan
