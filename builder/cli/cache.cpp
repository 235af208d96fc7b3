// The store of layers for people: what is in it, trimming, verifying, where a layer lies.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"
#include "cache/contents.hpp"
#include "cache/store.hpp"
#include "cli/verbs.hpp"
#include "engine/lookup.hpp"

namespace kiln::cli {
namespace {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;
using cache::Item;
using nlohmann::ordered_json;
using Kind = Item::Kind;

constexpr std::size_t kShortId = 8;
constexpr std::int64_t kNano = 1'000'000'000;

std::string short_id(const std::string& id) {
  return id.substr(0, kShortId);
}

// "just now", "3 h ago"; "" for a time that is not known.
std::string ago(std::int64_t now, std::int64_t then) {
  if (then <= 0) return "";
  const std::int64_t seconds = std::max<std::int64_t>(0, now - then);
  if (seconds < 60) return "just now";
  if (seconds < 3600) return fmt::format("{} min ago", seconds / 60);
  if (seconds < 48L * 3600) return fmt::format("{} h ago", seconds / 3600);
  return fmt::format("{} days ago", seconds / (24L * 3600));
}

std::string count_of(std::size_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// Cut to so many columns. The texts are names of steps and profiles.
std::string cut(const std::string& text, std::size_t columns) {
  return text.size() <= columns ? text : text.substr(0, columns - 1) + "…";
}

void print_json(const Invocation& call, const ordered_json& object) {
  call.out << object.dump(2, ' ', false, ordered_json::error_handler_t::replace) << '\n';
}

// ---- ls

struct Total {
  std::string_view name;
  std::set<Kind> kinds;
  bool always;  // told also when there is none
};
const std::array<Total, 6> kTotals = {{{"layers", {Kind::layer}, true},
                                       {"exports", {Kind::artifact}, true},
                                       {"downloads", {Kind::blob, Kind::package}, true},
                                       {"evidence", {Kind::failure, Kind::damaged}, true},
                                       {"verdicts", {Kind::verdict}, false},
                                       {"settled guests", {Kind::settled}, false}}};

struct Listed {
  std::vector<Item> items;
  std::map<std::string, std::set<std::string>> profiles;  // by key: whose newest build has it
  std::map<std::string, std::vector<const Item*>> below;  // by layer's id, "" for those that stand on nothing
  std::set<std::string> layers;
};

Listed list(const cache::Store& store) {
  Listed all;
  all.items = cache::contents(store.root());
  for (const auto& profile : store.profiles())
    for (const auto& record : store.last_keys(profile)) all.profiles[record.key].insert(profile);
  for (const auto& item : all.items)
    if (item.kind == Kind::layer) all.layers.insert(item.id());
  for (const auto& item : all.items) {
    if (item.kind != Kind::layer && item.kind != Kind::artifact) continue;
    if (!item.profile.empty()) all.profiles[item.key].insert(item.profile);
    all.below[all.layers.contains(item.parent) ? item.parent : ""].push_back(&item);
  }
  for (auto& [parent, items] : all.below)
    std::stable_sort(items.begin(), items.end(), [](const Item* a, const Item* b) {
      // Exports first: what comes after them is another layer with all that stands on it.
      return std::pair(a->kind == Kind::layer, a->built) < std::pair(b->kind == Kind::layer, b->built);
    });
  return all;
}

struct Row {
  const Item* item;
  std::size_t depth;
};

// Each below what it stands on.
std::vector<Row> rows_of(const Listed& all) {
  std::vector<Row> rows;
  std::vector<Row> open;
  const auto push = [&](const std::string& parent, std::size_t depth) {
    const auto found = all.below.find(parent);
    if (found == all.below.end()) return;
    for (auto at = found->second.rbegin(); at != found->second.rend(); ++at) open.push_back({*at, depth});
  };
  push("", 0);
  while (!open.empty()) {
    const Row row = open.back();
    open.pop_back();
    rows.push_back(row);
    if (row.item->kind == Kind::layer) push(row.item->id(), row.depth + 1);
  }
  return rows;
}

std::string name_of(const Listed& all, const Item& item) {
  std::string name = item.step.empty() ? std::string(word(item.kind)) : item.step;
  if (!item.stage.empty() && item.stage != item.step) name += fmt::format(" ({})", item.stage);
  if (!item.sound) name += ", damaged";
  if (!item.parent.empty() && !all.layers.contains(item.parent)) name += ", parent gone";
  return base::printable(name);
}

std::string profiles_of(const Listed& all, const Item& item) {
  const auto found = all.profiles.find(item.key);
  if (found == all.profiles.end()) return "";
  const std::vector<std::string> names(found->second.begin(), found->second.end());
  return base::printable(base::join(names, ", "));
}

void print_rows(const Invocation& call, const Listed& all) {
  constexpr std::size_t kNameColumns = 34;
  constexpr std::size_t kNameAndProfileColumns = 50;  // of 100 in all
  const auto rows = rows_of(all);
  if (rows.empty()) return;
  // A long chain is indented less, so that its names stay whole.
  std::size_t step = 2;
  const auto widest = [&] {
    std::size_t most = 4;
    for (const auto& row : rows) most = std::max(most, step * row.depth + name_of(all, *row.item).size());
    return most;
  };
  std::size_t width = widest();
  if (width > kNameColumns) {
    step = 1;
    width = std::min(widest(), kNameColumns);
  }
  std::size_t profile_width = 7;
  for (const auto& row : rows) profile_width = std::max(profile_width, profiles_of(all, *row.item).size());
  profile_width = std::min(profile_width, kNameAndProfileColumns - width);
  const auto line = [&](std::string_view id, std::string_view name, std::string_view profile,
                        std::string_view size, std::string_view built, std::string_view used) {
    std::string text = fmt::format("{:<{}}  {:<{}}  {:<{}}  {:>8}  {:<12}  {}", id, kShortId, name, width,
                                   profile, profile_width, size, built, used);
    text.erase(text.find_last_not_of(' ') + 1);
    call.out << text << '\n';
  };
  line("id", "step", "profile", "size", "built", "last used");
  for (const auto& [item, depth] : rows) {
    const std::string name = std::string(std::min(step * depth, kNameColumns / 2), ' ') + name_of(all, *item);
    line(short_id(item->id()), cut(name, width), cut(profiles_of(all, *item), profile_width),
         base::human_size(item->size), ago(call.host.now(), item->built),
         ago(call.host.now(), item->used / kNano));
  }
  call.out << '\n';
}

int ls(const Invocation& call) {
  const auto store = open_store(call);
  const Listed all = store ? list(*store) : Listed();
  const std::uint64_t cap = cache::default_limit(call.store);
  std::uint64_t in_all = 0;
  std::map<std::string_view, std::pair<std::size_t, std::uint64_t>> totals;
  for (const auto& item : all.items) {
    in_all += item.size;
    for (const auto& total : kTotals) {
      if (!total.kinds.contains(item.kind)) continue;
      ++totals[total.name].first;
      totals[total.name].second += item.size;
    }
  }
  if (call.json) {
    ordered_json object = {
        {"ok", true}, {"store", call.store.string()}, {"max_size", cap}, {"bytes", in_all}};
    object["layers"] = ordered_json::array();
    object["exports"] = ordered_json::array();
    for (const auto& row : rows_of(all)) {
      const Item& item = *row.item;
      const auto found = all.profiles.find(item.key);
      const bool layer = item.kind == Kind::layer;
      object[layer ? "layers" : "exports"].push_back(
          {{"id", item.id()},
           {layer ? "parent" : "layer", item.parent},
           {"key", item.key},
           {"step", item.step},
           {"stage", item.stage},
           {"profiles", found == all.profiles.end() ? std::set<std::string>() : found->second},
           {"bytes", item.size},
           {"built", item.built},
           {"used", item.used / kNano}});
    }
    object["totals"] = ordered_json::object();
    for (const auto& total : kTotals)
      object["totals"][total.name] = {{"count", totals[total.name].first},
                                      {"bytes", totals[total.name].second}};
    print_json(call, object);
    return 0;
  }
  print_rows(call, all);
  for (const auto& total : kTotals) {
    const auto& [count, size] = totals[total.name];
    if (count > 0 || total.always)
      call.out << fmt::format("{:<14}  {:>6}  {:>8}\n", total.name, count, base::human_size(size));
  }
  call.out << fmt::format("{:<14}  {:>6}  {:>8} of at most {}, in {}\n", "all", "", base::human_size(in_all),
                          base::human_size(cap), base::printable(call.store.string()));
  return 0;
}

// ---- gc

ordered_json as_json(const Item& item) {
  return {{"kind", word(item.kind)}, {"id", item.id()}, {"step", item.step}, {"bytes", item.size}};
}

int gc(const Invocation& call) {
  const std::uint64_t limit = call.max_size.value_or(cache::default_limit(call.store));
  const auto store = open_store(call);
  cache::Trimmed done;
  if (store) {
    store->require_writable();
    done = store->trim(limit);
  }
  if (!done.alone) {
    std::vector<std::string> again = {call.program, "cache", "gc"};
    if (call.max_size) again.insert(again.end(), {"--max-size", std::to_string(*call.max_size)});
    if (call.store_given) again.insert(again.end(), {"--store", call.store.string()});
    std::vector<std::string> pids;
    pids.reserve(done.users.size());
    for (const int pid : done.users) pids.push_back(std::to_string(pid));
    throw Error(fmt::format("the store {} is in use by {}, and nothing was removed", call.store.string(),
                            pids.empty()       ? "another kiln"
                            : pids.size() == 1 ? "process " + pids.front()
                                               : "processes " + base::join(pids, ", ")))
        .hint("wait until it has ended, or end it, then run: " + base::shell_line(again));
  }
  if (call.json) {
    ordered_json removed = ordered_json::array();
    for (const auto& item : done.removed) removed.push_back(as_json(item));
    print_json(call, {{"ok", true},
                      {"max_size", limit},
                      {"removed", std::move(removed)},
                      {"freed", done.freed},
                      {"bytes", done.left}});
    return 0;
  }
  // A package or two thousand: those are counted.
  std::size_t packages = 0;
  std::uint64_t package_bytes = 0;
  for (const auto& item : done.removed) {
    if (item.kind == Kind::package) {
      ++packages;
      package_bytes += item.size;
      continue;
    }
    const std::string name = item.kind == Kind::layer || item.kind == Kind::artifact
                                 ? fmt::format("{}  {}", short_id(item.id()), item.step)
                                 : item.id();
    call.out << base::printable(fmt::format("removed  {:<13}  {:>8}  {}", word(item.kind),
                                            base::human_size(item.size), name))
             << '\n';
  }
  if (packages > 0)
    call.out << fmt::format("removed  {:<13}  {:>8}  {}\n", "packages", base::human_size(package_bytes),
                            packages);
  call.out << fmt::format("{} freed, {} left of at most {}\n", base::human_size(done.freed),
                          base::human_size(done.left), base::human_size(limit));
  return 0;
}

// ---- verify

// Tells people what is read, a few times a second at most.
class Reading {
 public:
  Reading(const host::Host& host, stage::Observer& observer) : host_(host), observer_(observer) {}
  void operator()(const Item& item, std::uint64_t done, std::uint64_t total) {
    if (host_.elapsed() - told_ < 0.2) return;
    told_ = host_.elapsed();
    observer_.doing(fmt::format("{} of {}  {} {} {}", base::human_size(done), base::human_size(total),
                                word(item.kind), short_id(item.id()), item.step));
  }

 private:
  const host::Host& host_;
  stage::Observer& observer_;
  double told_ = -1;
};

cache::Verified read_all(const Invocation& call, stage::Observer& observer) {
  const auto store = open_store(call);
  if (!store) return {};
  const double begun = call.host.elapsed();
  observer.step_begins("verify", fmt::format("Reading all of {}", call.store.string()));
  Reading progress(call.host, observer);
  auto found = store->verify(std::ref(progress));
  observer.step_ends("verify", stage::Observer::How::done, std::max(0.0, call.host.elapsed() - begun),
                     base::human_size(found.bytes));
  return found;
}

int verify(const Invocation& call) {
  cache::Verified found;
  with_progress(call, [&](stage::Observer& observer) {
    found = read_all(call, observer);
    return 0;
  });
  const bool ok = found.damaged.empty();
  if (call.json) {
    ordered_json damaged = ordered_json::array();
    for (const auto& [item, file, what, kept] : found.damaged)
      damaged.push_back({{"kind", word(item.kind)},
                         {"id", item.id()},
                         {"step", item.step},
                         {"path", file.string()},
                         {"what", what},
                         {"kept", kept.string()}});
    print_json(call, {{"ok", ok},
                      {"layers", found.read[Kind::layer]},
                      {"exports", found.read[Kind::artifact]},
                      {"blobs", found.read[Kind::blob]},
                      {"bytes", found.bytes},
                      {"damaged", std::move(damaged)}});
    return static_cast<int>(ok ? Exit::done : Exit::failed);
  }
  for (const auto& [item, file, what, kept] : found.damaged) {
    call.out << base::printable(fmt::format("damaged: {} {}{}\n  {}: {}\n  {}", word(item.kind), item.id(),
                                            item.step.empty() ? "" : fmt::format(", step '{}'", item.step),
                                            file.string(), what,
                                            kept.empty() ? "the store cannot be written: it is still there"
                                                         : "set aside: " + kept.string()))
             << '\n';
  }
  call.out << fmt::format(
      "{}, {}, {} read, {}: {}\n", count_of(found.read[Kind::layer], "layer"),
      count_of(found.read[Kind::artifact], "export"), count_of(found.read[Kind::blob], "blob"),
      base::human_size(found.bytes),
      ok ? "all as they were written"
         : fmt::format("{} damaged; the next build makes again what it needs of it", found.damaged.size()));
  return static_cast<int>(ok ? Exit::done : Exit::failed);
}

// ---- path

// What an item is there for: a layer's image, the one file of an export or else their folder.
fs::path file_of(const Item& item) {
  if (item.kind == Kind::layer) return item.paths.front() / "image.qcow2";
  const fs::path files = item.paths.front() / "files";
  std::error_code ignored;
  std::vector<fs::path> all;
  for (const auto& file : fs::directory_iterator(files, ignored)) all.push_back(file.path());
  return all.size() == 1 ? all.front() : files;
}

fs::path path_of_id(const Invocation& call, const std::string& prefix) {
  if (prefix.empty() || prefix.find_first_not_of("0123456789abcdef") != std::string::npos)
    throw Error(fmt::format("'{}' is neither the beginning of an id nor PROFILE@STEP", prefix), Exit::usage)
        .hint(fmt::format("'{} cache ls' has the ids", call.program));
  std::vector<Item> found;
  for (auto& item : cache::contents(call.store))
    if ((item.kind == Kind::layer || item.kind == Kind::artifact) && item.id().starts_with(prefix))
      found.push_back(std::move(item));
  if (found.empty())
    throw Error(
        fmt::format("no layer or export in {} has an id that begins with '{}'", call.store.string(), prefix))
        .hint(fmt::format("'{} cache ls' has the ids", call.program));
  if (found.size() > 1) {
    std::vector<std::string> ids;
    ids.reserve(found.size());
    for (const auto& item : found) ids.push_back(item.id());
    throw Error(fmt::format("'{}' is the beginning of {} ids", prefix, ids.size()), Exit::usage)
        .hint("give more of one: " + base::join(ids, ", "));
  }
  return file_of(found.front());
}

int path(const Invocation& call) {
  fs::path where = call.store;
  if (!call.arguments.empty()) {
    const std::string& what = call.arguments.front();
    where = what.find('@') == std::string::npos ? path_of_id(call, what)
                                                : image_of_step(call, what, "cache path").image;
  }
  if (call.json)
    print_json(call, {{"ok", true}, {"path", where.string()}});
  else
    call.out << where.string() << '\n';
  return 0;
}

}  // namespace

StepImage image_of_step(const Invocation& call, const std::string& what, std::string_view who) {
  const auto at = what.rfind('@');
  if (at == std::string::npos || at == 0 || at + 1 == what.size())
    throw Error(fmt::format("'{}' is not PROFILE@STEP", what), Exit::usage)
        .hint("such as ecs-bookworm@packages");
  const std::string name = what.substr(0, at);
  const std::string id = what.substr(at + 1);
  auto plan = plan::load_plan(profile::find_profile(name, call.share), call.stages);
  const std::size_t index = plan::find_step(plan, id, who);
  auto keys = plan::make_keys(plan, call.host);
  plan.steps.resize(index + 1);
  keys.resize(plan.steps.size());

  std::string why = "never built";
  if (const auto store = open_store(call)) {
    const auto found = engine::look_up(plan, keys, *store, {.now = call.host.now()}).back();
    const profile::Proof& proof = plan.profile.proof;
    if (found.layer) return {found.layer->image(), proof};
    if (found.artifact && found.artifact->list.size() == 1)
      return {found.artifact->files / found.artifact->list.front().name, proof};
    if (found.artifact) return {found.artifact->files, proof};
    why = found.why;
  }
  std::vector<std::string> words = {call.program, "build", name, "--until", id};
  if (call.store_given) words.insert(words.end(), {"--store", call.store.string()});
  throw Error(fmt::format("step '{}' of {} is not in the store: {}", id, plan.profile.name, why))
      .hint("run: " + base::shell_line(words));
}

int cache(const Invocation& call) {
  const std::map<std::string, int (*)(const Invocation&)> actions = {
      {"ls", &ls}, {"gc", &gc}, {"verify", &verify}, {"path", &path}};
  const auto action = actions.find(call.action);
  if (action == actions.end()) {
    const std::vector<std::string> known = {"ls", "gc", "verify", "path"};
    const std::string guess = base::did_you_mean(call.action, known);
    throw Error(fmt::format("cache: unknown action '{}'{}", call.action,
                            guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
                Exit::usage)
        .hint("known are " + base::join(known, ", "));
  }
  if (call.max_size && call.action != "gc")
    throw Error(fmt::format("cache {}: it does not trim", call.action), Exit::usage)
        .hint("give --max-size to gc");
  if (!call.arguments.empty() && call.action != "path")
    throw Error(fmt::format("cache {}: '{}' is one word too many", call.action, call.arguments.front()),
                Exit::usage)
        .hint("see kiln cache --help");
  return action->second(call);
}

}  // namespace kiln::cli
