#include "plan/plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "unit/plan/samples.hpp"

namespace kiln::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class PlanTest : public testing::Test {
 protected:
  static std::vector<std::string> ids(const Plan& plan) {
    std::vector<std::string> result;
    result.reserve(plan.steps.size());
    for (const PlannedStep& step : plan.steps) result.push_back(step.id);
    return result;
  }
  Desk desk_;
};

TEST_F(PlanTest, BaseImagesSealAndArtifactsInThatOrderAreFine) {
  const Plan plan =
      desk_.plan("steps: [{base_a: }, {change: }, {boots: }, {seal: }, {export: }, {secret: }]\n");
  EXPECT_THAT(ids(plan), ElementsAre("base_a", "change", "boots", "seal", "export", "secret"));
  for (const PlannedStep& step : plan.steps) EXPECT_NE(step.stage, nullptr);
}

TEST_F(PlanTest, AProfileNeedsABase) {
  EXPECT_THAT(desk_.mistakes("steps: [{change: }]\n"),
              ElementsAre("p.yml:1:8: no base stage; begin 'steps:' with one, such as base_debian"));
}

TEST_F(PlanTest, ABaseComesFirst) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - change:\n  - base_a:\n"),
              ElementsAre("p.yml:3:5: base_a: a base has to be the first step; move it before 'change'"));
}

TEST_F(PlanTest, TwoBasesAreOneTooMany) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a:\n  - base_b:\n"),
      ElementsAre("p.yml:3:5: base_b: a second base, after 'base_a' in line 2; an image has one base; to "
                  "replace an extended one give this step its id"));
}

TEST_F(PlanTest, NothingChangesTheImageBehindAnArtifact) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - export:\n  - change:\n"),
      ElementsAre(HasSubstr("p.yml:5:5: change: changes the image after 'export' in line 4 has read it")));
}

TEST_F(PlanTest, SealIsTheLastToChangeTheImage) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - change:\n  - export:\n"),
      ElementsAre(HasSubstr("p.yml:4:5: change: comes after 'seal' in line 3, which has to be the last")));
}

TEST_F(PlanTest, AnUnsealedImageIsExportedOnlyWhenTheProfileSaysSo) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_a:\n  - export:\n"),
              ElementsAre(HasSubstr(
                  "p.yml:3:5: export: exports an image that no step sealed; put '- seal:' before it")));
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_a:\n  - export: {sealed: false}\n"), IsEmpty());
}

TEST_F(PlanTest, TwoExportsOfOneEndingWouldBeOneFile) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - export:\n  - export_too:\n  - export:\n"),
      ElementsAre(HasSubstr("p.yml:6:5: export-2: writes the same file as 'export' in line 4; keep one")));
}

TEST_F(PlanTest, ASecondSealIsNotToldToMove) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - seal:\n  - export:\n"),
      ElementsAre(HasSubstr("p.yml:4:5: seal-2: the image is sealed already by 'seal' in line 3; keep one")));
}

TEST_F(PlanTest, MistakesOfOptionsStagesAndOrderComeTogetherFromTopToBottom) {
  EXPECT_THAT(
      desk_.mistakes("steps:\n  - base_a: {x: 1}\n  - chnge:\n  - change: {number: many, tree: no/}\n"),
      ElementsAre(HasSubstr("p.yml:2:14: base_a: unknown option 'x'; none is expected here"),
                  "p.yml:3:5: unknown stage 'chnge', did you mean 'change'?",
                  HasSubstr("p.yml:4:22: change: number: expected a whole number"),
                  HasSubstr("p.yml:4:34: change: no directory at 'no/'")));
}

TEST_F(PlanTest, MistakesOfOrderAreToldBesideAnUnknownStage) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - chnge:\n  - change:\n  - base_b:\n"),
              ElementsAre("p.yml:4:5: unknown stage 'chnge', did you mean 'change'?",
                          HasSubstr("p.yml:5:5: change: comes after 'seal' in line 3"),
                          HasSubstr("p.yml:6:5: base_b: a second base, after 'base_a' in line 2"),
                          HasSubstr("p.yml:6:5: base_b: comes after 'seal' in line 3")));
}

