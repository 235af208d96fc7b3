#include "engine/engine.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/collect.hpp"
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
    ran = true;
    for (const auto tool : type.tools) tools.emplace(tool);
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

void keep_keys(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
               const BuildReport& report) {
  const auto before = session.store.last_keys(session.profile.name);
  std::vector<cache::Store::KeyRecord> now;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    if (plan.steps[i].type->reuse == stage::Reuse::never) continue;
    if (i < report.steps.size()) {
      now.push_back({plan.steps[i].id, keys[i].key, keys[i].text, report.steps[i].seconds});
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
      add_failure(page, plan, found[next].why, failure, evidence);
      host::write_file(evidence / "report.html", html(page), 0600);
    } catch (const std::exception& error) {
      observer.warn(fmt::format("the failure has no report: {}", error.what()));
    }
  };
  for (; next < end && plan.steps[next].type->kind != Kind::artifact; ++next) {
    const auto& step = plan.steps[next];
    const auto& key = keys[next];
    host::check_interrupt();
    StepReport row{step.id,
                   std::string(step.type->name),
                   step.stage->text(stage::Tense::will),
                   false,
                   found[next].why,
                   0,
                   "",
                   key.key};
    std::optional<cache::Layer> parent;
    if (!layers.empty()) parent = layers.back();
    auto layer = std::move(found[next].layer);
    host::Fd lock;
    if (!layer && step.type->reuse == stage::Reuse::cache) {
      lock = lock_step(session, step, key.key);
      // Somebody else may have built it meanwhile.
      layer = find_layer(plan, keys, next, parent ? parent->id : "", store, rules);
    }
    if (layer) {
      session.handover.reset();
      row.reused = true;
      row.why.clear();
      observer.step_ends(step.id, Observer::How::reused, layer->seconds, "");
    } else {
      const bool goes_on =
          next + 1 < end && !found[next + 1].hit && uses_guest(session, plan.steps[next + 1]);
      layer = run_image_step(session, step, key, parent, goes_on);
    }
    row.seconds = layer->seconds;
    row.layer = layer->id;
    layers.push_back(*std::move(layer));
    report.steps.push_back(std::move(row));
  }

  // Artifacts of the final layer.
  for (; next < end; ++next) {
    const auto& step = plan.steps[next];
    const auto& key = keys[next];
    host::check_interrupt();
    if (layers.empty()) throw base::Error(fmt::format("step '{}' has no image to read", step.id));
    StepReport row{step.id,
                   std::string(step.type->name),
                   step.stage->text(stage::Tense::will),
                   false,
                   found[next].why,
                   0,
                   "",
                   key.key};
    Made made;
    host::Fd lock;
    if (!found[next].artifact && step.type->reuse == stage::Reuse::cache) {
      const auto whole = artifact_key(plan.profile.name, key.key, layers.back().id);
      lock = lock_step(session, step, whole);
      if (next < rules.from) found[next].artifact = store.find_artifact(whole);
    }
    if (found[next].artifact) {
      made.artifact = *std::move(found[next].artifact);
      row.reused = true;
      observer.step_ends(step.id, Observer::How::reused, made.artifact.seconds, "");
    } else {
      made = run_artifact_step(session, step, key, layers.back());
    }
    row.seconds = made.artifact.seconds;
    results.push_back(std::move(made));
    report.steps.push_back(std::move(row));
  }
  if (runs) keep_keys(session, plan, keys, report);

  // Proof of each disk, then publishing.
  std::vector<Proven> proofs;
  if (options.boot) {
    for (const auto& result : results)
      for (const auto& file : result.artifact.list) {
        if (!file.name.ends_with(".qcow2")) continue;
        for (const auto firmware : plan.profile.proof.firmware)
          proofs.push_back(prove(session, result.artifact, file, firmware));
      }
  }
  for (const auto& proven : proofs) report.verdicts.push_back(proven.verdict);
  report.proven = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                 [](const Proven& one) { return one.verdict.proven; });
  report.proof_reused = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                       [](const Proven& one) { return one.reused; });
  note_accel(session, report);
  if (!results.empty()) publish(session, report, results, layers, proofs);
  if (report.refuted()) {
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
    host::write_file(folder / "junit.xml", proof::junit(plan.profile.name, report.verdicts), 0600);
    report.failure = store.keep_failure(failure_name(session, "proof"), folder);
  }
  if (runs) {
    const auto freed = store.trim(options.store_limit.value_or(cache::default_limit(store.root()))).freed;
    if (freed > 0)
      observer.note(fmt::format("{} removed from the store, the oldest first", base::human_size(freed)));
  }
  report.seconds = std::max(0.0, host.elapsed() - session.begun);
  return report;
}

}  // namespace kiln::engine
