#include "proof/verdict.hpp"

#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace kiln::proof {

std::string Verdict::json() const {
  auto list = nlohmann::json::array();
  for (const auto& check : checks) {
    list.push_back({{"kind", check.kind},
                    {"name", check.name},
                    {"passed", check.passed},
                    {"ran", check.ran},
                    {"detail", check.detail},
                    {"seconds", check.seconds}});
  }
  const nlohmann::json value = {{"passed", passed},
                                {"proven", proven},
                                {"inside", inside},
                                {"resumed", resumed},
                                {"firmware", firmware},
                                {"accel", accel},
                                {"boot_seconds", boot_seconds},
                                {"seconds", seconds},
                                {"image_sha256", image_sha256},
                                {"checks", std::move(list)}};
  // What was seen in a guest may be no UTF-8.
  return value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

Verdict Verdict::from_json(const std::string& text) {
  try {
    const auto value = nlohmann::json::parse(text);
    Verdict verdict;
    value.at("proven").get_to(verdict.proven);
    value.at("inside").get_to(verdict.inside);
    // Verdicts of an older kiln are of cold boots.
    verdict.passed = value.value("passed", verdict.proven);
    verdict.resumed = value.value("resumed", false);
    value.at("firmware").get_to(verdict.firmware);
    value.at("accel").get_to(verdict.accel);
    value.at("boot_seconds").get_to(verdict.boot_seconds);
    value.at("seconds").get_to(verdict.seconds);
    value.at("image_sha256").get_to(verdict.image_sha256);
    for (const auto& entry : value.at("checks")) {
      CheckResult check;
      entry.at("kind").get_to(check.kind);
      entry.at("name").get_to(check.name);
      entry.at("passed").get_to(check.passed);
      entry.at("ran").get_to(check.ran);
      entry.at("detail").get_to(check.detail);
      entry.at("seconds").get_to(check.seconds);
      verdict.checks.push_back(std::move(check));
    }
    return verdict;
  } catch (const nlohmann::json::exception& error) {
    throw base::Error(std::string("this is no verdict: ") + error.what());
  }
}

std::string failure(const std::vector<Verdict>& verdicts) {
  for (const auto& verdict : verdicts) {
    std::string first;
    std::size_t others = 0;
    for (const auto& check : verdict.checks) {
      if (check.ran && check.passed) continue;
      if (!first.empty()) {
        ++others;
        continue;
      }
      first = (check.name.starts_with(check.kind) ? check.name : check.kind + ' ' + check.name) + ": " +
              (check.ran ? "" : "did not run: ") + check.detail;
    }
    if (!first.empty() && others > 0) first += " (and " + std::to_string(others) + " more)";
    if (!first.empty()) return first;
  }
  return "no check was run";
}

}  // namespace kiln::proof
