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

namespace {

std::optional<Proven> kept_proof(Session& session, const std::string& sha256, const std::string& firmware) {
  const auto text = session.store.find_verdict(sha256, firmware);
  if (!text) return std::nullopt;
  const json kept = json::parse(*text, nullptr, false);
  if (!kept.is_object() || kept.value("proof", "") != proof_digest(session.profile.proof) ||
      !kept.contains("verdict"))
    return std::nullopt;
  try {
    Proven proven{proof::Verdict::from_json(kept.at("verdict").dump()),
                  session.store.verdict_file(sha256, firmware, "console.log"),
                  session.store.verdict_file(sha256, firmware, "screen.png"),
                  true,
                  kept.value("when", 0L),
                  kept.value("accel_why", "")};
    if (!proven.verdict.proven) return std::nullopt;
    return proven;
  } catch (const std::exception&) {
    return std::nullopt;  // an older kiln's way to write it: prove again
  }
}

}  // namespace

Proven prove(Session& session, const cache::Artifact& artifact, const cache::Artifact::File& file,
             profile::Firmware firmware) {
  const std::string name = firmware_name(firmware);
  const std::string id = "proof-" + name;
  if (auto kept = kept_proof(session, file.sha256, name)) {
    session.observer.step_ends(id, Observer::How::reused, kept->verdict.seconds, "proven before");
    return *std::move(kept);
  }
  const double begun = session.host.elapsed();
  session.observer.step_begins(id, fmt::format("Booting {} ({}) and checking it", file.name,
                                               firmware == profile::Firmware::uefi ? "UEFI" : "BIOS"));
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
