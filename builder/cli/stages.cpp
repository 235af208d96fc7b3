#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "cli/verbs.hpp"

namespace kiln::cli {

namespace {

std::string_view word(stage::Kind kind) {
  switch (kind) {
    case stage::Kind::base:
      return "base";
    case stage::Kind::image:
      return "image";
    case stage::Kind::artifact:
      break;
  }
  return "artifact";
}

nlohmann::ordered_json as_json(const stage::StageType& type) {
  nlohmann::ordered_json options = nlohmann::ordered_json::array();
  for (const stage::Option& option : type.options) {
    options.push_back({{"name", option.name}, {"required", option.required}, {"doc", option.doc}});
    if (!option.fallback.empty()) options.back()["default"] = option.fallback;
  }
  return {{"name", type.name},
          {"kind", word(type.kind)},
          {"summary", type.summary},
          {"revision", type.revision},
          {"options", std::move(options)}};
}

const stage::StageType& find(const Invocation& call, const std::string& name) {
  if (const stage::StageType* type = call.stages.find(name)) return *type;
  const std::vector<std::string> names = call.stages.names();
  const std::string guess = base::did_you_mean(name, names);
  throw base::Error(fmt::format("unknown stage '{}'{}", base::printable(name),
                                guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
                    base::Exit::usage)
      .hint("known are " + base::join(names, ", "));
}

}  // namespace

int stages(const Invocation& call) {
  if (call.schema) {
    call.out << stage::schema(call.stages);
    return 0;
  }
  if (call.markdown) {
    call.out << stage::table(call.stages);
    return 0;
  }
  std::vector<const stage::StageType*> asked(call.stages.all().begin(), call.stages.all().end());
  if (!call.arguments.empty()) asked = {&find(call, call.arguments.front())};
  if (call.json) {
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const stage::StageType* type : asked) list.push_back(as_json(*type));
    call.out << nlohmann::ordered_json({{"ok", true}, {"stages", std::move(list)}}).dump(2) << '\n';
    return 0;
  }
  if (!call.arguments.empty()) {
    call.out << stage::describe(*asked.front());
    return 0;
  }
  std::size_t width = 0;
  for (const stage::StageType* type : asked) width = std::max(width, type->name.size());
  for (const stage::StageType* type : asked) {
    call.out << fmt::format("{:<{}}  {:<8}  {}\n", type->name, width, word(type->kind), type->summary);
  }
  return 0;
}

}  // namespace kiln::cli
