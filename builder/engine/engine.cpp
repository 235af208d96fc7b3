#include "engine/engine.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/core.h>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/proof_spec.hpp"
#include "engine/publish.hpp"
#include "engine/tools.hpp"
#include "engine/workspace.hpp"
#include "host/atomic_file.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using stage::Kind;
using stage::Observer;
using stage::Place;

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// ---- hit or miss

struct Found {
  bool hit = false;
  std::string why;
  double last_seconds = -1;
  std::optional<cache::Layer> layer;
  std::optional<cache::Artifact> artifact;
};

// An export is of a step's key and of the very bytes it read; its files are called after the profile.
std::string artifact_key(const std::string& profile, const std::string& key, const std::string& layer) {
  return base::sha256("artifact\n" + profile + "\n" + key + "\n" + layer + "\n");
}

std::string without_parent(const std::string& text) {
  std::string rest;
  for (const auto& line : base::lines(text))
    if (!line.starts_with("parent ")) rest += line + "\n";
  return rest;
}

std::string explain_miss(const std::string& text, const cache::Store::KeyRecord* before, bool parent_missed) {
  if (before == nullptr) return "never built";
  const auto was = without_parent(before->text);
  const auto is = without_parent(text);
  if (was == is) return parent_missed || before->text != text ? "parent missed" : "evicted";
  return plan::explain(was, is);
}

