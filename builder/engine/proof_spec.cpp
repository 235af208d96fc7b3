#include "engine/proof_spec.hpp"

#include <fmt/core.h>
#include <nlohmann/json.hpp>
#include <string_view>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "proof/verdict.hpp"

namespace kiln::engine {
namespace {

using nlohmann::json;

json to_json(const profile::Proof& proof) {
  json firmware = json::array();
  for (const auto one : proof.firmware) firmware.push_back(firmware_name(one));
  json ports = json::array();
  for (const auto& port : proof.ports) {
    json one = {{"port", port.port}, {"protocol", port.protocol}, {"path", port.path}, {"body", port.body}};
    if (port.status) one["status"] = *port.status;
    ports.push_back(std::move(one));
  }
  json files = json::array();
  for (const auto& file : proof.files)
    files.push_back({{"path", file.path},
                     {"kind", file.kind},
                     {"target", file.target},
                     {"mode", file.mode},
                     {"owner", file.owner},
                     {"content", file.content}});
  json commands = json::array();
  for (const auto& command : proof.commands)
    commands.push_back({{"run", command.run}, {"status", command.status}, {"output", command.output}});
  return {{"firmware", firmware}, {"memory", proof.memory},     {"cpus", proof.cpus},
          {"units", proof.units}, {"may_fail", proof.may_fail}, {"ports", ports},
          {"files", files},       {"commands", commands}};
}

}  // namespace

const char* firmware_name(profile::Firmware firmware) {
  return firmware == profile::Firmware::uefi ? "uefi" : "bios";
}

std::string proof_json(const profile::Proof& proof) {
  return to_json(proof).dump(2, ' ', false, json::error_handler_t::replace);
}

std::string proof_digest(const profile::Proof& proof) {
  auto all = to_json(proof);
  all.erase("firmware");
  all["revision"] = proof::checks_revision;
  return base::sha256(all.dump(-1, ' ', false, json::error_handler_t::replace));
}

profile::Proof proof_from_json(const std::string& text) {
  profile::Proof proof;
  try {
    const json all = json::parse(text);
    proof.firmware.clear();
    for (const auto& name : all.at("firmware")) {
      const auto word = name.get<std::string>();
      if (word != "bios" && word != "uefi")
        throw base::Error(fmt::format("unknown firmware '{}' in a proof", word), base::Exit::usage);
      proof.firmware.push_back(word == "uefi" ? profile::Firmware::uefi : profile::Firmware::bios);
    }
    proof.memory = all.at("memory").get<std::uint64_t>();
    proof.cpus = all.at("cpus").get<int>();
    proof.units = all.at("units").get<std::vector<std::string>>();
    proof.may_fail = all.at("may_fail").get<std::vector<std::string>>();
    for (const auto& one : all.at("ports")) {
      profile::PortCheck port;
      port.port = one.at("port").get<int>();
      port.protocol = one.at("protocol").get<std::string>();
      port.path = one.at("path").get<std::string>();
      port.body = one.at("body").get<std::string>();
      if (one.contains("status")) port.status = one.at("status").get<int>();
      proof.ports.push_back(std::move(port));
    }
    for (const auto& one : all.at("files")) {
      profile::FileCheck file;
      file.path = one.at("path").get<std::string>();
      file.kind = one.at("kind").get<std::string>();
      file.target = one.at("target").get<std::string>();
      file.mode = one.at("mode").get<std::string>();
      file.owner = one.at("owner").get<std::string>();
      file.content = one.at("content").get<std::string>();
      proof.files.push_back(std::move(file));
    }
    for (const auto& one : all.at("commands")) {
      profile::CommandCheck command;
      command.run = one.at("run").get<std::vector<std::string>>();
      command.status = one.at("status").get<int>();
      command.output = one.at("output").get<std::string>();
      proof.commands.push_back(std::move(command));
    }
  } catch (const json::exception& failure) {
    throw base::Error(fmt::format("the proof is not readable: {}", failure.what()), base::Exit::usage)
        .hint("name the profile with --profile instead");
  }
  return proof;
}

}  // namespace kiln::engine
