#include "engine/lookup.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/digest.hpp"
#include "engine/engine.hpp"
#include "engine/proving.hpp"

namespace kiln::engine {

using stage::Kind;

namespace {

// When a mirror was asked for what is in the layer; nullopt when none was: a highstate that installed nothing
// depends on none.
std::optional<std::int64_t> asked_a_mirror(const cache::Layer& layer) {
  const auto info = nlohmann::json::parse(layer.info, nullptr, false);
  if (!info.is_object() || !info.contains("resolved") || info["resolved"].empty()) return std::nullopt;
  // Older than the layer when that was made offline.
  const auto at = info.find("resolved_at");
  return at != info.end() && at->is_number_integer() ? std::min(at->get<std::int64_t>(), layer.built)
                                                     : layer.built;
}

// What `plan --online` asks for again.
std::vector<plan::Release> served(const cache::Layer& layer) {
  std::vector<plan::Release> releases;
  const auto info = nlohmann::json::parse(layer.info, nullptr, false);
  const auto found = info.is_object() ? info.find("served") : info.end();
  if (found == info.end() || !found->is_object()) return releases;
  for (const auto& [url, sha256] : found->items())
    if (sha256.is_string()) releases.push_back({url, sha256.get<std::string>()});
  return releases;
}

constexpr std::int64_t kDay = 86'400;

std::string explain_miss(const std::string& text, const cache::Store::KeyRecord* before, bool parent_missed) {
  if (before == nullptr) return "never built";
  const auto was = plan::without_parent(before->text);
  const auto is = plan::without_parent(text);
  if (was == is) return parent_missed || before->text != text ? "parent missed" : "evicted";
  return plan::explain(was, is);
}

}  // namespace

std::string artifact_key(const std::string& profile, const std::string& key, const std::string& layer) {
  return base::sha256("artifact\n" + profile + "\n" + key + "\n" + layer + "\n");
}

std::optional<cache::Layer> find_layer(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                                       std::size_t index, const std::string& parent, cache::Store& store,
                                       const Rules& rules, std::string* why) {
  if (index >= rules.from) {
    if (why != nullptr) *why = "forced";
    return std::nullopt;
  }
  auto layer = store.find_layer(keys[index].key, parent, why);
  if (!layer || !plan.steps[index].type->resolves || !plan.profile.fresh || !rules.ages) return layer;
  const auto asked = asked_a_mirror(*layer);
  if (!asked) return layer;
  const std::int64_t age = rules.now - *asked;
  if (age < 0 || age / kDay < *plan.profile.fresh) return layer;  // below 0: the clock was set back since
  const std::int64_t days = age / kDay;
  if (why != nullptr)
    *why = days == 0 ? "resolved today" : fmt::format("resolved {} day{} ago", days, days == 1 ? "" : "s");
  return std::nullopt;
}

std::vector<Found> look_up(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                           cache::Store& store, const Rules& rules) {
  std::map<std::string, cache::Store::KeyRecord> before;
  for (auto& record : store.last_keys(plan.profile.name)) before[record.step] = record;
  std::vector<Found> all;
  std::string parent;
  bool missed = false;
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const auto& step = plan.steps[i];
    const auto& key = keys[i];
    const auto record = before.find(step.id);
    Found found;
    if (record != before.end()) found.last_seconds = record->second.seconds;
    if (step.type->reuse == stage::Reuse::never) {
      found.why = "never kept";
    } else if (step.type->kind == Kind::artifact) {
      if (i >= rules.from)
        found.why = missed ? "parent missed" : "forced";
      else if (!missed)
        found.artifact = store.find_artifact(artifact_key(plan.profile.name, key.key, parent));
      found.hit = found.artifact.has_value();
      if (found.hit) found.last_seconds = found.artifact->seconds;
    } else {
      if (!missed) {
        found.layer = find_layer(plan, keys, i, parent, store, rules, &found.why);
        found.hit = found.layer.has_value();
      } else if (store.known(key.key)) {
        found.why = "parent missed";
      }
      if (found.hit) {
        parent = found.layer->id;
        found.last_seconds = found.layer->seconds;
      }
    }
    if (!found.hit && found.why.empty())
      found.why = explain_miss(key.text, record == before.end() ? nullptr : &record->second, missed);
    if (!found.hit && step.type->kind != Kind::artifact) missed = true;
    all.push_back(std::move(found));
  }
  return all;
}

States states(const plan::Plan& plan, const std::vector<plan::StepKey>& keys, cache::Store* store,
              const std::string& from, std::int64_t now) {
  States all;
  std::vector<Found> found;
  if (store != nullptr)
    found = look_up(plan, keys, *store, {.from = plan::step_from(plan, from), .now = now});
  else
    found.assign(plan.steps.size(),
                 {.hit = false, .why = "never built", .last_seconds = -1, .layer = {}, .artifact = {}});
  for (const Found& one : found) {
    all.steps.push_back({.hit = one.hit,
                         .why = one.hit ? "" : one.why,
                         .last_seconds = one.last_seconds,
                         .releases = one.layer ? served(*one.layer) : std::vector<plan::Release>()});
  }
  for (std::size_t i = 0; i < plan.steps.size(); ++i) {
    const plan::PlannedStep& step = plan.steps[i];
    if (step.type->kind != stage::Kind::artifact || step.stage->ending() != proven_ending) continue;
    for (const profile::Firmware firmware : plan.profile.proof.firmware) {
      plan::StepState state;
      if (!found[i].artifact) {
        state.why = "export missed";
      } else {
        for (const auto& file : found[i].artifact->list) {
          if (!file.name.ends_with(proven_ending)) continue;
          const auto proof = find_proof(*store, plan.profile.proof, file.sha256, firmware, &state.why);
          state.hit = proof.has_value();
          if (proof) state.last_seconds = proof->verdict.seconds;
        }
      }
      all.proofs.push_back(
          {proof_id(firmware),
           proof_text(stage::Tense::will, plan.profile.name + std::string(proven_ending), firmware),
           std::move(state)});
    }
  }
  return all;
}

}  // namespace kiln::engine
