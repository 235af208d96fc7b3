#include "plan/plan.hpp"

#include <algorithm>
#include <chrono>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "cli/verbs.hpp"
#include "host/download.hpp"

namespace kiln::cli {

namespace {

// What mirrors serve now beside what they served for a step's layer; nothing for a step without one.
struct Online {
  std::vector<std::string> same, moved, unknown;  // releases, such as bookworm-security

  [[nodiscard]] bool asked() const { return !same.empty() || !moved.empty() || !unknown.empty(); }
  [[nodiscard]] std::string text() const {
    std::string line;
    if (!moved.empty()) line = "moved: " + base::join(moved, ", ");
    if (!unknown.empty())
      line += (line.empty() ? "not reached: " : "; not reached: ") + base::join(unknown, ", ");
    return line.empty() && asked() ? "as recorded" : line;
  }
};

// "bookworm-security" of http://HOST/debian-security/dists/bookworm-security/InRelease; the URL of an archive
// of another form.
std::string release_of(const std::string& url) {
  constexpr std::string_view dists = "/dists/";
  const std::size_t begin = url.find(dists);
  const std::size_t end = url.rfind('/');
  if (begin == std::string::npos || end <= begin + dists.size()) return url;
  return url.substr(begin + dists.size(), end - begin - dists.size());
}

class Mirrors {
 public:
  explicit Mirrors(std::ostream& err) : err_(err) {}

  Online ask(const std::vector<plan::Release>& releases) {
    Online online;
    for (const plan::Release& one : releases) {
      const std::string now = digest(one.url);
      auto& list = now.empty() ? online.unknown : now == one.sha256 ? online.same : online.moved;
      list.push_back(release_of(one.url));
    }
    return online;
  }

 private:
  // Of what is served now, "" when it cannot be had; asked once, whatever number of steps came from it.
  std::string digest(const std::string& url) {
    const auto [found, fresh] = digests_.emplace(url, "");
    if (!fresh) return found->second;
    constexpr std::size_t most = 4U << 20U;  // a release file has some 150 KiB
    try {
      found->second = base::sha256(host::fetch_text(url, most, std::chrono::seconds(20)));
    } catch (const base::Error& error) {
      if (error.exit() != base::Exit::failed) throw;
      err_ << "note: " << base::printable(error.message()) << '\n';
    }
    return found->second;
  }

  std::ostream& err_;
  std::map<std::string, std::string> digests_;
};

nlohmann::ordered_json as_json(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                               const engine::States& states, const std::vector<Online>& online) {
  const auto seconds = [](const plan::StepState& state) {
    return state.last_seconds < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(state.last_seconds);
  };
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const plan::PlannedStep& step = plan.steps[i];
    const plan::StepState& state = states.steps[i];
    nlohmann::ordered_json entry = {{"id", step.id},
                                    {"stage", step.type->name},
                                    {"text", step.stage->text(stage::Tense::will)},
                                    {"hit", state.hit},
                                    {"why", state.why},
                                    {"key", keys[i].key},
                                    {"last_seconds", seconds(state)}};
    if (!online.empty()) {
      entry["mirrors"] = online[i].asked() ? nlohmann::ordered_json({{"moved", online[i].moved},
                                                                     {"as_recorded", online[i].same},
                                                                     {"not_reached", online[i].unknown}})
                                           : nlohmann::ordered_json();
    }
    steps.push_back(std::move(entry));
  }
  nlohmann::ordered_json proofs = nlohmann::ordered_json::array();
  for (const engine::ProofState& proof : states.proofs)
    proofs.push_back({{"id", proof.id},
                      {"text", proof.text},
                      {"hit", proof.state.hit},
                      {"why", proof.state.why},
                      {"last_seconds", seconds(proof.state)}});
  return {{"profile", plan.profile.name},
          {"file", plan.profile.file.string()},
          {"steps", std::move(steps)},
          {"proofs", std::move(proofs)}};
}

void print(std::ostream& out, const plan::Plan& plan, const engine::States& states,
           const std::vector<Online>& online) {
  struct Line {
    std::string id, text, what;
    const plan::StepState& state;
  };
  std::vector<Line> lines;
  lines.reserve(plan.steps.size() + states.proofs.size());
  for (std::size_t i = 0; i < plan.steps.size(); ++i)
    lines.push_back({plan.steps[i].id, plan.steps[i].stage->text(stage::Tense::will),
                     online.empty() ? "" : online[i].text(), states.steps[i]});
  for (const engine::ProofState& proof : states.proofs)
    lines.push_back({proof.id, proof.text, "", proof.state});

  std::size_t width = 4;
  std::size_t text_width = 0;
  for (const Line& line : lines) {
    width = std::max(width, line.id.size());
    text_width = std::max(text_width, line.text.size());
  }
  text_width = std::min<std::size_t>(text_width, 60);
  out << plan.profile.name << ": " << plan.profile.file.string() << '\n';
  for (const Line& one : lines) {
    const plan::StepState& state = one.state;
    const std::string seconds = state.last_seconds < 0 ? "" : base::human_seconds(state.last_seconds);
    std::string line =
        fmt::format("  {:<{}}  {:<4}  {:<{}}  {:>12}  {}", one.id, width, state.hit ? "hit" : "miss",
                    one.text, text_width, seconds, state.hit ? one.what : state.why);
    line.erase(line.find_last_not_of(' ') + 1);
    out << base::printable(line) << '\n';
  }
  std::size_t misses = 0;
  double expected = 0;
  bool known = true;
  for (const plan::StepState& state : states.steps) {
    if (state.hit) continue;
    ++misses;
    if (state.last_seconds < 0) known = false;
    if (state.last_seconds > 0) expected += state.last_seconds;
  }
  const auto boots = std::count_if(states.proofs.begin(), states.proofs.end(),
                                   [](const engine::ProofState& proof) { return !proof.state.hit; });
  out << fmt::format("  {} of {} steps to run", misses, plan.steps.size());
  if (misses > 0 && known) out << fmt::format(", about {}", base::human_seconds(expected));
  if (boots > 0) out << fmt::format(", and at most {} boot{}", boots, boots == 1 ? "" : "s");
  out << '\n';
  const auto moved =
      std::find_if(online.begin(), online.end(), [](const Online& one) { return !one.moved.empty(); });
  if (moved != online.end())
    out << base::printable(fmt::format("  to take what mirrors serve now: --from {}\n",
                                       plan.steps[static_cast<std::size_t>(moved - online.begin())].id));
}

}  // namespace

int plan(const Invocation& call) {
  std::vector<base::Error> errors;
  nlohmann::ordered_json profiles = nlohmann::ordered_json::array();
  const auto store = open_store(call);
  Mirrors mirrors(call.err);
  for (auto& [plan, keys] : load_all(call, errors)) {
    plan.steps.resize(plan::steps_until(plan, call.until));
    keys.resize(plan.steps.size());
    const engine::States states = look_up(call, plan, keys, store.get());
    std::vector<Online> online;
    for (std::size_t i = 0; call.online && i < states.steps.size(); ++i)
      online.push_back(mirrors.ask(states.steps[i].releases));
    if (call.json) {
      profiles.push_back(as_json(plan, keys, states, online));
    } else {
      print(call.out, plan, states, online);
    }
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (call.json) {
    call.out << nlohmann::ordered_json({{"ok", true}, {"profiles", std::move(profiles)}})
                    .dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
             << '\n';
  }
  return 0;
}

}  // namespace kiln::cli
