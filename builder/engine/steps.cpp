#include "engine/steps.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "base/digest.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "engine/lookup.hpp"
#include "engine/publish.hpp"
#include "engine/tools.hpp"
#include "host/atomic_file.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using nlohmann::json;
using stage::Observer;

namespace {

std::string utc(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  const auto size = std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return {text.data(), size};
}

// Never throws: the failure itself is what people have to hear of.
std::string keep_evidence(Session& session, const std::string& key_text, StepWorkspace* work,
                          const Failure& failure) {
  try {
    const fs::path folder = session.folder() / "evidence";
    cache::remove_tree(folder);
    fs::create_directories(folder);
    if (work != nullptr) work->leave_evidence(folder);
    if (!key_text.empty()) host::write_file(folder / "key.txt", key_text, 0600);
    host::write_file(folder / "error.txt", failure.error + "\n", 0600);
    if (session.explain_failure) session.explain_failure(failure, folder);
    return session.store.keep_failure(failure_name(session, failure.step), folder).string();
  } catch (const std::exception& error) {
    session.observer.warn(fmt::format("the evidence could not be kept: {}", error.what()));
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
    const double seconds = std::max(0.0, session.host.elapsed() - begun);
    auto evidence = keep_evidence(session, key.text, &work, {step.id, what, seconds});
    session.observer.step_ends(step.id, Observer::How::failed, seconds, evidence);
    return evidence;
  };
  const auto explain = [&](base::Error& error, const char* what) {
    tell(error, session, step, failed(what));
    if (session.options.on_failure) session.options.on_failure(error, work.open_system());
  };
  try {
    return deed();
  } catch (base::Error& error) {
    if (!is_interrupt(error)) explain(error, error.what());
    throw;
  } catch (const std::exception& failure) {
    base::Error error(failure.what());
    explain(error, failure.what());
    throw error;
  }
}

}  // namespace

bool is_interrupt(const base::Error& error) {
  return error.exit() == base::Exit::interrupted || error.exit() == base::Exit::terminated;
}

std::string failure_name(const Session& session, const std::string& where) {
  return fmt::format("{}-{}-{}", utc(session.host.now()), session.profile.name, where);
}

host::Fd lock_step(Session& session, const plan::PlannedStep& step, const std::string& key) {
  return session.store.lock_key(key, [&](const std::string& who) {
    session.observer.note(fmt::format("step '{}' is being built by {}; waiting for it", step.id,
                                      who.empty() ? "another kiln" : who));
  });
}

StepReport report_row(const plan::PlannedStep& step, const plan::StepKey& key) {
  StepReport row;
  row.id = step.id;
  row.stage = step.type->name;
  row.text = step.stage->text(stage::Tense::will);
  row.key = key.key;
  return row;
}

bool uses_guest(const Session& session, const plan::PlannedStep& step) {
  if (step.type->kind != stage::Kind::image) return false;
  return step.type->place == stage::Place::guest ||
         (step.type->place == stage::Place::native_or_guest && !session.native());
}

cache::Layer run_image_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                            const std::optional<cache::Layer>& parent, bool goes_on, bool forced) {
  require_space(session.store.root(), session.options.need_free, fmt::format("step '{}'", step.id));
  const double begun = session.host.elapsed();
  session.observer.step_begins(step.id, step.stage->text(stage::Tense::does));
  auto given = std::exchange(session.handover, std::nullopt);
  if (given && (!parent || given->parent != parent->id)) given.reset();
  auto entry = given ? std::move(given->entry) : session.store.begin();
  // Ends before `entry` does: nothing is mounted in a folder that is removed.
  StepWorkspace work(session, {entry.folder(), entry.image(), {}, parent ? parent->id : "", forced},
                     given ? std::move(given->booted) : nullptr);
  return guarded(session, step, key, work, begun, [&] {
    if (parent && !given)
      session.machines.make_overlay(entry.image(), cache::backing_of(parent->id),
                                    session.machines.virtual_size(parent->image()));
    step.stage->run(work);
    std::optional<Handover> next;
    if (goes_on && session.options.settled && work.has_guest()) {
      next.emplace(Handover{session.store.begin(), entry.id(), nullptr});
      session.machines.make_overlay(next->entry.image(), cache::backing_of(entry.id()),
                                    session.machines.virtual_size(entry.image()));
      next->booted = work.cut(next->entry.image());
    }
    if (!next || !next->booted) {
      next.reset();
      work.close();
    }
    host::check_interrupt();
    session.observer.doing("keeping the layer");
    if (fs::exists(entry.image())) session.machines.check_image(entry.image());
    const double seconds = std::max(0.0, session.host.elapsed() - begun);
    json info = {{"step", step.id},
                 {"stage", step.type->name},
                 {"profile", session.profile.name},
                 {"kiln", session.options.kiln_version},
                 {"tools", tool_versions(session, step)},
                 {"resolved", work.resolved_lines()}};
    if (!work.served_releases().empty()) info["served"] = work.served_releases();
    if (const auto then = work.resolved_then()) info["resolved_at"] = *then;
    auto layer = entry.commit(key.key, parent ? parent->id : "", seconds, info.dump());
    if (next) session.handover.emplace(*std::move(next));
    session.observer.step_ends(step.id, Observer::How::done, seconds, base::human_size(layer.size));
    return layer;
  });
}

Made run_artifact_step(Session& session, const plan::PlannedStep& step, const plan::StepKey& key,
                       const cache::Layer& layer, const ReadContents& contents) {
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
      json info = {{"step", step.id},
                   {"stage", step.type->name},
                   {"profile", session.profile.name},
                   {"layer", layer.id},
                   {"virtual_size", sizes},
                   {"kiln", session.options.kiln_version},
                   {"tools", tool_versions(session, step)}};
      info.update(json::parse(contents(session, entry.folder() / "packages")));
      made.artifact = session.store.keep_artifact(artifact_key(session.profile.name, key.key, layer.id), out,
                                                  seconds, info.dump());
    } else {
      made.artifact.files = out;
      made.artifact.seconds = seconds;
      for (const auto& item : fs::recursive_directory_iterator(out)) {
        if (!item.is_regular_file()) continue;
        fs::permissions(item.path(),
                        fs::perms::owner_read | fs::perms::owner_write);  // whoever copies it keeps that
        made.artifact.list.push_back(
            {item.path().lexically_relative(out).string(), base::sha256_file(item.path()), item.file_size()});
      }
      made.own = std::make_shared<cache::Entry>(std::move(entry));
    }
    session.observer.step_ends(step.id, Observer::How::done, seconds, base::human_size(bytes));
    return made;
  });
}

}  // namespace kiln::engine
