#include "engine/proof_spec.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "proof/verdict.hpp"

namespace kiln::engine {
namespace {

profile::Proof sample() {
  profile::Proof proof;
  proof.firmware = {profile::Firmware::bios, profile::Firmware::uefi};
  proof.memory = 3ULL << 30;
  proof.cpus = 3;
  proof.units = {"nginx.service"};
  proof.may_fail = {"odd.service"};
  proof.ports = {{443, "https", "/status", 503, "down", {}}, {22, "ssh", "/", std::nullopt, "", {}}};
  proof.files = {{"/etc/hosts", "link", "/run/hosts", "0644", "root", "local", {}}};
  proof.commands = {{{"id", "app"}, 1, "uid=1000", {}}};
  return proof;
}

TEST(ProofSpec, ComesBackFromJsonAsItWas) {
  const auto text = proof_json(sample());
  const auto back = proof_from_json(text);
  EXPECT_EQ(proof_json(back), text);
  EXPECT_EQ(back.ports[0].status, 503);
  EXPECT_FALSE(back.ports[1].status);
  EXPECT_EQ(back.firmware.size(), 2U);
  EXPECT_EQ(back.commands[0].run, (std::vector<std::string>{"id", "app"}));
}

TEST(ProofSpec, EveryQuestionChangesTheDigestAndTheFirmwareDoesNot) {
  const auto digest = proof_digest(sample());
  const auto changed = [&](auto change) {
    auto proof = sample();
    change(proof);
    return proof_digest(proof) != digest;
  };
  EXPECT_FALSE(changed([](profile::Proof& proof) { proof.firmware = {profile::Firmware::uefi}; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.memory += 1; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.cpus += 1; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.units.clear(); }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.may_fail.clear(); }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.ports[0].status = 200; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.ports[0].body = ""; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.files[0].mode = "0600"; }));
  EXPECT_TRUE(changed([](profile::Proof& proof) { proof.commands[0].status = 0; }));
}

// A verdict of before a check got stricter is not found again.
TEST(ProofSpec, TheRevisionOfTheChecksIsPartOfTheDigest) {
  auto all = nlohmann::json::parse(proof_json(sample()));
  all.erase("firmware");
  EXPECT_NE(proof_digest(sample()), base::sha256(all.dump()));
  all["revision"] = proof::checks_revision;
  EXPECT_EQ(proof_digest(sample()), base::sha256(all.dump()));
}

TEST(ProofSpec, WhatIsNoProofIsRefused) {
  EXPECT_THROW(proof_from_json("{"), base::Error);
  EXPECT_THROW(proof_from_json("{}"), base::Error);
  EXPECT_THROW(proof_from_json(R"({"firmware": ["coreboot"]})"), base::Error);
}

}  // namespace
}  // namespace kiln::engine
