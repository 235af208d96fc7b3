#include "engine/exports.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "base/error.hpp"
#include "base/side_by_side.hpp"
#include "base/text.hpp"
#include "stage/observer.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using nlohmann::json;
using stage::Observer;
using stage::Reuse;

namespace {

json read_packages(image::Files& files) {
  json packages = json::array();
  constexpr auto kStatus = "/var/lib/dpkg/status";
  if (!files.find(kStatus)) return packages;
  for (const auto& one : parse_dpkg_status(files.read(kStatus)))
    packages.push_back({{"name", base::printable(one.name)},
                        {"version", base::printable(one.version)},
                        {"architecture", base::printable(one.architecture)},
                        {"size", one.size}});
  return packages;
}

// What lies in `directory` and takes at least `least` bytes, the biggest first.
std::vector<std::pair<std::string, std::uint64_t>> biggest(image::Files& files, const std::string& directory,
                                                           std::uint64_t least) {
  std::vector<std::pair<std::string, std::uint64_t>> all;
  for (const auto& name : files.list(directory)) {
    const std::string path = (directory == "/" ? "" : directory) + "/" + name;
    const auto stat = files.find(path);
    if (!stat || (stat->kind != 'd' && stat->kind != 'f')) continue;
    const auto bytes = stat->kind == 'd' ? files.used(path) : stat->size;
    if (bytes >= least) all.emplace_back(path, bytes);
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  return all;
}

// Where the bytes are, two levels deep: what is worth a line in a report.
json read_paths(image::Files& files) {
  constexpr std::uint64_t kWorthALine = 64ULL << 10;
  constexpr std::uint64_t kWorthALook = 8ULL << 20;
  json paths = json::array();
  for (const auto& [path, bytes] : biggest(files, "/", kWorthALine)) {
    json below = json::array();
    if (bytes >= kWorthALook)
      for (const auto& [inner, inner_bytes] : biggest(files, path, bytes / 50))
        below.push_back({{"path", base::printable(inner)}, {"bytes", inner_bytes}});
    paths.push_back({{"path", base::printable(path)}, {"bytes", bytes}, {"below", std::move(below)}});
  }
  return paths;
}

// What is in the layer that was exported, for image.json and the report.
std::string read_contents(Session& session, const cache::Layer& layer, const fs::path& scratch) {
  fs::create_directories(scratch);
  const bool native = session.native();
  const bool force_tcg = !native && session.accel().accel == image::Accel::tcg;
  const auto open = session.machines.open_files(layer.image(), scratch, true, native, force_tcg);
  json contents = {{"packages", read_packages(open->files())}, {"paths", read_paths(open->files())}};
  open->close();
  return contents.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What a step that runs beside others has for itself: where it tells of itself, and a store, since what is
// kept of that in memory is for one thread.
struct Lane {
  explicit Lane(Session& all)
      : observer(all.options.beside()),
        store(all.host, all.store.root()),
        session(all.host, all.profile, store, all.options, *observer, all.machines) {
    session.inputs = all.inputs;
  }
  std::unique_ptr<Observer> observer;
  cache::Store store;
  Session session;
};

class Exports {
 public:
  Exports(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
          const Rules& rules, const cache::Layer& layer)
      : session_(session), plan_(plan), keys_(keys), rules_(rules), layer_(layer) {}

  // One that the store has.
  Exported reused(std::size_t index, cache::Artifact artifact, Observer& observer) const {
    Exported done;
    done.row = report_row(plan_.steps[index], keys_[index]);
    done.row.reused = true;
    done.row.seconds = artifact.seconds;
    observer.step_ends(done.row.id, Observer::How::reused, artifact.seconds, "");
    done.made.artifact = std::move(artifact);
    return done;
  }

  Exported run(std::size_t index, const std::string& why, Session& session) {
    const auto& step = plan_.steps[index];
    host::check_interrupt();
    host::Fd lock;
    if (step.type->reuse == Reuse::cache) {
      const auto whole = artifact_key(plan_.profile.name, keys_[index].key, layer_.id);
      lock = lock_step(session, step, whole);
      // Somebody else may have made it meanwhile.
      if (index < rules_.from)
        if (auto artifact = session.store.find_artifact(whole))
          return reused(index, *std::move(artifact), session.observer);
    }
    Exported done;
    done.row = report_row(plan_.steps[index], keys_[index]);
    done.row.why = why;
    done.made = run_artifact_step(session, step, keys_[index], layer_,
                                  [this](Session& reader, const fs::path& scratch) {
                                    const std::lock_guard guard(mutex_);
                                    if (!contents_) contents_ = read_contents(reader, layer_, scratch);
                                    return *contents_;
                                  });
    done.row.seconds = done.made.artifact.seconds;
    return done;
  }

  Exported run_in_lane(std::size_t index, const std::string& why) {
    Lane lane(session_);
    lane.session.explain_failure = [this](const Failure& failure, const fs::path& evidence) {
      const std::lock_guard guard(mutex_);
      if (session_.explain_failure) session_.explain_failure(failure, evidence);
    };
    return run(index, why, lane.session);
  }

 private:
  Session& session_;
  const plan::Plan& plan_;
  const std::vector<plan::StepKey>& keys_;
  const Rules& rules_;
  const cache::Layer& layer_;
  std::mutex mutex_;                     // of what the lanes share
  std::optional<std::string> contents_;  // of the layer, read once
};

}  // namespace

void run_artifacts(Session& session, const plan::Plan& plan, const std::vector<plan::StepKey>& keys,
                   std::vector<Found>& found, std::size_t first, std::size_t end, const Rules& rules,
                   const cache::Layer& layer, Of which, std::vector<std::optional<Exported>>& all) {
  Exports exports(session, plan, keys, rules, layer);
  all.resize(end - first);
  std::vector<std::function<bool()>> lanes;
  std::vector<std::size_t> rest;
  const bool beside = which == Of::kept && session.options.beside && session.options.jobs > 1;
  for (std::size_t i = first; i < end; ++i) {
    if ((plan.steps[i].type->reuse == Reuse::never) != (which == Of::secret)) continue;
    if (found[i].artifact) {
      all[i - first] = exports.reused(i, *std::move(found[i].artifact), session.observer);
    } else if (beside) {
      lanes.emplace_back([&, i] {
        all[i - first] = exports.run_in_lane(i, found[i].why);
        return true;
      });
    } else {
      rest.push_back(i);
    }
  }
  base::side_by_side(lanes, session.options.jobs);
  for (const auto i : rest) all[i - first] = exports.run(i, found[i].why, session);
  // The lanes' stores are closed: what they used is in use here.
  for (const auto& one : all)
    if (one && !one->made.own) session.store.used(one->made.artifact.files.parent_path());
}

}  // namespace kiln::engine
