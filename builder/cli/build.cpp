#include <algorithm>
#include <fmt/core.h>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/side_by_side.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "cache/store.hpp"
#include "cli/jobs.hpp"
#include "cli/verbs.hpp"
#include "engine/engine.hpp"
#include "engine/machines.hpp"
#include "engine/proof_spec.hpp"
#include "host/atomic_file.hpp"
#include "plan/plan.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;

std::string size_of(const fs::path& file) {
  std::error_code error;
  const auto size = fs::file_size(file, error);
  return error ? "" : base::human_size(size);
}

void print_table(std::ostream& out, const engine::BuildReport& report) {
  std::size_t width = 4;
  for (const auto& step : report.steps) width = std::max(width, step.id.size());
  for (const auto& step : report.steps) {
    const auto note = step.reused        ? std::string("reused")
                      : step.why.empty() ? std::string("built")
                                         : "built: " + step.why;
    out << base::printable(
               fmt::format("  {:<{}}  {:>12}  {}", step.id, width, base::human_seconds(step.seconds), note))
        << '\n';
  }
  for (const auto& verdict : report.verdicts)
    out << fmt::format("  {:<{}}  {:>12}  {}\n", "proof-" + verdict.firmware, width,
                       base::human_seconds(verdict.seconds), report.proof_reused ? "reused" : "booted");
}

void print_verdict(std::ostream& out, const proof::Verdict& verdict) {
  std::map<std::string, std::pair<int, int>> kinds;  // passed, all
  for (const auto& check : verdict.checks) {
    auto& [passed, all] = kinds[check.kind];
    ++all;
    if (check.ran && check.passed) ++passed;
  }
  std::vector<std::string> counts;
  counts.reserve(kinds.size());
  for (const auto& [kind, count] : kinds)
    counts.push_back(fmt::format("{} {} of {}", kind, count.first, count.second));
  out << fmt::format("  {} by {}: {}{}\n", verdict.proven ? "proven" : "NOT PROVEN",
                     verdict.firmware == "uefi" ? "UEFI" : "BIOS", base::join(counts, ", "),
                     verdict.inside ? "" : " (from outside only)");
  for (const auto& check : verdict.checks) {
    if (check.ran && check.passed) continue;
    out << base::printable(fmt::format("    {} {}: {}", check.kind, check.name,
                                       check.ran ? check.detail : "did not run: " + check.detail))
        << '\n';
  }
}

void print(const Invocation& call, const engine::BuildReport& report) {
  std::ostream& out = call.out;
  out << fmt::format("{}: {} in {}\n", report.profile, report.refuted() ? "built, but not proven" : "done",
                     base::human_seconds(report.seconds));
  print_table(out, report);
  for (const auto& verdict : report.verdicts) print_verdict(out, verdict);
  if (report.verdicts.empty() && !report.artifacts.empty()) out << "  unproven: it was not booted\n";
  for (const auto& artifact : report.artifacts) {
    out << fmt::format("  {}  {}\n", artifact.string(), size_of(artifact));
    if (artifact.extension() != ".qcow2") continue;
    std::vector<std::string> words = {call.program, "boot", artifact.string()};
    if (call.store_given) words.insert(words.end(), {"--store", call.store.string()});
    const std::string boot = base::shell_line(words);
    out << fmt::format("  prove it again: {}\n", boot);
    out << fmt::format("  look inside, nothing is written: {} --shell\n", boot);
  }
  if (!report.output.empty()) out << fmt::format("  reports: {}\n", report.output.string());
  if (!report.failure.empty()) out << fmt::format("  evidence: {}\n", report.failure.string());
}

// Both would be published to one folder, the later over the earlier.
base::Error same_name(const profile::Profile& profile, const fs::path& other) {
  if (profile.file == other) {
    return base::Error(fmt::format("profile '{}' is named twice", profile.name), base::Exit::usage)
        .at({profile.file.string(), 0, 0})
        .hint("name it once");
  }
  return base::Error(fmt::format("'{}' is the name of {} too", profile.name, other.string()),
                     base::Exit::usage)
      .at({profile.file.string(), 0, 0})
      .hint("give one of them another 'name:', or build them in two calls with --output");
}

engine::BuildOptions options_for(const Invocation& call, const plan::Plan& plan, bool alone) {
  engine::BuildOptions options;
  if (call.output.empty())
    options.output = fs::path("out") / plan.profile.name;
  else
    options.output = alone ? call.output : call.output / plan.profile.name;
  options.until = call.until;
  options.from = forced_from(call, plan);
  options.accel = call.accel;
  options.timeout = call.timeout;
  options.boot = call.boot;
  options.offline = call.offline;
  options.native = call.native;
  options.settled = call.settled;
  options.kiln_version = call.version;
  options.store_limit = call.max_size;
  return options;
}

