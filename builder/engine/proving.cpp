#include "engine/proving.hpp"

#include <algorithm>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "engine/proof_spec.hpp"
#include "engine/steps.hpp"
#include "host/atomic_file.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using nlohmann::json;
using stage::Observer;

std::optional<Proven> find_proof(const cache::Store& store, const profile::Proof& proof,
                                 const std::string& sha256, profile::Firmware firmware, std::string* why) {
  const auto missed = [&](const char* reason) -> std::optional<Proven> {
    if (why != nullptr) *why = reason;
    return std::nullopt;
  };
  const char* name = firmware_name(firmware);
  const auto text = store.find_verdict(sha256, name);
  if (!text) return missed("never proven");
  const json kept = json::parse(*text, nullptr, false);
  if (!kept.is_object() || !kept.contains("verdict")) return missed("never proven");
  try {
    if (kept.value("proof", "") != proof_digest(proof)) return missed("checks changed");
    Proven proven{proof::Verdict::from_json(kept.at("verdict").dump()),
                  store.verdict_file(sha256, name, "console.log"),
                  store.verdict_file(sha256, name, "screen.png"),
                  true,
                  kept.value("when", 0L),
                  kept.value("accel_why", "")};
    if (!proven.verdict.proven) return missed("never proven");
    return proven;
  } catch (const std::exception&) {
    return missed("proven by an older kiln");
  }
}

std::string proof_id(profile::Firmware firmware) {
  return fmt::format("proof-{}", firmware_name(firmware));
}

std::string proof_text(stage::Tense tense, const std::string& name, profile::Firmware firmware) {
  const bool will = tense == stage::Tense::will;
  return fmt::format("{} {} ({}) and {} it", will ? "Boot" : "Booting", name,
                     firmware == profile::Firmware::uefi ? "UEFI" : "BIOS", will ? "check" : "checking");
}

Proven prove(Session& session, const cache::Artifact& artifact, const cache::Artifact::File& file,
             profile::Firmware firmware) {
  const std::string name = firmware_name(firmware);
  const std::string id = proof_id(firmware);
  if (auto kept = find_proof(session.store, session.profile.proof, file.sha256, firmware)) {
    session.observer.step_ends(id, Observer::How::reused, kept->verdict.seconds, "proven before");
    return *std::move(kept);
  }
  const double begun = session.host.elapsed();
  session.observer.step_begins(id, proof_text(stage::Tense::does, file.name, firmware));
  const auto accel = session.accel();
  const fs::path folder = session.folder() / id;
  fs::create_directories(folder / "scratch");
  proof::BootOptions options;
  options.image = artifact.files / file.name;
  options.proof = session.profile.proof;
  options.firmware = firmware;
  options.accel = accel.accel;
  options.limits = image::limits_for(accel.accel);
  if (session.options.timeout.count() > 0) options.limits.boot = session.options.timeout;
  options.scratch = folder / "scratch";
  options.console = folder / "console.log";
  options.screen = folder / "screen.png";
  options.on_doing = [&](std::string_view what) { session.observer.doing(what); };

  Proven proven{{}, options.console, options.screen, false, session.host.now(), accel.why};
  try {
    proven.verdict = session.machines.prove(options);
  } catch (const base::Error& error) {
    if (!is_interrupt(error))
      session.observer.step_ends(id, Observer::How::failed, std::max(0.0, session.host.elapsed() - begun),
                                 "");
    throw;
  }
  proven.verdict.image_sha256 = file.sha256;
  if (proven.verdict.firmware.empty()) proven.verdict.firmware = name;
  std::size_t passed = 0;
  for (const auto& check : proven.verdict.checks) passed += check.ran && check.passed ? 1 : 0;
  const auto note = fmt::format("{} of {} checks passed", passed, proven.verdict.checks.size());
  session.observer.step_ends(id, proven.verdict.proven ? Observer::How::done : Observer::How::failed,
                             std::max(0.0, session.host.elapsed() - begun), note);
  if (proven.verdict.proven) {
    const auto keep = [&](const fs::path& from, const char* what) {
      std::error_code ignored;
      if (fs::is_regular_file(from, ignored))
        host::copy_sparse(from, session.store.verdict_file(file.sha256, name, what));
    };
    keep(proven.console, "console.log");
    keep(proven.screen, "screen.png");
    const json kept = {{"schema", 1},
                       {"proof", proof_digest(session.profile.proof)},
                       {"when", proven.when},
                       {"accel_why", proven.accel_why},
                       {"verdict", json::parse(proven.verdict.json())}};
    session.store.keep_verdict(file.sha256, name,
                               kept.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
  }
  return proven;
}

}  // namespace kiln::engine
