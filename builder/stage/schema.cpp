// What is generated from the option tables: the JSON Schema of a profile, README's table, a stage's page.
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <regex>
#include <stdexcept>

#include "base/size.hpp"
#include "base/text.hpp"
#include "profile/profile.hpp"
#include "stage/stage_set.hpp"

namespace kiln::stage {

using Json = nlohmann::ordered_json;

namespace {

// What base::parse_size reads.
constexpr std::string_view kSizePattern = "^\\s*[0-9]+(\\s*B?|(\\.[0-9]{1,9})?\\s*[KMGTPkmgtp](iB)?)\\s*$";
constexpr std::string_view kIdPattern = "^[a-z0-9][a-z0-9._-]{0,63}$";

std::string_view word(Type type) {
  switch (type) {
    case Type::text:
      return "text";
    case Type::flag:
      return "true or false";
    case Type::number:
      return "number";
    case Type::size:
      return "size";
    case Type::texts:
      return "list of texts";
    case Type::file:
      return "file";
    case Type::tree:
      return "directory";
    case Type::files:
      return "list of files";
  }
  throw std::logic_error("an option of unknown type");
}

std::string_view word(Kind kind) {
  switch (kind) {
    case Kind::base:
      return "base";
    case Kind::image:
      return "image";
    case Kind::artifact:
      return "artifact";
  }
  throw std::logic_error("a stage of unknown kind");
}

std::string_view word(Place place) {
  switch (place) {
    case Place::offline:
      return "on the mounted image";
    case Place::native_or_guest:
      return "in a sandbox on the mounted image, without root in the booted guest";
    case Place::guest:
      return "in the booted guest";
  }
  throw std::logic_error("a stage of unknown place");
}

Json described(Json value, std::string_view text) {
  if (!text.empty()) value["description"] = text;
  return value;
}

// A text may look like a number to YAML: 3.11.
Json text_schema(std::string_view pattern = {}) {
  Json value = {{"type", {"string", "number"}}};
  if (!pattern.empty()) value["pattern"] = pattern;
  return value;
}

bool looks_like_a_number(const Option& option) {
  if (!option.choices.empty()) return false;
  if (option.pattern.empty()) return true;
  const std::regex pattern(option.pattern.begin(), option.pattern.end());
  return std::regex_match("12", pattern) || std::regex_match("3.11", pattern);
}

Json text_schema(const Option& option) {
  Json value = looks_like_a_number(option) ? text_schema() : Json{{"type", "string"}};
  if (!option.choices.empty()) {
    Json choices = Json::array();
    for (const std::string_view choice : option.choices) choices.push_back(choice);
    value["enum"] = std::move(choices);
  }
  if (!option.pattern.empty()) value["pattern"] = fmt::format("^(?:{})$", option.pattern);
  return value;
}

// The bounds are of sizes in bytes, written as bare numbers.
Json size_schema(std::int64_t minimum, std::int64_t maximum) {
  Json value = {{"type", {"string", "integer"}}, {"pattern", kSizePattern}, {"minimum", minimum}};
  if (maximum != INT64_MAX) value["maximum"] = maximum;
  return value;
}

Json path_schema() {
  Json value = text_schema();
  value["minLength"] = 1;
  return value;
}

Json list_of(Json items) {
  return {{"type", "array"}, {"items", std::move(items)}};
}

Json option_schema(const Option& option) {
  Json value;
  switch (option.type) {
    case Type::text:
      value = text_schema(option);
      break;
    case Type::flag:
      value = {{"type", "boolean"}};
      break;
    case Type::number:
      value = {{"type", "integer"}, {"minimum", option.minimum}};
      if (option.maximum != INT64_MAX) value["maximum"] = option.maximum;
      break;
    case Type::size:
      value = size_schema(option.minimum, option.maximum);
      break;
    case Type::texts:
      value = list_of(text_schema(option));
      break;
    case Type::file:
    case Type::tree:
      value = path_schema();
      break;
    case Type::files:
      value = list_of(path_schema());
      break;
  }
  if (!option.fallback.empty()) {
    const std::string fallback(option.fallback);
    if (option.type == Type::flag || option.type == Type::number) {
      value["default"] = Json::parse(fallback);
    } else if (option.type == Type::text || option.type == Type::size || option.type == Type::file ||
               option.type == Type::tree) {
      value["default"] = fallback;
    }
  }
  return described(std::move(value), option.doc);
}

Json object(Json properties, const std::vector<std::string>& required = {}) {
  Json value = {{"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", false}};
  if (!required.empty()) value["required"] = required;
  return value;
}

Json stage_schema(const StageType& type) {
  Json properties = Json::object();
  std::vector<std::string> required;
  for (const Option& option : type.options) {
    properties[std::string(option.name)] = option_schema(option);
    if (option.required) required.emplace_back(option.name);
  }
  const bool optional = required.empty();
  Json value = object(std::move(properties), required);
  if (optional) value["type"] = {"object", "null"};
  return described(std::move(value), type.summary);
}

Json step_schema(const StageSet& stages) {
  const Json id = described(text_schema(kIdPattern),
                            "Name of the step; the stage's name, then name-2, when it has none.");
  const Json after = described(text_schema(kIdPattern), "Id of the step that this one comes after.");
  Json any = Json::array();
  for (const StageType* type : stages.all()) {
    const std::string name(type->name);
    any.push_back(object({{"id", id}, {"after", after}, {name, {{"$ref", "#/$defs/" + name}}}}, {name}));
  }
  Json remove = described(id, "Id of a step of the extended profile that this one does without.");
  any.push_back(object({{"remove", std::move(remove)}}, {"remove"}));
  return {{"oneOf", std::move(any)}};
}

Json machine(std::string_view memory, std::string_view cpus) {
  return {{"memory", described(size_schema(profile::kLeastMemory, profile::kMostMemory), memory)},
          {"cpus", described({{"type", "integer"}, {"minimum", 1}, {"maximum", 64}}, cpus)}};
}

Json proof_schema() {
  const Json text = text_schema();
  const Json path = {{"type", "string"}, {"pattern", "^/"}};
  Json port = object({{"port", {{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}},
                      {"protocol", {{"enum", {"ssh", "http", "https", "tls", "smtp", "tcp"}}}},
                      {"path", described(path, "http, https: what is asked for.")},
                      {"status", described({{"type", "integer"}, {"minimum", 100}, {"maximum", 599}},
                                           "http, https: expected status.")},
                      {"body", described(text, "http, https: regular expression found in the body.")}},
                     {"port", "protocol"});
  Json file = object({{"path", path},
                      {"kind", {{"enum", {"file", "directory", "link", "absent"}}, {"default", "file"}}},
                      {"target", described(text, "Target of a link.")},
                      {"mode", {{"type", {"string", "integer"}}, {"description", "Octal, such as 0644."}}},
                      {"owner", described(text, "Name of the user.")},
                      {"content", described(text, "Regular expression found in the file.")}},
                     {"path"});
  Json command = object({{"run", described(list_of(text), "The command and its arguments.")},
                         {"status", {{"type", "integer"}, {"minimum", 0}, {"maximum", 255}, {"default", 0}}},
                         {"output", described(text, "Regular expression found in its output.")}},
                        {"run"});
  Json properties = {
      {"firmware", described(list_of({{"enum", {"bios", "uefi"}}}), "What it has to boot by.")}};
  properties.update(machine("Memory of the machine that proves the image.", "Its processors."));
  properties["units"] = described(list_of(text), "Units that have to be active.");
  properties["may_fail"] = described(list_of(text), "Units whose failure is no failure of the proof.");
  properties["ports"] = described(list_of(std::move(port)), "Ports looked at from outside.");
  properties["files"] = described(list_of(std::move(file)), "Paths looked at in the booted image.");
  properties["commands"] = described(list_of(std::move(command)), "Commands run in the booted image.");
  return described(object(std::move(properties)),
                   "What the booted image has to show before it is published.");
}

// How the table and the pages write an option's default.
std::string default_text(const Option& option) {
  if (option.required) return "required";
  return option.fallback.empty() ? "" : fmt::format("default {}", option.fallback);
}

std::string bounds_text(const Option& option) {
  if (!option.choices.empty()) {
    std::vector<std::string> choices(option.choices.begin(), option.choices.end());
    return "one of " + base::join(choices, ", ");
  }
  const bool bytes = option.type == Type::size;
  if (!bytes && option.type != Type::number) return "";
  const auto shown = [&](std::int64_t value) {
    return bytes ? base::human_size(static_cast<std::uint64_t>(value)) : std::to_string(value);
  };
  if (option.maximum != INT64_MAX)
    return fmt::format("{} to {}", shown(option.minimum), shown(option.maximum));
  return option.minimum > 0 ? fmt::format("at least {}", shown(option.minimum)) : "";
}

}  // namespace

std::string schema(const StageSet& stages) {
  Json definitions = Json::object();
  for (const StageType* type : stages.all()) definitions[std::string(type->name)] = stage_schema(*type);
  Json properties = {
      {"name", described(text_schema("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
                         "Name of the image; that of the file when it is not given.")},
      {"description", described(text_schema(), "What the image is.")},
      {"extends",
       described(text_schema(),
                 "Another profile, relative to this file, that this one adds to and replaces parts of.")},
      {"guest", described(object(machine("Memory of the guest that builds; part of the key.",
                                         "Its processors; part of the key.")),
                          "The machine that builds.")},
      {"fresh",
       described({{"oneOf",
                   {{{"const", "pinned"}},
                    {{"type", "integer"}, {"minimum", 0}, {"maximum", profile::kMostFreshDays}}}}},
                 fmt::format("Days after which what a mirror gave is asked for again, default {}; 'pinned' "
                             "where mirrors serve the same for ever.",
                             profile::kFreshDays))},
      {"steps", described(list_of(step_schema(stages)),
                          "Base, then what changes the image, then what is made of it.")},
      {"proof", proof_schema()}};
  Json root = {{"$schema", "https://json-schema.org/draft/2020-12/schema"}, {"title", "kiln profile"}};
  root.update(object(std::move(properties)));
  root["anyOf"] = {{{"required", {"steps"}}}, {{"required", {"extends"}}}};
  root["$defs"] = std::move(definitions);
  return root.dump(2) + "\n";
}

std::string table(const StageSet& stages) {
  std::string text = "| stage | kind | what it does | options |\n|---|---|---|---|\n";
  for (const StageType* type : stages.all()) {
    std::vector<std::string> options;
    for (const Option& option : type->options) {
      options.push_back(fmt::format("`{}`{}", option.name, option.required ? " (required)" : ""));
    }
    text += fmt::format("| `{}` | {} | {} | {} |\n", type->name, word(type->kind), type->summary,
                        options.empty() ? "none" : base::join(options, ", "));
  }
  return text;
}

std::string describe(const StageType& type) {
  std::string text = fmt::format("{} - {}\n\nkind: {}, works {}\n\n{}\n", type.name, type.summary,
                                 word(type.kind), word(type.place), base::trim(type.doc));
  if (type.options.empty()) return text + "\nNo options.\n";
  text += "\nOptions:\n";
  for (const Option& option : type.options) {
    std::vector<std::string> notes = {std::string(word(option.type))};
    for (std::string note : {bounds_text(option), default_text(option)}) {
      if (!note.empty()) notes.push_back(std::move(note));
    }
    if (option.secret) notes.emplace_back("secret");
    text += fmt::format("  {} ({})\n      {}\n", option.name, base::join(notes, ", "), option.doc);
  }
  return text;
}

}  // namespace kiln::stage