TEST_F(PlanTest, MistakesOfOrderAreToldBesideWhatIsNoStep) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_a:\n  - seal:\n  - [no, step]\n  - change:\n  - base_b:\n"),
              ElementsAre(HasSubstr("p.yml:4:5: a step is a mapping"),
                          HasSubstr("p.yml:5:5: change: comes after 'seal' in line 3"),
                          HasSubstr("p.yml:6:5: base_b: a second base, after 'base_a' in line 2"),
                          HasSubstr("p.yml:6:5: base_b: comes after 'seal' in line 3")));
  EXPECT_THAT(desk_.mistakes("steps:\n  - [no, step]\n  - export:\n"),
              ElementsAre(HasSubstr("p.yml:2:5: a step is a mapping")));
}

TEST_F(PlanTest, AnUnknownStageMayBeTheBaseOrTheSealing) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_x:\n  - saal:\n  - export:\n"),
              ElementsAre(HasSubstr("p.yml:2:5: unknown stage 'base_x'"),
                          HasSubstr("p.yml:3:5: unknown stage 'saal'")));
}

TEST_F(PlanTest, WhatAStageItselfRefusesIsToldAtItsStep) {
  EXPECT_THAT(desk_.mistakes("steps:\n  - base_a:\n  - change: {text: clash, flag: true}\n"),
              ElementsAre("p.yml:3:5: change: 'clash' does not go with 'flag'"));
}

TEST_F(PlanTest, AMistakeIsAMatterOfUsage) {
  try {
    desk_.plan("steps: [{change: }]\n");
    FAIL() << "planned without a base";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
  }
}

TEST_F(PlanTest, StepsAnExtendingProfileAppendsGoBeforeSealAndArtifacts) {
  desk_.write("parent.yml", "steps: [{base_a: }, {change: }, {seal: }, {export: }]\n");
  const Plan plan = desk_.plan(
      "extends: parent.yml\nsteps: [{boots: }, {id: extra, change: }, {after: extra, id: third, change: }, "
      "{secret: }]\n");
  EXPECT_THAT(ids(plan),
              ElementsAre("base_a", "change", "boots", "extra", "third", "seal", "export", "secret"));
}

TEST_F(PlanTest, BesideWhatIsNoStepOnlyStepsOfOneFileAreCompared) {
  // What cannot be read might have taken the place of the extended base, and of the sealing.
  desk_.write("parent.yml", "steps:\n  - base_a:\n  - seal:\n  - export:\n");
  EXPECT_THAT(
      desk_.mistakes("extends: parent.yml\nsteps:\n  - [no, step]\n  - base_b:\n  - seal:\n  - export:\n"),
      ElementsAre(HasSubstr("p.yml:3:5: a step is a mapping")));
  EXPECT_THAT(
      desk_.mistakes("extends: parent.yml\nsteps:\n  - [no, step]\n  - base_b:\n  - id: c\n    base_b:\n"),
      ElementsAre(HasSubstr("p.yml:3:5: a step is a mapping"),
                  HasSubstr("p.yml:5:5: c: a second base, after 'base_b' in line 4")));
}

TEST_F(PlanTest, AReplacedBaseStaysTheFirstStep) {
  desk_.write("parent.yml", "steps: [{id: base, base_a: }, {seal: }, {export: }]\n");
  const Plan plan = desk_.plan("extends: parent.yml\nsteps: [{id: base, base_b: }]\n");
  EXPECT_THAT(ids(plan), ElementsAre("base", "seal", "export"));
  EXPECT_EQ(plan.steps[0].type->name, "base_b");
}

TEST_F(PlanTest, PathsOfAnExtendedProfileStartFromItsOwnFolder) {
  desk_.write("common/tree/f", "x");
  desk_.write("common/parent.yml", "steps: [{base_a: }, {change: {tree: tree}}]\n");
  const Plan plan = desk_.plan("extends: common/parent.yml\n");
  EXPECT_EQ(plan.steps[1].options.path("tree"), desk_.path("common/tree"));
}

}  // namespace
}  // namespace kiln::plan
