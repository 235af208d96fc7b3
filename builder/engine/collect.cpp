#include "engine/collect.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

#include "base/text.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::uintmax_t kMostOfALog = 64U << 10U;  // bytes at its end
constexpr std::size_t kLinesOfALog = 400;
constexpr std::uintmax_t kMostOfAPicture = 4U << 20U;
constexpr std::uintmax_t kMostOfStates = 32U << 20U;

// The last `most` bytes of a file; "" when it cannot be read.
std::string end_of(const fs::path& file, std::uintmax_t most) {
  std::ifstream in(file, std::ios::binary | std::ios::ate);
  if (!in) return {};
  const auto size = static_cast<std::uintmax_t>(std::max<std::streamoff>(in.tellg(), 0));
  const auto take = std::min(size, most);
  in.seekg(static_cast<std::streamoff>(size - take));
  std::string text(take, '\0');
  in.read(text.data(), static_cast<std::streamsize>(take));
  text.resize(static_cast<std::size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return text;
}

// The whole of a file, "" when it is too big to be shown or cannot be read.
std::string whole_of(const fs::path& file, std::uintmax_t most) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error || size > most ? std::string() : end_of(file, most);
}

std::string last_of(const fs::path& file) {
  return base::last_lines(end_of(file, kMostOfALog), kLinesOfALog);
}

json parsed(const std::string& text) {
  auto value = json::parse(text, nullptr, false);
  return value.is_object() ? value : json::object();
}

// Of a record another kiln may have written: what is not there, or of another kind, is `fallback`.
template <typename T>
T get(const json& from, const char* name, T fallback) {
  const auto found = from.find(name);
  if (found == from.end()) return fallback;
  if constexpr (std::is_same_v<T, std::string>) {
    if (!found->is_string()) return fallback;
  } else {
    if (!found->is_number()) return fallback;
  }
  return found->template get<T>();
}

const json& list(const json& from, const char* name) {
  static const json none = json::array();
  const auto found = from.find(name);
  return found != from.end() && found->is_array() ? *found : none;
}

// Whether a state's name is a path, a package, a service or an account. Of others it may be a command or an
// address with a password in it.
bool plain_name(std::string_view function) {
  constexpr std::array<std::string_view, 5> kModules = {"file.", "group.", "pkg.", "service.", "user."};
  return std::any_of(kModules.begin(), kModules.end(),
                     [&](std::string_view module) { return function.starts_with(module); });
}

// What a salt_highstate step kept (salt.json). Of changes it takes the count: they may be diffs of private
// files.
Page::Highstate read_states(const std::string& step, const fs::path& file, bool reused) {
  Page::Highstate highstate;
  highstate.step = step;
  highstate.reused = reused;
  const auto text = whole_of(file, kMostOfStates);
  const json all = parsed(text);
  highstate.recorded = all.contains("states");
  for (const auto& one : list(all, "states")) {
    if (!one.is_object()) continue;
    Page::State state;
    state.id = get<std::string>(one, "id", "");
    state.function = get<std::string>(one, "function", "");
    state.sls = get<std::string>(one, "sls", "");
    state.seconds = get<double>(one, "seconds", 0);
    const auto result = one.find("result");
    state.failed = result == one.end() || (result->is_boolean() && !result->get<bool>());
    if (plain_name(state.function)) state.name = get<std::string>(one, "name", "");
    if (state.failed) state.comment = get<std::string>(one, "comment", "");
    if (const auto changes = one.find("changes"); changes != one.end()) state.changes = changes->size();
    highstate.states.push_back(std::move(state));
  }
  for (const auto& problem : list(all, "problems"))
    if (problem.is_string()) highstate.problems.push_back(problem.get<std::string>());
  return highstate;
}

std::vector<Page::Path> read_paths(const json& from, const char* name) {
  std::vector<Page::Path> paths;
  for (const auto& one : list(from, name)) {
    if (!one.is_object()) continue;
    Page::Path path;
    path.path = get<std::string>(one, "path", "");
    path.bytes = get<std::uint64_t>(one, "bytes", 0);
    for (const auto& inner : list(one, "below"))
      if (inner.is_object())
        path.below.push_back(
            {get<std::string>(inner, "path", ""), get<std::uint64_t>(inner, "bytes", 0), {}});
    paths.push_back(std::move(path));
  }
  return paths;
}

