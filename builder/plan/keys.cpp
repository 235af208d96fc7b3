#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "image/machine.hpp"
#include "plan/plan.hpp"
#include "stage/key_writer.hpp"

namespace kiln::plan {

using stage::Kind;
using stage::Place;
using stage::Type;

namespace {

std::string json(const stage::Value& value) {
  const nlohmann::json text = std::visit(
      [](const auto& held) -> nlohmann::json {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::monostate>) {
          return nullptr;
        } else {
          return held;
        }
      },
      value);
  return text.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

bool is_path(Type type) {
  return type == Type::file || type == Type::tree || type == Type::files;
}

// A stage may go by the name of a file (a unit's is what systemd calls it), never by its folder.
void named_input(stage::KeyWriter& writer, std::string_view name, const std::filesystem::path& path) {
  writer.input(fmt::format("{} {}", name, json(path.filename().string())), path);
}

// Runs `deed`, which reads what the profile names at `where`. What cannot be read (a fifo, a file without
// permission) is a mistake of whoever named it, and is told there.
template <typename Deed>
void reading(const base::Where& where, std::vector<base::Error>& errors, Deed deed) {
  try {
    deed();
  } catch (const base::Errors& several) {
    errors.insert(errors.end(), several.all().begin(), several.all().end());
  } catch (const base::Error& error) {
    if (error.exit() == base::Exit::interrupted || error.exit() == base::Exit::terminated) throw;
    base::Error told(error.message(), error.exit() == base::Exit::failed ? base::Exit::usage : error.exit());
    told.at(error.where().file.empty() ? where : error.where());
    errors.push_back(told.hint(error.hint_text()).detail(error.detail_text()));
  }
}

// Sorted by name, whatever the order of the table: moving a row in it changes no key.
void write_options(const PlannedStep& step, stage::KeyWriter& writer, std::vector<base::Error>& errors) {
  std::map<std::string_view, const stage::Option*> rows;
  for (const stage::Option& option : step.type->options) rows.emplace(option.name, &option);
  for (const auto& [name, value] : step.options.all()) {
    if (step.options.has(name) && !is_path(rows.at(name)->type)) writer.option(name, json(value));
  }
  // Files enter by their content, never by where they lie.
  for (const auto& [name, value] : step.options.all()) {
    if (!step.options.has(name) || !is_path(rows.at(name)->type)) continue;
    if (!rows.at(name)->pinned_by.empty()) continue;
    const Type type = rows.at(name)->type;
    const base::Where& where = step.options.where(name);
    if (type == Type::tree) reading(where, errors, [&] { writer.input(name, step.options.path(name)); });
    if (type == Type::file)
      reading(where, errors, [&] { named_input(writer, name, step.options.path(name)); });
    if (type != Type::files) continue;
    const std::vector<std::filesystem::path> paths = step.options.paths(name);
    for (std::size_t i = 0; i < paths.size(); ++i) {
      reading(where, errors, [&] { named_input(writer, fmt::format("{}[{}]", name, i), paths[i]); });
    }
  }
}

// All mistakes of the step's inputs go to `errors`; the key is of no use then.
StepKey make_key(const Plan& plan, const PlannedStep& step, const std::string& parent, const host::Host& host,
                 std::vector<base::Error>& errors) {
  const std::size_t before = errors.size();
  stage::KeyWriter writer(host);
  writer.line("kiln-key 1");
  writer.line(fmt::format("stage {}", step.type->name));
  writer.line(fmt::format("revision {}", step.type->revision));
  write_options(step, writer, errors);
  if (errors.size() > before) return {};
  reading(step.where, errors, [&] { step.stage->describe(writer); });
  if (step.type->place != Place::offline) {
    writer.fact("guest.cpus", std::to_string(plan.profile.guest.cpus));
    writer.fact("guest.memory", std::to_string(plan.profile.guest.memory));
    writer.fact("machine", fmt::format("{} {}", image::machine_type, image::cpu_model));
  }
  if (!parent.empty()) writer.line("parent " + parent);
  return {writer.text(), base::sha256(writer.text()), writer.inputs()};
}

}  // namespace

std::vector<base::Error> mistakes_in_secrets(const Plan& plan, std::size_t steps, const host::Host& host) {
  std::vector<base::Error> errors;
  for (const PlannedStep& step : std::span(plan.steps).first(steps)) {
    if (step.type->reuse != stage::Reuse::never) continue;
    stage::KeyWriter unwritten(host);
    reading(step.where, errors, [&] { step.stage->describe(unwritten); });
  }
  return errors;
}

std::vector<StepKey> make_keys(const Plan& plan, const host::Host& host) {
  std::vector<StepKey> keys;
  std::vector<base::Error> errors;
  std::string parent;  // the image as it is so far; artifacts read it and are nobody's parent
  for (const PlannedStep& step : plan.steps) {
    if (step.type->reuse == stage::Reuse::never) {
      // What its inputs are is nobody's business: they are secrets.
      keys.emplace_back();
      continue;
    }
    const std::size_t before = errors.size();
    keys.push_back(make_key(plan, step, parent, host, errors));
    for (std::size_t i = before; i < errors.size(); ++i)
      errors[i].during(fmt::format("reading the inputs of step '{}'", step.id));
    if (step.type->kind != Kind::artifact) parent = keys.back().key;
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return keys;
}

}  // namespace kiln::plan
