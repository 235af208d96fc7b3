#include "cache/contents.hpp"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sys/stat.h>
#include <utility>

#include "cache/folders.hpp"

namespace kiln::cache {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Item item_of(Item::Kind kind, const fs::path& store, const fs::path& path) {
  Item item;
  item.kind = kind;
  item.name = path.lexically_relative(store);
  item.paths = {path};
  item.size = room_of(path);
  item.used = mtime_of(path);
  return item;
}

// "" for what is not there or is no text.
std::string text(const json& info, const char* member) {
  const auto found = info.find(member);
  return found != info.end() && found->is_string() ? found->get<std::string>() : "";
}

// Takes over what info.json says; returns it.
json read_info(Item& item) {
  const auto info = read_json(item.paths.front() / "info.json");
  item.sound = info && !text(*info, "key").empty();
  if (!info) return json::object();
  item.key = text(*info, "key");
  item.step = text(*info, "step");
  item.stage = text(*info, "stage");
  item.profile = text(*info, "profile");
  const auto built = info->find("built");
  if (built != info->end() && built->is_number_integer()) item.built = built->get<std::int64_t>();
  return *info;
}

// A verdict is several files of one name.
std::map<std::string, Item> verdicts_of(const fs::path& store) {
  std::map<std::string, Item> all;
  for (const auto& path : children(store / "verdicts")) {
    const std::string file = path.filename();
    const fs::path base = store / "verdicts" / file.substr(0, file.find('.'));
    const fs::path first = base.string() + ".json";
    auto [at, fresh] = all.try_emplace(base.lexically_relative(store));
    Item& item = at->second;
    if (fresh) {
      item.kind = Item::Kind::verdict;
      item.name = at->first;
      item.paths = {first};
    }
    if (path != first) item.paths.push_back(path);
    item.size += room_of(path);
    item.used = std::max(item.used, mtime_of(path));
  }
  return all;
}

}  // namespace

std::string_view word(Item::Kind kind) {
  switch (kind) {
    case Item::Kind::layer:
      return "layer";
    case Item::Kind::artifact:
      return "export";
    case Item::Kind::verdict:
      return "verdict";
    case Item::Kind::settled:
      return "settled guest";
    case Item::Kind::blob:
      return "blob";
    case Item::Kind::package:
      return "package";
    case Item::Kind::failure:
      return "evidence";
    case Item::Kind::damaged:
      break;
  }
  return "damaged";
}

std::vector<Item> contents(const fs::path& store) {
  std::vector<Item> all;
  for (const auto& path : children(store / "layers")) {
    Item item = item_of(Item::Kind::layer, store, path);
    const json info = read_info(item);
    item.parent = text(info, "parent");
    item.sound = item.sound && text(info, "id") == item.id();
    if (!item.parent.empty()) item.holds = {"layers/" + item.parent};
    all.push_back(std::move(item));
  }
  auto verdicts = verdicts_of(store);
  for (const auto& path : children(store / "artifacts")) {
    Item item = item_of(Item::Kind::artifact, store, path);
    const json info = read_info(item);
    item.parent = text(info, "layer");
    if (!item.parent.empty()) item.holds = {"layers/" + item.parent};
    const auto files = info.find("files");
    if (files != info.end() && files->is_array())
      for (const auto& file : *files) {
        const std::string of = "verdicts/" + (file.is_object() ? text(file, "sha256") : "") + "-";
        for (auto at = verdicts.lower_bound(of); at != verdicts.end() && at->first.starts_with(of); ++at)
          item.holds.push_back(at->first);
      }
    all.push_back(std::move(item));
  }
  for (auto& [name, item] : verdicts) all.push_back(std::move(item));
  for (const auto& path : children(store / "settled")) {
    all.push_back(item_of(Item::Kind::settled, store, path));
    const std::string name = path.filename();
    if (!is_id(name)) continue;  // of an image, which lies anywhere
    all.back().parent = name;
    all.back().holds = {"layers/" + name};
  }
  for (const auto& path : children(store / "blobs"))
    if (path.extension() != ".lock") all.push_back(item_of(Item::Kind::blob, store, path));
  for (const auto& kind : children(store / "packages"))
    for (const auto& path : children(kind)) {
      all.push_back(item_of(Item::Kind::package, store, path));
      // A package's mtime is its maker's; when it came here is its ctime.
      struct stat status{};
      if (::lstat(path.c_str(), &status) == 0) all.back().used = nanoseconds(status.st_ctim);
    }
  for (const auto& path : children(store / "failed")) {
    const bool damaged = path.filename().string().starts_with("damaged-");
    all.push_back(item_of(damaged ? Item::Kind::damaged : Item::Kind::failure, store, path));
  }
  return all;
}

}  // namespace kiln::cache
