#include "engine/results.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/digest.hpp"
#include "engine/collect.hpp"
#include "engine/proof_spec.hpp"
#include "engine/publish.hpp"
#include "engine/report.hpp"

namespace kiln::engine {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::string dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace) + "\n";
}

// The file people read (and `kiln boot` too) about an image. Holds nothing that differs between two builds
// with nothing to do.
std::string image_json(const Session& session, const BuildReport& report, const std::vector<Made>& made,
                       const std::vector<cache::Layer>& layers, bool proven) {
  json artifacts = json::array();
  json image = json::object();
  json packages = json::array();
  json tools = json::object();
  for (const auto& [artifact, own] : made) {
    if (own) continue;  // secrets: whoever hands on what this names must not hand them on
    const json info = artifact.info.empty() ? json::object() : json::parse(artifact.info);
    if (info.contains("packages")) packages = info.at("packages");
    if (info.contains("tools")) tools.update(info.at("tools"));
    for (const auto& file : artifact.list) {
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
  if (!proofs.empty()) {
    publisher.text("junit.xml", proof::junit(suite, verdicts));
    used.insert("junit.xml");
  }
  // Reports of an older image say nothing about this one.
  for (const std::string name : {"junit.xml", "console.log", "screen.png", "console-bios.log",
                                 "screen-bios.png", "console-uefi.log", "screen-uefi.png"})
    if (!used.contains(name)) publisher.retract(name);
}

// Read back at once: what a file system made of it is found out now, not when it is needed.
void publish_whole(Session& session, Publisher& publisher, const fs::path& from, const std::string& name,
                   const std::string& sha256) {
  const fs::path there = publisher.file(from, name);
  if (session.store.has_content(there, sha256, fs::file_size(from))) return;
  throw base::Error("what was written there is read back otherwise")
      .at({there.string(), 0, 0})
      .hint(
          "the file system or its disk is damaged, or somebody changed the file: look at it, then build "
          "again");
}

}  // namespace

void publish(Session& session, BuildReport& report, const std::vector<Made>& made,
             const std::vector<cache::Layer>& layers, const std::vector<Proven>& proofs) {
  Publisher publisher(session.host, session.options.output);
  report.output = publisher.folder();
  const auto publish_page = [&] {
    publisher.text("report.html", html(collect(session, report, layers, made, proofs)));
  };
  if (report.refuted()) {
    publish_reports(publisher, session.profile.name, proofs, report.verdicts);
    publish_page();
    return;
  }
  struct File {
    fs::path from;
    std::string name, sha256;
    bool there, secret;
  };
  std::vector<File> files;
  bool changes = false;
  for (const auto& [artifact, own] : made) {
    for (const auto& file : artifact.list) {
      const bool secret = own != nullptr;  // written again in any case: the mode counts as well
      const bool there =
          !secret && session.store.has_content(publisher.folder() / file.name, file.sha256, file.size);
      changes = changes || (!there && !secret);
      files.push_back({artifact.files / file.name, file.name, file.sha256, there, secret});
    }
  }
  if (changes)
    for (const char* about : {"image.json", "report.html"}) publisher.retract(about);
  for (const auto& file : files) {
    host::check_interrupt();
    if (!file.there) {
      session.observer.doing(fmt::format("publishing {}", file.name));
      if (file.secret)
        publisher.secret(file.from, file.name);
      else
        publish_whole(session, publisher, file.from, file.name, file.sha256);
    }
    report.artifacts.push_back(publisher.folder() / file.name);
  }
  publish_reports(publisher, session.profile.name, proofs, report.verdicts);
  publish_page();
  publisher.text("image.json", image_json(session, report, made, layers, report.proven));
}

}  // namespace kiln::engine