void add_contents(Page& page, const json& info) {
  if (info.contains("paths")) {
    page.sizes_recorded = true;
    page.paths = read_paths(info, "paths");
  }
  if (!info.contains("packages")) return;
  page.packages.clear();
  for (const auto& one : list(info, "packages"))
    if (one.is_object())
      page.packages.push_back({get<std::string>(one, "name", ""), get<std::string>(one, "version", ""),
                               get<std::uint64_t>(one, "size", 0)});
}

Page::Outcome outcome_of(const BuildReport& report) {
  if (report.refuted()) return Page::Outcome::refuted;
  return report.proven ? Page::Outcome::proven : Page::Outcome::unproven;
}

constexpr std::string_view kStates = "salt_highstate";

}  // namespace

Page collect(const Session& session, const BuildReport& report, const std::vector<cache::Layer>& layers,
             const std::vector<Made>& made, const std::vector<Proven>& proofs) {
  Page page;
  page.profile = session.profile.name;
  page.description = session.profile.description;
  page.kiln = session.options.kiln_version;
  page.outcome = outcome_of(report);
  page.when = session.host.now();
  page.seconds = std::max(0.0, session.host.elapsed() - session.begun);
  page.accel = report.accel;
  page.accel_why = report.accel_why;
  for (std::size_t i = 0; i < report.steps.size(); ++i) {
    const auto& row = report.steps[i];
    Page::Step step{
        row.id,  row.stage,   row.text, row.reused ? Page::Step::How::reused : Page::Step::How::ran,
        row.why, row.seconds, 0,        0};
    if (i < layers.size()) {
      const auto& layer = layers[i];
      step.made = layer.built;
      step.size = layer.size;
      const fs::path states = layer.folder / "salt.json";
      std::error_code ignored;
      if (row.stage == kStates || fs::exists(states, ignored))
        page.highstates.push_back(read_states(row.id, states, row.reused));
    } else if (i - layers.size() < made.size()) {
      const auto& [artifact, own] = made[i - layers.size()];
      const json info = parsed(artifact.info);
      step.made = get<std::int64_t>(info, "built", 0);
      add_contents(page, info);
      const auto sizes = info.find("virtual_size");
      for (const auto& file : artifact.list) {
        step.size += file.size;
        if (own) continue;  // a secret: reports are handed on
        const bool disk = sizes != info.end() && sizes->is_object();
        page.images.push_back(
            {file.name, file.sha256, file.size, disk ? get<std::uint64_t>(*sizes, file.name.c_str(), 0) : 0});
      }
    }
    page.steps.push_back(std::move(step));
  }
  for (const auto& proven : proofs) {
    page.proofs.push_back({proven.verdict, proven.reused, proven.when, last_of(proven.console),
                           whole_of(proven.screen, kMostOfAPicture)});
    if (page.accel.empty()) {
      page.accel = proven.verdict.accel;
      page.accel_why = proven.accel_why;
    }
  }
  page.memory = session.profile.proof.memory;
  page.cpus = session.profile.proof.cpus;
  std::set<int> ports;
  for (const auto& check : session.profile.proof.ports) ports.insert(check.port);
  page.ports.assign(ports.begin(), ports.end());
  return page;
}

void add_failure(Page& page, const plan::Plan& plan, const std::string& why, const Failure& failure,
                 const fs::path& evidence) {
  page.outcome = Page::Outcome::failed;
  for (std::size_t i = page.steps.size(); i < plan.steps.size(); ++i) {
    const auto& planned = plan.steps[i];
    Page::Step step{planned.id,
                    std::string(planned.type->name),
                    planned.stage->text(stage::Tense::will),
                    Page::Step::How::waiting,
                    "",
                    0,
                    0,
                    0};
    if (planned.id == failure.step) {
      step.how = Page::Step::How::failed;
      step.why = why;
      step.seconds = failure.seconds;
      std::error_code ignored;
      if (const auto states = evidence / "salt.json"; fs::exists(states, ignored))
        page.highstates.push_back(read_states(planned.id, states, false));
    }
    page.steps.push_back(std::move(step));
  }
  page.failures.push_back({failure.step, failure.error, last_of(evidence / "log"),
                           whole_of(evidence / "screenshot.png", kMostOfAPicture)});
}

}  // namespace kiln::engine
