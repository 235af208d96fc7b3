#include <algorithm>
#include <array>
#include <fmt/format.h>

#include "base/text.hpp"
#include "proof/verdict.hpp"

namespace kiln::proof {
namespace {

// Attributes stand in double quotes; a line feed in one would be read as a space.
constexpr std::array<std::pair<char, std::string_view>, 5> kMarkup = {
    {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\n', "&#10;"}}};

std::string xml(std::string_view text) {
  return base::replace_each(base::printable(text), kMarkup);
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

void add_case(std::string& out, const std::string& suite, const CheckResult& check) {
  out += fmt::format(R"(    <testcase classname="{}.{}" name="{}" time="{:.3f}")", xml(suite),
                     xml(check.kind), xml(check.name), check.seconds);
  if (check.passed) {
    out += "/>\n";
  } else if (!check.ran) {
    out += fmt::format(">\n      <skipped message=\"{}\"/>\n    </testcase>\n", xml(check.detail));
  } else {
    out += fmt::format(">\n      <failure message=\"{}\">{}</failure>\n    </testcase>\n",
                       xml(first_line(check.detail)), xml(check.detail));
  }
}

}  // namespace

std::string junit(const std::string& suite, const std::vector<Verdict>& verdicts) {
  std::string out = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n";
  for (const auto& verdict : verdicts) {
    const auto count = [&](auto&& which) {
      return std::count_if(verdict.checks.begin(), verdict.checks.end(), which);
    };
    const std::string name = suite + "." + verdict.firmware;
    out += fmt::format(
        R"(  <testsuite name="{}" tests="{}" failures="{}" errors="0" skipped="{}" time="{:.3f}">)",
        xml(name), verdict.checks.size(),
        count([](const CheckResult& check) { return check.ran && !check.passed; }),
        count([](const CheckResult& check) { return !check.ran; }), verdict.seconds);
    out += "\n    <properties>\n";
    const std::pair<const char*, std::string> properties[] = {
        {"firmware", verdict.firmware},
        {"accel", verdict.accel},
        {"sha256", verdict.image_sha256},
        {"proven", verdict.proven ? "true" : "false"},
        {"inside", verdict.inside ? "true" : "false"},
        {"resumed", verdict.resumed ? "true" : "false"},
        {"boot_seconds", fmt::format("{:.1f}", verdict.boot_seconds)}};
    for (const auto& [key, value] : properties) {
      out += fmt::format("      <property name=\"{}\" value=\"{}\"/>\n", key, xml(value));
    }
    out += "    </properties>\n";
    std::string console;
    for (const auto& check : verdict.checks) {
      add_case(out, name, check);
      if (check.kind == "boot" && !check.passed && check.ran) console += check.detail + "\n";
    }
    if (!console.empty()) out += fmt::format("    <system-out>{}</system-out>\n", xml(console));
    out += "  </testsuite>\n";
  }
  return out + "</testsuites>\n";
}

}  // namespace kiln::proof
