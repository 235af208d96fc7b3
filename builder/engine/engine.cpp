#include "engine/engine.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/collect.hpp"
#include "engine/exports.hpp"
#include "engine/lookup.hpp"
#include "engine/proving.hpp"
#include "engine/publish.hpp"
#include "engine/report.hpp"
#include "engine/results.hpp"
#include "engine/steps.hpp"
#include "engine/tools.hpp"
#include "engine/workspace.hpp"
#include "host/atomic_file.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using stage::Kind;
using stage::Observer;
using stage::Place;

namespace {

std::set<std::string> needed_tools(const Session& session, const plan::Plan& plan,
                                   const std::vector<Found>& found, std::size_t end) {
  std::set<std::string> tools;
  bool artifacts = false;
  bool ran = false;
  for (std::size_t i = 0; i < end; ++i) {
    const auto& type = *plan.steps[i].type;
    if (type.kind == Kind::artifact) artifacts = true;
    if (found[i].hit) continue;
    ran = ran || type.reuse == stage::Reuse::cache;  // what is never kept is not proven
    for (const auto tool : type.tools) tools.emplace(tool);
    for (const auto tool : plan.steps[i].stage->asked_tools()) tools.emplace(tool);
    tools.emplace("qemu-img");
    if (type.kind != Kind::image) continue;
    if (uses_guest(session, plan.steps[i])) tools.emplace("qemu-system-x86_64");
    if (session.native()) tools.emplace("qemu-storage-daemon");
    if (session.native() && type.place == Place::native_or_guest)
      tools.insert({"unshare", "nsenter", "hostname"});
  }
  if (artifacts && ran && session.options.boot) tools.merge(proof::tools());
  return tools;
}

// By step, what it took.
std::map<std::string, double> seconds_of(const BuildReport& report,
                                         const std::vector<std::optional<Exported>>& exported) {
  std::map<std::string, double> seconds;
  for (const auto& row : report.steps) seconds[row.id] = row.seconds;
  for (const auto& one : exported)
    if (one) seconds[one->row.id] = one->row.seconds;
  return seconds;
}

void keep_keys(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
               const std::map<std::string, double>& seconds) {
  const auto before = session.store.last_keys(session.profile.name);
  std::vector<cache::Store::KeyRecord> now;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].type->reuse == stage::Reuse::never) continue;
    if (const auto took = seconds.find(plan.steps[i].id); took != seconds.end()) {
      now.push_back({plan.steps[i].id, keys[i].key, keys[i].text, took->second});
      continue;
    }
    // Behind --until nothing was built; what is known of it stays.
    for (const auto& record : before)
      if (record.step == plan.steps[i].id) now.push_back(record);
  }
  const bool same =
      std::equal(before.begin(), before.end(), now.begin(), now.end(),
                 [](const auto& a, const auto& b) { return a.step == b.step && a.key == b.key; });
  if (!same) session.store.keep_keys(session.profile.name, now);
}

void note_accel(const Session& session, BuildReport& report) {
  const auto& accel = session.last_accel();
  if (!accel) return;
  report.accel = accel->accel == image::Accel::kvm ? "kvm" : "tcg";
  report.accel_why = accel->why;
}

struct Stacked {
  StepReport row;
  cache::Layer layer;
};

// The base or image step `index` on top of `layers`: as `found`, as somebody else has built it meanwhile, or
// run.
Stacked image_step(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                   Found& found, std::size_t index, const std::vector<cache::Layer>& layers,
                   const Rules& rules, bool goes_on) {
  const auto& step = plan.steps[index];
  const auto& key = keys[index];
  StepReport row = report_row(step, key);
  std::optional<cache::Layer> parent;
  if (!layers.empty()) parent = layers.back();
  auto layer = std::move(found.layer);
  host::Fd lock;
  if (!layer && step.type->reuse == stage::Reuse::cache) {
    lock = lock_step(session, step, key.key);
    layer = find_layer(plan, keys, index, parent ? parent->id : "", session.store, rules);
  }
  if (layer) {
    session.handover.reset();
    row.reused = true;
    session.observer.step_ends(step.id, Observer::How::reused, layer->seconds, "");
  } else {
    row.why = found.why;
    layer = run_image_step(session, step, key, parent, goes_on, index >= rules.from);
  }
  row.seconds = layer->seconds;
  row.layer = layer->id;
  return {std::move(row), *std::move(layer)};
}

// Of each disk that was exported so far, with each firmware.
std::vector<Proven> prove_all(Session& session, const std::vector<std::optional<Exported>>& exported) {
  std::vector<Proven> proofs;
  for (const auto& one : exported) {
    if (!one) continue;
    for (const auto& file : one->made.artifact.list) {
      if (!file.name.ends_with(proven_ending)) continue;
      for (const auto firmware : session.profile.proof.firmware)
        proofs.push_back(prove(session, one->made.artifact, file, firmware));
    }
  }
  return proofs;
}

// What explains a proof that failed, below the store's failed/.
void keep_refutation(Session& session, BuildReport& report, const std::vector<Proven>& proofs) {
  std::string failed;
  for (const auto& proven : proofs)
    for (const auto& check : proven.verdict.checks)
      if (!check.passed || !check.ran)
        failed +=
            fmt::format("{}: {} {}: {}\n", proven.verdict.firmware, check.kind, check.name, check.detail);
  const fs::path folder = session.folder() / "proof-evidence";
  fs::create_directories(folder);
  std::error_code ignored;
  for (const auto& proven : proofs) {
    fs::copy_file(proven.console, folder / ("console-" + proven.verdict.firmware), ignored);
    fs::copy_file(proven.screen, folder / ("screenshot-" + proven.verdict.firmware + ".png"), ignored);
  }
  host::write_file(folder / "error.txt", failed, 0600);
  fs::copy_file(report.output / "report.html", folder / "report.html", ignored);
  host::write_file(folder / "junit.xml", proof::junit(session.profile.name, report.verdicts), 0600);
  report.failure = session.store.keep_failure(failure_name(session, "proof"), folder);
}

}  // namespace