// Builds at once; of one alone, its exports at once, which need no guest.
std::size_t jobs_here(const Invocation& call, const std::vector<Loaded>& all) {
  if (call.on_error_shell) return 1;  // there is one terminal
  const auto cores = std::thread::hardware_concurrency();
  if (all.size() == 1) {
    const auto& steps = all.front().plan.steps;
    const auto exports = std::count_if(steps.begin(), steps.end(), [](const plan::PlannedStep& step) {
      return step.type->kind == stage::Kind::artifact;
    });
    return jobs_for(static_cast<std::size_t>(exports), call.jobs, cores, 0, 0);
  }
  constexpr auto kMeminfo = "/proc/meminfo";
  std::uint64_t guest = 0;
  for (const auto& [plan, keys] : all)
    guest = std::max({guest, plan.profile.guest.memory, call.boot ? plan.profile.proof.memory : 0});
  std::error_code ignored;
  const auto memory = fs::exists(kMeminfo, ignored) ? available_memory(host::read_file(kMeminfo)) : 0;
  return jobs_for(all.size(), call.jobs, cores, memory, guest);
}

int build_all(const Invocation& call, Progress& progress) {
  // Every profile is read, with its inputs, before the first is built: a mistake in the last one shows now.
  std::vector<base::Error> errors;
  const std::vector<Loaded> all = load_all(call, errors);
  std::map<std::string, fs::path> files;
  for (const auto& [plan, keys] : all) {
    const auto [there, fresh] = files.emplace(plan.profile.name, plan.profile.file);
    if (!fresh) errors.push_back(same_name(plan.profile, there->second));
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));

  const host::Host host = engine::limited(call.host, call.timeout);
  const std::size_t jobs = jobs_here(call, all);
  std::mutex telling;   // of progress
  std::mutex counting;  // of reports
  std::vector<std::optional<engine::BuildReport>> reports(all.size());
  const auto done = [&] {
    nlohmann::json builds = nlohmann::json::array();
    for (const auto& report : reports)
      if (report) builds.push_back(nlohmann::json::parse(report->json()));
    return builds;
  };
  std::vector<std::function<bool()>> deeds;
  deeds.reserve(all.size());
  for (std::size_t i = 0; i < all.size(); ++i)
    deeds.emplace_back([&, i] {
      const auto& [plan, keys] = all[i];
      const auto tell = [&] {
        return observer_of(progress, telling, all.size() == 1 ? "" : plan.profile.name);
      };
      const auto observer = tell();
      // A store for each: what is kept of it in memory is for one thread.
      cache::Store store(host, call.store);
      const auto machines = engine::real_machines(host, store.root() / "machine");
      auto options = options_for(call, plan, all.size() == 1);
      // Of several builds each exports one after another: `jobs` of them run already.
      if (all.size() == 1) options.jobs = jobs;
      options.beside = tell;
      if (call.on_error_shell)
        options.on_failure = [&](const base::Error& failure, image::System* open) {
          offer_shell(call, *observer, failure, open);
        };
      auto report = engine::build(host, plan, keys, store, options, *observer, *machines);
      const bool fine = !report.refuted();
      if (call.on_error_shell && !fine && !report.steps.empty())
        observer->note(
            fmt::format("no shell is opened: the image was built, its proof failed; look inside with: {}",
                        base::shell_line(std::vector<std::string>{
                            call.program, "shell",
                            fmt::format("{}@{}", plan.profile.file.string(), report.steps.back().id)})));
      const std::lock_guard guard(counting);
      reports[i] = std::move(report);
      if (call.json)
        call.finished = done().dump();
      else
        print(call, *reports[i]);
      return fine;
    });
  const bool ok = all.size() == 1 ? deeds.front()() : base::side_by_side(deeds, jobs);
  if (call.json) {
    const nlohmann::json result = {{"ok", ok}, {"builds", done()}};
    call.out << result.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
  }
  call.out.flush();
  // Of several builds the first that was refuted, with its name; an error of one is thrown above.
  for (const auto& report : reports)
    if (report && report->refuted()) {
      progress.failed(fmt::format("{} is not proven: {}", report->profile, proof::failure(report->verdicts)));
      break;
    }
  return static_cast<int>(ok ? base::Exit::done : base::Exit::failed);
}

}  // namespace

int build(const Invocation& call) {
  return with_progress(call, [&](Progress& progress) { return build_all(call, progress); });
}

}  // namespace kiln::cli
