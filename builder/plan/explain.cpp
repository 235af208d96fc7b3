#include <algorithm>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.hpp"
#include "plan/plan.hpp"

namespace kiln::plan {

namespace {

constexpr std::size_t kShownValue = 40;

// A key text taken apart again; see stage::KeyWriter for its lines.
struct Text {
  std::string format, stage, revision, parent;
  std::map<std::string, std::string> options;                        // name -> JSON
  std::map<std::string, std::map<std::string, std::string>> inputs;  // "tree" -> path -> the rest of its line
  std::map<std::string, std::string> names;                          // input -> the file's own name
  std::map<std::string, std::string> tools;
  std::map<std::string, std::string> facts;
};

// The path at the end of a tree line ("file 0644 <sha256> "etc/motd""), and what stands before it.
std::pair<std::string, std::string> node(std::string_view line) {
  line = base::trim(line);
  // Paths are JSON texts: their opening quote is the last one not escaped before the closing one.
  std::size_t open = line.empty() ? 0 : line.size() - 1;
  while (open > 0) {
    --open;
    if (line[open] != '"') continue;
    std::size_t backslashes = 0;
    while (backslashes < open && line[open - backslashes - 1] == '\\') ++backslashes;
    if (backslashes % 2 == 0) break;
  }
  const nlohmann::json path = nlohmann::json::parse(line.substr(open), nullptr, false);
  return {path.is_string() ? path.get<std::string>() : std::string(line.substr(open)),
          std::string(line.substr(0, open))};
}

Text take_apart(const std::string& text) {
  Text parts;
  std::map<std::string, std::string>* input = nullptr;
  for (const std::string& line : base::lines(text)) {
    if (line.starts_with("  ")) {
      if (input != nullptr) input->insert(node(line));
      continue;
    }
    input = nullptr;
    const std::size_t space = line.find(' ');
    const std::string word = line.substr(0, space);
    const std::string rest = space == std::string::npos ? "" : line.substr(space + 1);
    const std::size_t second = rest.find(' ');
    const std::string name = rest.substr(0, second);
    const std::string value = second == std::string::npos ? "" : rest.substr(second + 1);
    const auto behind_equals = [&] { return value.starts_with("= ") ? value.substr(2) : value; };
    if (word == "kiln-key") parts.format = rest;
    if (word == "stage") parts.stage = rest;
    if (word == "revision") parts.revision = rest;
    if (word == "parent") parts.parent = rest;
    if (word == "option") parts.options[name] = behind_equals();
    if (word == "fact") parts.facts[name] = behind_equals();
    if (word == "tool") parts.tools[name] = value;
    if (word == "input") {
      input = &parts.inputs[name];
      parts.names[name] = value;
    }
  }
  return parts;
}

// What of a JSON list came and went: "+nginx, -redis"; "" when only the order did, or when it is no list.
std::string list_change(const std::string& before, const std::string& now) {
  const nlohmann::json old_list = nlohmann::json::parse(before, nullptr, false);
  const nlohmann::json new_list = nlohmann::json::parse(now, nullptr, false);
  if (!old_list.is_array() || !new_list.is_array()) return {};
  std::vector<std::string> changes;
  const auto missing = [&](const nlohmann::json& from, const nlohmann::json& in, char sign) {
    for (const nlohmann::json& item : from) {
      if (std::find(in.begin(), in.end(), item) != in.end()) continue;
      changes.push_back(sign + (item.is_string() ? item.get<std::string>() : item.dump()));
    }
  };
  missing(new_list, old_list, '+');
  missing(old_list, new_list, '-');
  if (changes.size() > 4) {
    const std::size_t more = changes.size() - 3;
    changes.resize(3);
    changes.push_back(fmt::format("{} more", more));
  }
  return base::join(changes, ", ");
}

std::string value_change(const std::string& before, const std::string& now) {
  const std::string list = list_change(before, now);
  if (!list.empty()) return fmt::format(" ({})", list);
  if (before.size() > kShownValue || now.size() > kShownValue) return {};
  return fmt::format(" ({} -> {})", before, now);
}

using Reasons = std::vector<std::string>;

// One reason for each key whose value differs, came or went.
template <typename Changed>
void compare(const std::map<std::string, std::string>& before, const std::map<std::string, std::string>& now,
             std::string_view what, Changed changed, Reasons& reasons) {
  for (const auto& [name, value] : now) {
    const auto old = before.find(name);
    if (old == before.end()) {
      reasons.push_back(fmt::format("{}: {} added", what, name));
    } else if (old->second != value) {
      reasons.push_back(fmt::format("{}: {}{}", what, name, changed(old->second, value)));
    }
  }
  for (const auto& [name, value] : before) {
    if (!now.contains(name)) reasons.push_back(fmt::format("{}: {} removed", what, name));
  }
}

std::string nothing(const std::string& /*before*/, const std::string& /*now*/) {
  return {};
}

void compare_inputs(const Text& before, const Text& now, Reasons& reasons) {
  for (const auto& [name, nodes] : now.inputs) {
    const auto old = before.inputs.find(name);
    if (old == before.inputs.end()) {
      reasons.push_back(fmt::format("input changed: {} added", name));
      continue;
    }
    const std::string file = now.names.at(name);
    if (before.names.at(name) != file) {
      reasons.push_back(fmt::format("input changed: {} ({} -> {})", name, before.names.at(name), file));
    } else if (!file.empty() && old->second != nodes) {
      const nlohmann::json shown = nlohmann::json::parse(file, nullptr, false);
      reasons.push_back(
          fmt::format("input changed: {}: {}", name, shown.is_string() ? shown.get<std::string>() : file));
    } else {
      compare(old->second, nodes, fmt::format("input changed: {}", name), nothing, reasons);
    }
  }
  for (const auto& [name, nodes] : before.inputs) {
    if (!now.inputs.contains(name)) reasons.push_back(fmt::format("input changed: {} removed", name));
  }
}

}  // namespace

std::string without_parent(const std::string& text) {
  std::string rest;
  for (const std::string& line : base::lines(text)) {
    if (!line.starts_with("parent ")) rest += line + "\n";
  }
  return rest;
}

std::string explain(const std::string& before_text, const std::string& now_text) {
  if (before_text.empty()) return "never built";
  const Text before = take_apart(before_text);
  const Text now = take_apart(now_text);
  Reasons reasons;
  if (before.format != now.format)
    reasons.push_back(fmt::format("format of keys {} -> {}", before.format, now.format));
  if (before.stage != now.stage)
    reasons.push_back(fmt::format("stage changed: {} -> {}", before.stage, now.stage));
  if (before.revision != now.revision) {
    reasons.push_back(fmt::format("revision {} -> {}", before.revision, now.revision));
  }
  compare(before.options, now.options, "option changed", value_change, reasons);
  compare_inputs(before, now, reasons);
  compare(before.tools, now.tools, "tool changed", value_change, reasons);
  compare(before.facts, now.facts, "fact changed", value_change, reasons);
  if (reasons.empty()) return before.parent == now.parent ? "" : "parent missed";
  if (reasons.size() == 1) return reasons.front();
  return fmt::format("{}, and {} more", reasons.front(), reasons.size() - 1);
}

}  // namespace kiln::plan
