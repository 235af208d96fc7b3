// The JSON Schema of an environment, made from the table of options.
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "env/option.hpp"

namespace kiln::env {

using Json = nlohmann::ordered_json;

namespace {

// A key without a value means as much as no key.
Json or_null(Json value) {
  value["type"] = {value["type"], "null"};
  return value;
}

Json text(std::string_view pattern) {
  Json value = {{"type", "string"}};
  if (!pattern.empty()) value["pattern"] = "^(?:" + std::string(pattern) + ")$";
  return value;
}

Json list_of(Json items) {
  return {{"type", "array"}, {"items", std::move(items)}};
}

Json armored(std::string_view label) {
  return text("\\s*-----BEGIN " + std::string(label) + "-----[\\s\\S]*");
}

Json either(const Json& one, const Json& list) {
  return {{"anyOf", {or_null(one), list}}};
}

Json file_schema();

Json option_schema(const Option& option) {
  switch (option.type) {
    case Type::text:
      return or_null(text(option.pattern));
    case Type::block:
      return or_null(text({}));
    case Type::flag:
      return or_null({{"type", "boolean"}});
    case Type::text_or_texts:
    case Type::block_or_texts:
      return either(text(option.pattern), list_of(text(option.pattern)));
    case Type::anything:
      return Json::object();
    case Type::domain: {
      Json value = text("[A-Za-z0-9-]{1,63}(?:\\.[A-Za-z0-9-]{1,63})*");
      value["maxLength"] = 253;
      return option.required ? value : or_null(std::move(value));
    }
    case Type::packages:
      return or_null(list_of(text("[a-z0-9][a-z0-9+.-]+")));
    case Type::files:
      return or_null(list_of(file_schema()));
    case Type::ssh_keys:
      return or_null(list_of(text({})));
    case Type::private_key:
    case Type::dkim_key:
      return or_null(armored("(?:RSA |EC )?PRIVATE KEY"));
    case Type::certificate:
      return or_null(armored("CERTIFICATE"));
    case Type::openpgp_key:
      return or_null(armored("PGP (?:PUBLIC|PRIVATE) KEY BLOCK"));
    case Type::openpgp_secret:
      return or_null(armored("PGP PRIVATE KEY BLOCK"));
  }
  throw std::logic_error("an option of unknown type");
}

Json described(const Option& option) {
  Json value = option_schema(option);
  value["description"] = option.doc;
  return value;
}

Json file_schema() {
  Json properties = Json::object();
  for (const Option& option : file_options()) properties[std::string(option.path)] = described(option);
  properties["path"]["type"] = "string";
  properties["path"]["pattern"] = "^/";
  return {{"type", "object"},
          {"properties", properties},
          {"required", {"path"}},
          {"additionalProperties", false}};
}

Json mapping(const std::string& path) {
  Json properties = Json::object();
  Json required = Json::array();
  for (const std::string& key : keys_below(path)) {
    std::string below = path.empty() ? "" : path + ".";
    below += key;
    const Option* const option = find_option(below);
    properties[key] = option == nullptr ? mapping(below) : described(*option);
    const bool needed = option == nullptr ? properties[key].contains("required") : option->required;
    if (needed) required.push_back(key);
  }
  Json value = {{"type", "object"}, {"properties", properties}, {"additionalProperties", false}};
  if (required.empty()) {
    value["type"] = {"object", "null"};
  } else {
    value["required"] = required;
  }
  return value;
}

}  // namespace

std::string schema() {
  Json value = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                {"title", "Environment of an appliance"},
                {"description", "Its first line is #cloud-config; keys of cloud-init pass as they are."}};
  value.update(mapping(""));
  for (const std::string_view key : cloud_init_keys()) value["properties"][std::string(key)] = true;
  return value.dump(2) + "\n";
}

}  // namespace kiln::env