// From the base forward: a child is a hit only on the id of the layer just found.
std::vector<Found> walk(const plan::Plan& plan, const std::vector<plan::StepKey>& keys, cache::Store& store) {
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
      if (!missed) found.artifact = store.find_artifact(artifact_key(plan.profile.name, key.key, parent));
      found.hit = found.artifact.has_value();
      if (found.hit) found.last_seconds = found.artifact->seconds;
    } else {
      if (!missed) {
        found.layer = store.find_layer(key.key, parent, &found.why);
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

// ---- evidence

std::string utc(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return {text.data(), size};
}

bool is_interrupt(const base::Error& error) {
  return error.exit() == base::Exit::interrupted || error.exit() == base::Exit::terminated;
}

// Never throws: the failure itself is what people have to hear of.
std::string keep_evidence(Session& session, const std::string& step, const std::string& key_text,
                          const std::string& error, StepWorkspace* work) {
  try {
    const fs::path folder = session.folder() / "evidence";
    cache::remove_tree(folder);
    fs::create_directories(folder);
    if (work != nullptr) work->leave_evidence(folder);
    if (!key_text.empty()) host::write_file(folder / "key.txt", key_text, 0600);
    host::write_file(folder / "error.txt", error + "\n", 0600);
    const auto name = fmt::format("{}-{}-{}", utc(session.host.now()), session.profile.name, step);
    return session.store.keep_failure(name, folder).string();
  } catch (const std::exception& failure) {
    session.observer.warn(fmt::format("the evidence could not be kept: {}", failure.what()));
    return "";
  }
}

// What an error of a step is told beside its own words.
void tell(base::Error& error, Session& session, const plan::PlannedStep& step, const std::string& evidence) {
  std::error_code ignored;
  const auto space = fs::space(session.store.root(), ignored);
  if (!ignored && space.available < (64ULL << 20))
    error.during(fmt::format("the file system at {} is full: {} free, a step needs {}",
                             mount_point(session.store.root()).string(), base::human_size(space.available),
                             base::human_size(session.options.need_free)));
  error.during(evidence.empty() ? fmt::format("running step '{}'", step.id)
                                : fmt::format("running step '{}' (evidence: {})", step.id, evidence));
}

// ---- running a step

// Of two builders of one step one builds; the other waits, says for whom, and finds it then.
host::Fd lock_step(Session& session, const plan::PlannedStep& step, const std::string& key) {
  return session.store.lock_key(key, [&](const std::string& who) {
    session.observer.note(fmt::format("step '{}' is being built by {}; waiting for it", step.id,
                                      who.empty() ? "another kiln" : who));
  });
}

json tool_versions(Session& session, const plan::PlannedStep& step) {
  json tools = json::object();
  for (const auto program : step.type->tools) {
    const std::string name(program);
    tools[name] = session.host.tool_version(name);
  }
  return tools;
}

// Runs `deed` and, when it throws, keeps what explains it.
template <typename Deed>
auto guarded(Session& session, const plan::PlannedStep& step, const plan::StepKey& key, StepWorkspace& work,
             double begun, Deed deed) {
  const auto failed = [&](const char* what) {
    auto evidence = keep_evidence(session, step.id, key.text, what, &work);
    session.observer.step_ends(step.id, Observer::How::failed, std::max(0.0, session.host.elapsed() - begun),
                               evidence);
    return evidence;
  };
  try {
    return deed();
  } catch (base::Error& error) {
    if (!is_interrupt(error)) tell(error, session, step, failed(error.what()));
    throw;
  } catch (const std::exception& failure) {
    base::Error error(failure.what());
    tell(error, session, step, failed(failure.what()));
    throw error;
  }
}

cache::Layer run_image_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                            const std::optional<cache::Layer>& parent) {
  require_space(session.store.root(), session.options.need_free, fmt::format("step '{}'", step.id));
  const double begun = session.host.elapsed();
  session.observer.step_begins(step.id, step.stage->text(stage::Tense::does));
  auto entry = session.store.begin();
  // Ends before `entry` does: nothing is mounted in a folder that is removed.
  StepWorkspace work(session, {entry.folder(), entry.image(), {}, parent ? parent->id : ""});
  return guarded(session, step, key, work, begun, [&] {
    if (parent)
      session.machines.make_overlay(entry.image(), fmt::format("../../layers/{}/image.qcow2", parent->id),
                                    session.machines.virtual_size(parent->image()));
    step.stage->run(work);
    work.close();
    host::check_interrupt();
    session.observer.doing("keeping the layer");
    if (fs::exists(entry.image())) session.machines.check_image(entry.image());
    const double seconds = std::max(0.0, session.host.elapsed() - begun);
    const json info = {{"step", step.id},
                       {"stage", step.type->name},
                       {"profile", session.profile.name},
                       {"kiln", session.options.kiln_version},
                       {"tools", tool_versions(session, step)},
                       {"resolved", work.resolved_lines()}};
    auto layer = entry.commit(key.key, parent ? parent->id : "", seconds, info.dump());
    session.observer.step_ends(step.id, Observer::How::done, seconds, base::human_size(layer.size));
    return layer;
  });
}

json read_packages(Session& session, const cache::Layer& layer, const fs::path& scratch) {
  fs::create_directories(scratch);
  const bool native = session.native();
  const bool force_tcg = !native && session.accel().accel == image::Accel::tcg;
  const auto open = session.machines.open_files(layer.image(), scratch, true, native, force_tcg);
  json packages = json::array();
  constexpr auto kStatus = "/var/lib/dpkg/status";
  if (open->files().find(kStatus)) {
    for (const auto& one : parse_dpkg_status(open->files().read(kStatus)))
      packages.push_back({{"name", one.name}, {"version", one.version}, {"architecture", one.architecture}});
  }
  open->close();
  return packages;
}

// Where an artifact step left its files; the entry lives when they are not in the store.
struct Made {
  cache::Artifact artifact;
  std::shared_ptr<cache::Entry> own;
};

Made run_artifact_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                       const cache::Layer& layer) {
  require_space(session.store.root(), session.options.need_free, fmt::format("step '{}'", step.id));
  const double begun = session.host.elapsed();
  session.observer.step_begins(step.id, step.stage->text(stage::Tense::does));
  auto entry = session.store.begin();
  const fs::path out = entry.folder() / "out";
  fs::create_directories(out);
  StepWorkspace work(session, {entry.folder(), layer.image(), out, layer.id});
  return guarded(session, step, key, work, begun, [&] {
    step.stage->run(work);
    work.close();
    host::check_interrupt();
    const bool kept = step.type->reuse == stage::Reuse::cache;
    json sizes = json::object();
    std::uint64_t bytes = 0;
    for (const auto& item : fs::recursive_directory_iterator(out)) {
      if (!item.is_regular_file()) continue;
      bytes += item.file_size();
      if (item.path().extension() == ".qcow2")
        sizes[item.path().lexically_relative(out).string()] = session.machines.virtual_size(item.path());
    }
    if (bytes == 0) throw base::Error("the step left no file");
    session.observer.doing("keeping the files");
    const double seconds = std::max(0.0, session.host.elapsed() - begun);
    Made made;
    if (kept) {
      const json info = {{"step", step.id},
                         {"stage", step.type->name},
                         {"layer", layer.id},
                         {"virtual_size", sizes},
                         {"tools", tool_versions(session, step)},
                         {"packages", read_packages(session, layer, entry.folder() / "packages")}};
      made.artifact = session.store.keep_artifact(artifact_key(session.profile.name, key.key, layer.id), out,
                                                  seconds, info.dump());
    } else {
      made.artifact.files = out;
      made.artifact.seconds = seconds;
      for (const auto& item : fs::recursive_directory_iterator(out)) {
        if (!item.is_regular_file()) continue;
        made.artifact.list.push_back(
            {item.path().lexically_relative(out).string(), base::sha256_file(item.path()), item.file_size()});
      }
      made.own = std::make_shared<cache::Entry>(std::move(entry));
    }
    session.observer.step_ends(step.id, Observer::How::done, seconds, base::human_size(bytes));
    return made;
  });
}

