#include "base/report.hpp"

#include <nlohmann/json.hpp>

#include "base/text.hpp"

namespace kiln::base {

using Json = nlohmann::ordered_json;

namespace {

Json error_json(const Error& error) {
  return {{"message", error.message()},
          {"where", error.where().text()},
          {"hint", error.hint_text()},
          {"exit", static_cast<int>(error.exit())}};
}

}  // namespace

int report(const Error& error, bool json, const std::string& also, std::ostream& out, std::ostream& err) {
  std::vector<Error> all = {error};
  if (const auto* several = dynamic_cast<const Errors*>(&error)) all = several->all();
  for (const Error& one : all) err << "error: " << printable(one.what()) << '\n';
  if (json && !all.empty()) {
    Json object = {{"ok", false}, {"error", error_json(all.front())}};
    if (all.size() > 1) {
      object["errors"] = Json::array();
      for (const Error& one : all) object["errors"].push_back(error_json(one));
    }
    if (!also.empty()) object.update(Json::parse(also));
    out << object.dump(2, ' ', false, Json::error_handler_t::replace) << '\n';
  }
  return static_cast<int>(error.exit());
}

}  // namespace kiln::base
