#include "proof/verdict.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.hpp"

namespace kiln::proof {
namespace {

Verdict sample() {
  Verdict verdict;
  verdict.proven = false;
  verdict.inside = true;
  verdict.firmware = "bios";
  verdict.accel = "tcg";
  verdict.boot_seconds = 41.25;
  verdict.seconds = 70.5;
  verdict.image_sha256 = std::string(64, 'a');
  verdict.checks = {{"boot", "boots by bios", true, true, "ssh after 41 s", 41.25},
                    {"unit", "nginx.service", false, true, "failed (failed), exit-code", 0},
                    {"command", "echo \"<&>\"", false, false, "the look inside was not finished", 0},
                    {"port", "port 443 https", true, true, "status 503, certificate CN = x", 1.5}};
  return verdict;
}

TEST(VerdictTest, ComesBackFromItsJson) {
  const Verdict verdict = sample();
  const Verdict back = Verdict::from_json(verdict.json());
  EXPECT_EQ(back.json(), verdict.json());
  ASSERT_EQ(back.checks.size(), 4U);
  EXPECT_EQ(back.checks[1].detail, "failed (failed), exit-code");
  EXPECT_FALSE(back.checks[2].ran);
  EXPECT_EQ(back.boot_seconds, 41.25);
  EXPECT_EQ(back.image_sha256, verdict.image_sha256);
}

TEST(VerdictTest, OfAnOlderKilnIsOfAColdBoot) {
  Verdict verdict = sample();
  verdict.proven = verdict.passed = true;
  auto old = nlohmann::json::parse(verdict.json());
  old.erase("passed");
  old.erase("resumed");
  const Verdict back = Verdict::from_json(old.dump());
  EXPECT_TRUE(back.passed);
  EXPECT_FALSE(back.resumed);
}

TEST(VerdictTest, ItsFailureIsTheFirstAndTheNumberOfOthers) {
  Verdict verdict = sample();
  EXPECT_EQ(failure({Verdict{}, verdict}), "unit nginx.service: failed (failed), exit-code (and 1 more)");
  verdict.checks = {{"port", "port 22 ssh", false, false, "it did not boot", 0}};
  EXPECT_EQ(failure({verdict}), "port 22 ssh: did not run: it did not boot");
  EXPECT_EQ(failure({}), "no check was run");
}

TEST(VerdictTest, BearsForeignBytes) {
  Verdict verdict = sample();
  verdict.checks[0].detail = "\xff\xfe";
  EXPECT_EQ(Verdict::from_json(verdict.json()).checks.size(), 4U);
}

TEST(VerdictTest, RefusesWhatIsNone) {
  for (const char* text : {"", "{}", "[]", "{\"proven\": \"yes\"}", "{\"proven\": true"}) {
    EXPECT_THROW(Verdict::from_json(text), base::Error) << text;
  }
}

TEST(JunitTest, TellsEachCheckAsACase) {
  Verdict broken;
  broken.firmware = "uefi";
  broken.accel = "tcg";
  broken.seconds = 20;
  broken.checks = {
      {"boot", "boots by uefi", false, true, "the guest's kernel panicked\n    last\x1b[1m words", 20}};
  EXPECT_EQ(junit("ecs", {sample(), broken}), R"(<?xml version="1.0" encoding="UTF-8"?>
<testsuites>
  <testsuite name="ecs.bios" tests="4" failures="1" errors="0" skipped="1" time="70.500">
    <properties>
      <property name="firmware" value="bios"/>
      <property name="accel" value="tcg"/>
      <property name="sha256" value="aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"/>
      <property name="proven" value="false"/>
      <property name="inside" value="true"/>
      <property name="resumed" value="false"/>
      <property name="boot_seconds" value="41.2"/>
    </properties>
    <testcase classname="ecs.bios.boot" name="boots by bios" time="41.250"/>
    <testcase classname="ecs.bios.unit" name="nginx.service" time="0.000">
      <failure message="failed (failed), exit-code">failed (failed), exit-code</failure>
    </testcase>
    <testcase classname="ecs.bios.command" name="echo &quot;&lt;&amp;&gt;&quot;" time="0.000">
      <skipped message="the look inside was not finished"/>
    </testcase>
    <testcase classname="ecs.bios.port" name="port 443 https" time="1.500"/>
  </testsuite>
  <testsuite name="ecs.uefi" tests="1" failures="1" errors="0" skipped="0" time="20.000">
    <properties>
      <property name="firmware" value="uefi"/>
      <property name="accel" value="tcg"/>
      <property name="sha256" value=""/>
      <property name="proven" value="false"/>
      <property name="inside" value="false"/>
      <property name="resumed" value="false"/>
      <property name="boot_seconds" value="0.0"/>
    </properties>
    <testcase classname="ecs.uefi.boot" name="boots by uefi" time="20.000">
      <failure message="the guest's kernel panicked">the guest's kernel panicked&#10;    last words</failure>
    </testcase>
    <system-out>the guest's kernel panicked&#10;    last words&#10;</system-out>
  </testsuite>
</testsuites>
)");
}

}  // namespace
}  // namespace kiln::proof