// ---- proof

struct Proven {
  proof::Verdict verdict;
  fs::path console, screen;
  bool reused = false;
};

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
                  session.store.verdict_file(sha256, firmware, "screen.png"), true};
    if (!proven.verdict.proven) return std::nullopt;
    return proven;
  } catch (const std::exception&) {
    return std::nullopt;  // an older kiln's way to write it: prove again
  }
}

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

  Proven proven{{}, options.console, options.screen, false};
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
    session.store.keep_verdict(file.sha256, name,
                               dump({{"schema", 1},
                                     {"proof", proof_digest(session.profile.proof)},
                                     {"verdict", json::parse(proven.verdict.json())}}));
  }
  return proven;
}

// ---- publishing

struct Result {
  Made made;
};

// The file people read (and `kiln boot` too) about an image. Holds nothing that differs between two builds
// with nothing to do.
std::string image_json(const Session& session, const BuildReport& report, const std::vector<Result>& results,
                       const std::vector<cache::Layer>& layers, bool proven) {
  json artifacts = json::array();
  json image = json::object();
  json packages = json::array();
  json tools = json::object();
  for (const auto& result : results) {
    const json info =
        result.made.artifact.info.empty() ? json::object() : json::parse(result.made.artifact.info);
    if (info.contains("packages")) packages = info.at("packages");
    if (info.contains("tools")) tools.update(info.at("tools"));
    for (const auto& file : result.made.artifact.list) {
      json one = {{"name", file.name}, {"sha256", file.sha256}, {"size", file.size}};
      if (info.contains("virtual_size") && info.at("virtual_size").contains(file.name))
        one["virtual_size"] = info.at("virtual_size").at(file.name);
      if (image.empty() && file.name.ends_with(".qcow2")) image = one;
      artifacts.push_back(std::move(one));
    }
  }
  json resolved = json::array();
  for (const auto& layer : layers) {
    const json info = json::parse(layer.info);
    if (info.contains("tools")) tools.update(info.at("tools"));
    if (info.contains("resolved"))
      for (const auto& line : info.at("resolved")) resolved.push_back(line);
  }
  json steps = json::array();
  for (const auto& step : report.steps) {
    json one = {{"id", step.id}, {"stage", step.stage}, {"key", step.key}};
    if (!step.layer.empty()) one["layer"] = step.layer;
    steps.push_back(std::move(one));
  }
  json verdicts = json::array();
  for (const auto& verdict : report.verdicts) verdicts.push_back(json::parse(verdict.json()));
  return dump({{"schema", 1},
               {"kiln", session.options.kiln_version},
               {"profile", session.profile.name},
               {"description", session.profile.description},
               {"verdict", proven ? "proven" : "unproven"},
               {"image", image},
               {"artifacts", artifacts},
               {"steps", steps},
               {"verdicts", verdicts},
               {"proof", json::parse(proof_json(session.profile.proof))},
               {"tools", tools},
               {"resolved", resolved},
               {"packages", packages}});
}