std::string BuildReport::json() const {
  nlohmann::json all = {{"profile", profile},           {"proven", proven},
                        {"proof_reused", proof_reused}, {"accel", accel},
                        {"accel_why", accel_why},       {"seconds", seconds},
                        {"output", output.string()},    {"failure", failure.string()}};
  all["steps"] = nlohmann::json::array();
  for (const auto& step : steps)
    all["steps"].push_back({{"id", step.id},
                            {"stage", step.stage},
                            {"text", step.text},
                            {"reused", step.reused},
                            {"why", step.why},
                            {"seconds", step.seconds},
                            {"layer", step.layer},
                            {"key", step.key}});
  all["artifacts"] = nlohmann::json::array();
  for (const auto& artifact : artifacts) all["artifacts"].push_back(artifact.string());
  all["verdicts"] = nlohmann::json::array();
  for (const auto& verdict : verdicts) all["verdicts"].push_back(nlohmann::json::parse(verdict.json()));
  return all.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
}

host::Host limited(const host::Host& host, std::chrono::seconds timeout) {
  host::Host limited = host;
  limited.runner = host::limited_runner(
      host.runner, timeout.count() > 0 ? timeout : image::limits_for(image::Accel::tcg).step);
  return limited;
}

BuildReport build(const host::Host& host, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                  cache::Store& store, const BuildOptions& options, Observer& observer, Machines& machines) {
  Session session(host, plan.profile, store, options, observer, machines);
  BuildReport report;
  report.profile = plan.profile.name;

  const std::size_t end = plan::steps_until(plan, options.until);
  const Rules rules{plan::step_from(plan, options.from), host.now(), !options.offline};
  auto found = look_up(plan, keys, store, rules);
  const bool runs = std::any_of(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(end),
                                [](const Found& one) { return !one.hit; });
  if (std::any_of(plan.steps.begin(), plan.steps.begin() + static_cast<std::ptrdiff_t>(end),
                  [](const auto& step) { return step.type->kind == Kind::artifact; }))
    require_output(options.output);
  if (runs) {
    store.require_writable();
    const auto tools = needed_tools(session, plan, found, end);
    require_tools(host, tools);
    if (tools.contains("ssh-keygen"))  // there will be a proof
      for (const auto firmware : plan.profile.proof.firmware) proof::require_firmware(firmware);
    // Before the first byte is written.
    const auto first = static_cast<std::size_t>(
        std::find_if(found.begin(), found.end(), [](const Found& one) { return !one.hit; }) - found.begin());
    require_space(store.root(), options.need_free, fmt::format("step '{}'", plan.steps[first].id));
    for (std::size_t i = 0; i < end; ++i)
      if (!found[i].hit) session.inputs.take(keys[i].inputs, session.folder() / "inputs");
  }

  // Base and image steps.
  std::vector<cache::Layer> layers;
  std::vector<Made> results;  // of artifact steps
  std::size_t next = 0;
  session.explain_failure = [&](const Failure& failure, const fs::path& evidence) {
    try {
      note_accel(session, report);
      auto page = collect(session, report, layers, results, {});
      const auto at = plan::steps_until(plan, failure.step) - 1;
      add_failure(page, plan, found[at].why, failure, evidence);
      host::write_file(evidence / "report.html", html(page), 0600);
    } catch (const std::exception& error) {
      observer.warn(fmt::format("the failure has no report: {}", error.what()));
    }
  };
  for (; next < end && plan.steps[next].type->kind != Kind::artifact; ++next) {
    host::check_interrupt();
    const bool goes_on = next + 1 < end && !found[next + 1].hit && uses_guest(session, plan.steps[next + 1]);
    auto [row, layer] = image_step(session, plan, keys, found[next], next, layers, rules, goes_on);
    layers.push_back(std::move(layer));
    report.steps.push_back(std::move(row));
  }

  std::vector<std::optional<Exported>> exported;
  const auto run_exports = [&](Of which) {
    if (next == end) return;
    if (layers.empty()) throw base::Error(fmt::format("step '{}' has no image to read", plan.steps[next].id));
    run_artifacts(session, plan, keys, found, next, end, rules, layers.back(), which, exported);
  };
  run_exports(Of::kept);
  if (runs) keep_keys(session, plan, keys, seconds_of(report, exported));

  const auto proofs = options.boot ? prove_all(session, exported) : std::vector<Proven>();
  for (const auto& proven : proofs) report.verdicts.push_back(proven.verdict);
  report.proven = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                 [](const Proven& one) { return one.verdict.proven; });
  // As late as can be, and for no image that does not boot: secrets lie about until they are published.
  if (!report.refuted()) run_exports(Of::secret);
  for (auto& one : exported) {
    if (!one) continue;
    report.steps.push_back(std::move(one->row));
    results.push_back(std::move(one->made));
  }
  report.proof_reused = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                       [](const Proven& one) { return one.reused; });
  note_accel(session, report);
  if (!results.empty()) publish(session, report, results, layers, proofs);
  if (report.refuted()) keep_refutation(session, report, proofs);
  if (runs) {
    const auto freed = store.trim(options.store_limit.value_or(cache::default_limit(store.root()))).freed;
    if (freed > 0)
      observer.note(fmt::format("{} removed from the store, the oldest first", base::human_size(freed)));
  }
  report.seconds = std::max(0.0, host.elapsed() - session.begun);
  return report;
}

}  // namespace kiln::engine