void publish_reports(Publisher& publisher, const std::string& suite, const std::vector<Proven>& proofs,
                     const std::vector<proof::Verdict>& verdicts) {
  if (proofs.empty()) {
    // Reports of an older image say nothing about this one.
    for (const auto* name : {"junit.xml", "console.log", "screen.png"}) publisher.retract(name);
    return;
  }
  std::set<std::string> used;
  const auto put = [&](const fs::path& from, const std::string& stem, const std::string& extension,
                       const std::string& firmware) {
    std::string name = stem + extension;
    if (used.contains(name)) name = fmt::format("{}-{}{}", stem, firmware, extension);
    for (int n = 2; used.contains(name); ++n) name = fmt::format("{}-{}-{}{}", stem, firmware, n, extension);
    used.insert(name);
    std::error_code ignored;
    if (fs::is_regular_file(from, ignored))
      publisher.file(from, name, base::sha256_file(from));
    else
      publisher.retract(name);
  };
  for (const auto& proven : proofs) {
    put(proven.console, "console", ".log", proven.verdict.firmware);
    put(proven.screen, "screen", ".png", proven.verdict.firmware);
  }
  publisher.text("junit.xml", proof::junit(suite, verdicts));
}

void publish(Session& session, BuildReport& report, const std::vector<Result>& results,
             const std::vector<cache::Layer>& layers, const std::vector<Proven>& proofs) {
  Publisher publisher(session.host, session.options.output);
  report.output = publisher.folder();
  if (report.refuted()) {
    publish_reports(publisher, session.profile.name, proofs, report.verdicts);
    return;
  }
  struct File {
    fs::path from;
    std::string name, sha256;
    bool there;
  };
  std::vector<File> files;
  bool changes = false;
  for (const auto& result : results) {
    for (const auto& file : result.made.artifact.list) {
      const bool there = publisher.has(file.name, file.sha256, file.size);
      changes = changes || !there;
      files.push_back({result.made.artifact.files / file.name, file.name, file.sha256, there});
    }
  }
  if (changes) publisher.retract("image.json");
  for (const auto& file : files) {
    host::check_interrupt();
    if (!file.there) {
      session.observer.doing(fmt::format("publishing {}", file.name));
      publisher.file(file.from, file.name);
    }
    report.artifacts.push_back(publisher.folder() / file.name);
  }
  publish_reports(publisher, session.profile.name, proofs, report.verdicts);
  publisher.text("image.json", image_json(session, report, results, layers, report.proven));
}

// ---- before the first step

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
    if (type.place == Place::guest || (type.place == Place::native_or_guest && !session.native()))
      tools.emplace("qemu-system-x86_64");
    if (session.native()) tools.emplace("qemu-storage-daemon");
    if (session.native() && type.place == Place::native_or_guest)
      tools.insert({"unshare", "nsenter", "hostname"});
  }
  if (artifacts && ran && session.options.boot)
    tools.insert({"qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen"});
  return tools;
}

std::uint64_t default_limit(const fs::path& root) {
  std::error_code ignored;
  const auto space = fs::space(root, ignored);
  constexpr std::uint64_t kMost = 20ULL << 30;
  return ignored ? kMost : std::min<std::uint64_t>(kMost, space.capacity / 4);
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

}  // namespace

// ---- the engine

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

std::vector<plan::StepState> states(const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                                    cache::Store& store) {
  std::vector<plan::StepState> all;
  for (auto& found : walk(plan, keys, store)) {
    plan::StepState state;
    state.hit = found.hit;
    if (!found.hit) state.why = std::move(found.why);
    state.last_seconds = found.last_seconds;
    all.push_back(std::move(state));
  }
  return all;
}

BuildReport build(const host::Host& host, const plan::Plan& plan, cache::Store& store,
                  const BuildOptions& options, Observer& observer) {
  const auto machines = real_machines(host, store.root() / "machine");
  return build(host, plan, plan::make_keys(plan, host), store, options, observer, *machines);
}

BuildReport build(const host::Host& host, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                  cache::Store& store, const BuildOptions& options, Observer& observer, Machines& machines) {
  const double begun = host.elapsed();
  Session session(host, plan.profile, store, options, observer, machines);
  BuildReport report;
  report.profile = plan.profile.name;

  std::size_t end = plan.steps.size();
  if (!options.until.empty()) {
    std::vector<std::string> ids;
    ids.reserve(plan.steps.size());
    for (const auto& step : plan.steps) ids.push_back(step.id);
    const auto at = std::find(ids.begin(), ids.end(), options.until);
    if (at == ids.end()) {
      const auto guess = base::did_you_mean(options.until, ids);
      throw base::Error(fmt::format("--until: no step '{}' in profile {}", options.until, plan.profile.name),
                        base::Exit::usage)
          .hint(guess.empty() ? fmt::format("its steps are {}", base::join(ids, ", "))
                              : fmt::format("did you mean '{}'?", guess));
    }
    end = static_cast<std::size_t>(at - ids.begin()) + 1;
  }

  auto found = walk(plan, keys, store);
  const bool runs = std::any_of(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(end),
                                [](const Found& one) { return !one.hit; });
  if (runs) {
    store.require_writable();
    const auto tools = needed_tools(session, plan, found, end);
    require_tools(host, tools);
    if (tools.contains("ssh-keygen"))  // there will be a proof
      for (const auto firmware : plan.profile.proof.firmware) proof::require_firmware(firmware);
    for (std::size_t i = 0; i < end; ++i)
      if (!found[i].hit) session.inputs.take(keys[i].inputs, session.folder() / "inputs");
  }

  // Base and image steps.
  std::vector<cache::Layer> layers;
  std::size_t next = 0;
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
      layer = store.find_layer(key.key, parent ? parent->id : "");
    }
    if (layer) {
      row.reused = true;
      row.why.clear();
      observer.step_ends(step.id, Observer::How::reused, layer->seconds, "");
    } else {
      layer = run_image_step(session, step, key, parent);
    }
    row.seconds = layer->seconds;
    row.layer = layer->id;
    layers.push_back(*std::move(layer));
    report.steps.push_back(std::move(row));
  }

  // Artifacts of the final layer.
  std::vector<Result> results;
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
    Result result;
    host::Fd lock;
    if (!found[next].artifact && step.type->reuse == stage::Reuse::cache) {
      const auto whole = artifact_key(plan.profile.name, key.key, layers.back().id);
      lock = lock_step(session, step, whole);
      found[next].artifact = store.find_artifact(whole);
    }
    if (found[next].artifact) {
      result.made.artifact = *std::move(found[next].artifact);
      row.reused = true;
      observer.step_ends(step.id, Observer::How::reused, result.made.artifact.seconds, "");
    } else {
      result.made = run_artifact_step(session, step, key, layers.back());
    }
    row.seconds = result.made.artifact.seconds;
    results.push_back(std::move(result));
    report.steps.push_back(std::move(row));
  }
  if (runs) keep_keys(session, plan, keys, report);

  // Proof of each disk, then publishing.
  std::vector<Proven> proofs;
  if (options.boot) {
    for (const auto& result : results)
      for (const auto& file : result.made.artifact.list) {
        if (!file.name.ends_with(".qcow2")) continue;
        for (const auto firmware : plan.profile.proof.firmware)
          proofs.push_back(prove(session, result.made.artifact, file, firmware));
      }
  }
  for (const auto& proven : proofs) report.verdicts.push_back(proven.verdict);
  report.proven = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                 [](const Proven& one) { return one.verdict.proven; });
  report.proof_reused = !proofs.empty() && std::all_of(proofs.begin(), proofs.end(),
                                                       [](const Proven& one) { return one.reused; });
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
    host::write_file(folder / "junit.xml", proof::junit(plan.profile.name, report.verdicts), 0600);
    report.failure =
        store.keep_failure(fmt::format("{}-{}-proof", utc(host.now()), plan.profile.name), folder);
  }
  if (const auto& accel = session.last_accel()) {
    report.accel = accel->accel == image::Accel::kvm ? "kvm" : "tcg";
    report.accel_why = accel->why;
  }
  if (runs) {
    const auto freed =
        store.trim(options.store_limit != 0 ? options.store_limit : default_limit(store.root()));
    if (freed > 0)
      observer.note(fmt::format("{} removed from the store, the oldest first", base::human_size(freed)));
  }
  report.seconds = std::max(0.0, host.elapsed() - begun);
  return report;
}

}  // namespace kiln::engine
