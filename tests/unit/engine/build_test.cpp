#include <algorithm>
#include <fcntl.h>
#include <filesystem>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <latch>
#include <memory>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "unit/engine/machines_fake.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

std::vector<std::string> layers(const BuildReport& report) {
  std::vector<std::string> ids;
  for (const auto& step : report.steps)
    if (!step.layer.empty()) ids.push_back(step.layer);
  return ids;
}

std::vector<std::string> whys(World& world) {
  std::vector<std::string> all;
  for (const auto& state : world.states().steps) all.push_back(state.hit ? "hit" : state.why);
  return all;
}

void damage(const fs::path& file) {
  ::chmod(file.c_str(), 0600);
  const int fd = ::open(file.c_str(), O_WRONLY);
  ASSERT_EQ(::pwrite(fd, "#", 1, 0), 1);
  ::close(fd);
}

TEST(Build, RunsEveryStepOnceAndThenNone) {
  World world;
  world.usual();
  EXPECT_THAT(whys(world), ElementsAre("never built", "never built", "never built", "never built"));
  const auto first = world.build();
  EXPECT_THAT(world.ran, ElementsAre("base", "one", "two", "export"));
  EXPECT_TRUE(first.proven);
  EXPECT_FALSE(first.proof_reused);
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit", "hit", "hit"));

  const auto again = world.build();
  EXPECT_THAT(world.ran, IsEmpty());
  EXPECT_THAT(world.machines.log, IsEmpty()) << "neither overlay nor export nor boot";
  EXPECT_TRUE(again.proven);
  EXPECT_TRUE(again.proof_reused);
  EXPECT_EQ(layers(again), layers(first));
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
}

TEST(Build, EachLayerStandsOnItsParentByARelativePath) {
  World world;
  world.usual();
  const auto report = world.build();
  const auto ids = layers(report);
  ASSERT_EQ(ids.size(), 3U);
  EXPECT_EQ(world.layer_text(ids[1]),
            fmt::format("backing ../../layers/{}/image.qcow2 {}\nwrite /one x\n", ids[0], 4ULL << 30));
  cache::Store store(world.host, world.root);
  EXPECT_EQ(store.find_layer_by_id(ids[2])->parent, ids[1]);
}

TEST(Build, AChangedStepRebuildsItselfAndWhatStandsOnIt) {
  World world;
  world.usual();
  const auto first = layers(world.build());
  world.change("one", "2");
  const auto why = whys(world);
  EXPECT_EQ(why[0], "hit");
  EXPECT_THAT(why[1], HasSubstr("text"));
  EXPECT_EQ(why[2], "parent missed");
  EXPECT_EQ(why[3], "parent missed");
  const auto second = layers(world.build());
  EXPECT_THAT(world.ran, ElementsAre("one", "two", "export"));
  EXPECT_EQ(second[0], first[0]);
  EXPECT_NE(second[1], first[1]);
  EXPECT_NE(second[2], first[2]);

  world.change("one", "1");
  const auto back = layers(world.build());
  EXPECT_THAT(world.ran, IsEmpty()) << "the first chain is still there, whole";
  EXPECT_EQ(back, first);
}

TEST(Build, ForcedStepsAreRunAgainWhateverTheStoreHas) {
  World world;
  world.usual();
  const auto first = layers(world.build());
  world.options.from = "one";
  EXPECT_THAT(whys(world), ElementsAre("hit", "forced", "parent missed", "parent missed"));
  const auto report = world.build();
  EXPECT_THAT(world.ran, ElementsAre("one", "two", "export"));
  EXPECT_EQ(report.steps[1].why, "forced");
  const auto second = layers(report);
  EXPECT_EQ(second[0], first[0]);
  EXPECT_NE(second[1], first[1]);
  EXPECT_NE(second[2], first[2]);
  // What they made is what later builds find.
  world.options.from = "";
  EXPECT_EQ(layers(world.build()), second);
  EXPECT_THAT(world.ran, IsEmpty());

  world.options.from = "export";
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit", "hit", "forced"));
  world.build();
  EXPECT_THAT(world.ran, ElementsAre("export"));
}

// ---- settled guests (engine rule 11)

struct Settled {
  Settled() {
    world.base("base", "1");
    world.guest("states", "1");
    world.machines.answer = [](const image::Exec&) { return host::Finished{0, 0, "", ""}; };
  }
  // What a build did with guests.
  std::vector<std::string> build() {
    world.build();
    std::vector<std::string> deeds;
    for (const auto& line : world.machines.log)
      if (line.find("guest") != std::string::npos || line == "save" || line == "resume" || line == "cut" ||
          line == "wake")
        deeds.push_back(line);
    return deeds;
  }
  World world;
};

TEST(SettledGuest, IsKeptOnceAndResumedFromThenOn) {
  Settled bench;
  EXPECT_THAT(bench.build(),
              ElementsAre("open guest", "save", "close guest", "resume", "open guest", "close guest"));
  bench.world.change("states", "2");
  EXPECT_THAT(bench.build(), ElementsAre("resume", "open guest", "close guest"));
  EXPECT_EQ(bench.world.names(bench.world.root / "settled").size(), 1U);
}

TEST(SettledGuest, IsWarmedOnceBeforeItIsKept) {
  World world;
  world.base("base", "1");
  int warmed = 0;
  world.guest("states", "1", [&](stage::Workspace& work) {
    work.guest([&](image::System&) {
      ++warmed;
      EXPECT_THAT(world.machines.log, Not(Contains("save")));
    });
  });
  world.build();
  EXPECT_EQ(warmed, 1);
  EXPECT_THAT(world.machines.log, Contains("save"));
  world.change("states", "2");
  world.build();
  EXPECT_EQ(warmed, 1);
}

TEST(SettledGuest, IsMadeAnewForAnotherMachineAndAnotherLayer) {
  Settled bench;
  bench.build();
  bench.world.machines.qemu = "qemu 8.0";
  bench.world.change("states", "2");
  EXPECT_THAT(bench.build(), Contains("save"));
  bench.world.change("states", "3");
  EXPECT_THAT(bench.build(), Not(Contains("save")));
  bench.world.change("base", "2");
  EXPECT_THAT(bench.build(), Contains("save"));
  EXPECT_EQ(bench.world.names(bench.world.root / "settled").size(), 2U);
}

TEST(SettledGuest, ThatIsDamagedIsMadeAnew) {
  Settled bench;
  bench.build();
  const auto folder = bench.world.root / "settled" / bench.world.names(bench.world.root / "settled").front();
  damage(folder / "memory.zst");
  bench.world.change("states", "2");
  EXPECT_THAT(bench.build(), Contains("save"));
}

TEST(SettledGuest, ThatCannotBeHadGivesWayToABoot) {
  Settled bench;
  bench.world.machines.saves = false;
  EXPECT_THAT(bench.build(), ElementsAre("open guest", "save", "drop guest", "open guest", "close guest"));
  EXPECT_THAT(bench.world.observer.lines,
              Contains("note no settled guest is resumed: QEMU refused 'migrate': no"));
  bench.world.machines.saves = true;
  bench.world.machines.resumes = false;
  bench.world.change("states", "2");
  EXPECT_THAT(bench.build(),
              ElementsAre("open guest", "save", "close guest", "resume", "open guest", "close guest"));
  EXPECT_THAT(bench.world.names(bench.world.root / "settled"), IsEmpty());
  EXPECT_THAT(bench.world.names(bench.world.root / "tmp"), IsEmpty());
}

TEST(SettledGuest, IsNotAskedForWithAColdBoot) {
  Settled bench;
  bench.world.options.settled = false;
  EXPECT_THAT(bench.build(), ElementsAre("open guest", "close guest"));
  EXPECT_THAT(bench.world.names(bench.world.root / "settled"), IsEmpty());
}

// ---- one boot for consecutive steps (engine rule 12)

struct Shared : Settled {
  Shared() {
    world.guest("more", "1");
    world.guest("most", "1");
  }
};

TEST(SharedGuest, IsBootedOnceForConsecutiveStepsAndEachLeavesItsLayer) {
  Shared bench;
  EXPECT_THAT(bench.build(), ElementsAre("open guest", "save", "close guest", "resume", "open guest", "cut",
                                         "wake", "cut", "wake", "close guest"));
  const auto report = bench.world.build();
  const auto ids = layers(report);
  ASSERT_EQ(ids.size(), 4U);
  EXPECT_THAT(bench.world.layer_text(ids[1]), testing::EndsWith("run do states\n"));
  EXPECT_EQ(bench.world.layer_text(ids[2]),
            fmt::format("backing ../../layers/{}/image.qcow2 {}\nrun do more\n", ids[1], 4ULL << 30));
  EXPECT_EQ(bench.world.layer_text(ids[3]),
            fmt::format("backing ../../layers/{}/image.qcow2 {}\nrun do most\n", ids[2], 4ULL << 30));
  EXPECT_THAT(bench.world.names(bench.world.root / "tmp"), IsEmpty());
  for (const auto& id : {ids[1], ids[2]})
    EXPECT_TRUE(fs::exists(bench.world.root / "layers" / id / "console")) << "what the guest said meanwhile";
}

TEST(SharedGuest, IsShutDownBeforeAStepThatNeedsNone) {
  Settled bench;
  bench.world.image("file", "1");
  bench.world.guest("more", "1");
  EXPECT_THAT(bench.build(), Not(Contains("cut")));
}

TEST(SharedGuest, ThatDoesNotComeToRestIsShutDownAndTheNextStepBoots) {
  Shared bench;
  bench.world.machines.unrest = "tail (process 7) holds a deleted file";
  const auto deeds = bench.build();
  EXPECT_EQ(std::count(deeds.begin(), deeds.end(), "resume"), 3);
  EXPECT_THAT(
      bench.world.observer.lines,
      Contains("note the guest is shut down before the next step: tail (process 7) holds a deleted file"));
  EXPECT_EQ(layers(bench.world.build()).size(), 4U);
}

TEST(SharedGuest, ThatFailsInALaterStepLeavesTheEarlierLayers) {
  Shared bench;
  bench.world.machines.answer = [](const image::Exec& exec) {
    return exec.argv.back() == "most" ? host::Finished{1, 0, "", "no\n"} : host::Finished{0, 0, "", ""};
  };
  EXPECT_THROW(bench.build(), base::Error);
  EXPECT_THAT(bench.world.machines.open, IsEmpty());
  EXPECT_THAT(bench.world.names(bench.world.root / "tmp"), IsEmpty());
  bench.world.machines.answer = {};
  EXPECT_THAT(bench.build(), Not(Contains("cut")));
  EXPECT_THAT(bench.world.ran, ElementsAre("most"));
}

TEST(SharedGuest, IsNotHadWithAColdBoot) {
  Shared bench;
  bench.world.options.settled = false;
  EXPECT_THAT(bench.build(), ElementsAre("open guest", "close guest", "open guest", "close guest",
                                         "open guest", "close guest"));
}

TEST(Build, WhatAMirrorServedAges) {
  constexpr std::int64_t kDay = 86'400;
  World world;
  world.base("base", "1", [](stage::Workspace& work) {
    work.resolved("release 0 bookworm_InRelease");
    host::write_file(work.new_disk(), "base\n");
  });
  world.image("one", "1");
  const auto first = layers(world.build());
  world.clock += 6 * kDay;
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit"));
  world.clock += 3 * kDay;
  EXPECT_THAT(whys(world), ElementsAre("resolved 9 days ago", "parent missed"));
  world.plan.profile.fresh = std::nullopt;
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit")) << "pinned";
  world.plan.profile.fresh = 30;
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit"));
  world.plan.profile.fresh = 7;
  const auto second = layers(world.build());
  EXPECT_THAT(world.ran, ElementsAre("base", "one"));
  EXPECT_NE(second, first);
  world.clock -= 300 * kDay;
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit")) << "a clock set back makes nothing old";
  world.plan.profile.fresh = 0;
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit")) << "nor so";
  world.clock += 300 * kDay;
  EXPECT_THAT(whys(world), ElementsAre("resolved today", "parent missed"));
}

TEST(Build, TellsThePlanWhatMirrorsServedForALayer) {
  World world;
  world.base("base", "1", [&](stage::Workspace& work) {
    work.resolved("release 0 bookworm_InRelease");
    work.served("http://mirror.test/dists/bookworm/InRelease", "0");
    host::write_file(work.new_disk(), "base\n");
  });
  world.image("one", "1");
  EXPECT_THAT(world.states().steps[0].releases, IsEmpty());
  world.build();
  const auto states = world.states().steps;
  ASSERT_EQ(states[0].releases.size(), 1U);
  EXPECT_EQ(states[0].releases[0].url, "http://mirror.test/dists/bookworm/InRelease");
  EXPECT_EQ(states[0].releases[0].sha256, "0");
  EXPECT_THAT(states[1].releases, IsEmpty());
}

TEST(Build, OfflineNothingIsTooOldAndALayerIsAsOldAsWhatItWasMadeOf) {
  constexpr std::int64_t kDay = 86'400;
  World world;
  world.options.offline = true;
  world.base("base", "1", [&](stage::Workspace& work) {
    work.resolved("release 0 bookworm_InRelease");
    work.resolved_at(world.clock - 9 * kDay);
    host::write_file(work.new_disk(), "base\n");
  });
  world.build();
  EXPECT_THAT(whys(world), ElementsAre("resolved 9 days ago"));
  world.ran.clear();
  world.build();
  EXPECT_THAT(world.ran, IsEmpty());
  world.options.offline = false;
  world.build();
  EXPECT_THAT(world.ran, ElementsAre("base"));
}

TEST(Build, WhatNoMirrorServedDoesNotAge) {
  World world;
  world.base("base", "1");
  world.build();
  world.clock += 86'400L * 1000;
  EXPECT_THAT(whys(world), ElementsAre("hit"));
}

TEST(Build, ADamagedMiddleLayerComesBackUnderANewIdAndSoDoesItsChild) {
  World world;
  world.usual();
  const auto first = layers(world.build());
  damage(world.root / "layers" / first[1] / "image.qcow2");
  EXPECT_THAT(whys(world), ElementsAre("hit", "damaged", "parent missed", "parent missed"));
  // Looking has moved it aside; it stays a miss with a reason.
  const auto second = layers(world.build());
  EXPECT_THAT(world.ran, ElementsAre("one", "two", "export"));
  EXPECT_EQ(second[0], first[0]);
  EXPECT_NE(second[1], first[1]);
  EXPECT_THAT(world.layer_text(second[2]), HasSubstr(second[1]));
  EXPECT_THAT(world.names(world.root / "failed"), ElementsAre("damaged-" + first[1]));
}

TEST(Build, AnEvictedMiddleLayerComesBackUnderANewIdAndSoDoesItsChild) {
  World world;
  world.usual();
  const auto first = layers(world.build());
  fs::remove_all(world.root / "layers" / first[1]);
  EXPECT_THAT(whys(world), ElementsAre("hit", "evicted", "parent missed", "parent missed"));
  const auto second = layers(world.build());
  EXPECT_THAT(world.ran, ElementsAre("one", "two", "export"));
  EXPECT_THAT(world.layer_text(second[2]), HasSubstr(second[1]));
  EXPECT_NE(second[2], first[2]) << "the old child stood on bytes that are gone";
}

TEST(Build, AFailedStepLeavesNoLayerKeepsEvidenceAndTheNextBuildGoesOn) {
  World world;
  bool broken = true;
  world.base("base", "1");
  world.image("one", "1");
  world.guest("salt", "1", [&](stage::Workspace& work) {
    work.guest().require(command({"salt-call", "state.apply"}));
    work.keep("salt.json", R"({"failed": 1})");
    work.log("a line of the stage\n");
    if (broken) throw base::Error("state 'nginx' failed").hint("mend it");
  });
  world.artifact("export", "1");
  world.machines.answer = [](const image::Exec&) {
    host::Finished finished;
    finished.exit = 0;
    finished.out = "applying\n";
    return finished;
  };
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.message(), "state 'nginx' failed");
    EXPECT_EQ(error.hint_text(), "mend it");
    ASSERT_FALSE(error.trail().empty());
    EXPECT_THAT(error.trail().back(), HasSubstr("failed/"));
  }
  EXPECT_THAT(world.machines.open, IsEmpty());
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
  EXPECT_EQ(world.names(world.root / "layers").size(), 2U);
  EXPECT_FALSE(fs::exists(world.out));

  const auto failed = world.names(world.root / "failed");
  ASSERT_EQ(failed.size(), 1U);
  EXPECT_THAT(failed[0], StartsWith("20231114T"));
  EXPECT_TRUE(failed[0].ends_with("Z-demo-salt")) << failed[0];
  const fs::path evidence = world.root / "failed" / failed[0];
  EXPECT_THAT(world.names(evidence), ElementsAre("console", "error.txt", "key.txt", "log", "report.html",
                                                 "salt.json", "screenshot.png"));
  EXPECT_THAT(host::read_file(evidence / "error.txt"), HasSubstr("state 'nginx' failed"));
  EXPECT_THAT(host::read_file(evidence / "key.txt"), HasSubstr("stage fake_guest"));
  const auto page = host::read_file(evidence / "report.html");
  EXPECT_THAT(page, HasSubstr("state &#39;nginx&#39; failed"));
  EXPECT_THAT(page, HasSubstr("a line of the stage"));
  EXPECT_THAT(page, HasSubstr("not reached"));
  const auto log = host::read_file(evidence / "log");
  EXPECT_THAT(log, HasSubstr("guest$ salt-call state.apply"));
  EXPECT_THAT(log, HasSubstr("\napplying\n"));
  EXPECT_THAT(log, HasSubstr("\na line of the stage\n"));

  broken = false;
  EXPECT_TRUE(world.build().proven);
  EXPECT_THAT(world.ran, ElementsAre("salt", "export")) << "what was built stays built";
}

TEST(Build, ABugInAStageIsAFailureWithEvidenceToo) {
  World world;
  world.base("base", "1", [](stage::Workspace&) { throw std::runtime_error("bug"); });
  EXPECT_THROW(world.build(), base::Error);
  EXPECT_EQ(world.names(world.root / "failed").size(), 1U);
}

TEST(Build, AStepThatMakesNoDiskFails) {
  World world;
  world.base("base", "1", [](stage::Workspace&) {});
  EXPECT_THROW(world.build(), base::Error);
  EXPECT_THAT(world.names(world.root / "layers"), IsEmpty());
}

TEST(Build, ADamagedDiskIsNotKept) {
  World world;
  world.usual();
  world.machines.disks_are_whole = false;
  EXPECT_THROW(world.build(), base::Error);
  EXPECT_THAT(world.names(world.root / "layers"), IsEmpty());
  world.machines.disks_are_whole = true;
  EXPECT_TRUE(world.build().proven);
}

TEST(Build, AnInterruptIsNoFailureAndLeavesNothing) {
  World world;
  world.base("base", "1", [](stage::Workspace& work) {
    host::write_file(work.new_disk(), "half");
    throw base::Error("interrupted", base::Exit::interrupted);
  });
  EXPECT_THROW(world.build(), base::Error);
  EXPECT_THAT(world.names(world.root / "failed"), IsEmpty());
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
}

TEST(Build, AFailedStepCanBeLookedAtInTheGuestItHad) {
  World world;
  world.base("base", "1");
  world.guest("states", "1", [](stage::Workspace& work) {
    work.guest().run(command({"salt-call", "state.apply"}));
    throw base::Error("a state failed");
  });
  int looks = 0;
  world.options.on_failure = [&](const base::Error& failure, image::System* open) {
    ++looks;
    EXPECT_EQ(failure.message(), "a state failed");
    EXPECT_TRUE(open != nullptr && open->booted());
    EXPECT_THAT(world.machines.open, Contains("guest"));
    EXPECT_EQ(world.names(world.root / "failed").size(), 1U) << "the evidence is kept by then";
  };
  EXPECT_THROW(world.build(), base::Error);
  EXPECT_EQ(looks, 1);
  EXPECT_THAT(world.machines.open, IsEmpty());
  EXPECT_EQ(world.names(world.root / "layers").size(), 1U) << "the base alone";
}

TEST(Build, WhereNothingIsOpenNothingIsLookedAtAndAnInterruptIsNoFailure) {
  for (const auto exit : {base::Exit::failed, base::Exit::interrupted}) {
    World world;
    world.base("base", "1", [&](stage::Workspace&) { throw base::Error("no", exit); });
    int looks = 0;
    world.options.on_failure = [&](const base::Error&, image::System* open) {
      ++looks;
      EXPECT_EQ(open, nullptr);
    };
    EXPECT_THROW(world.build(), base::Error);
    EXPECT_EQ(looks, exit == base::Exit::failed ? 1 : 0);
  }
}

TEST(Build, AnInputEditedWhileAnEarlierStepRunsIsReadAsItWas) {
  World world;
  const fs::path tree = world.dir.path() / "tree";
  fs::create_directories(tree);
  host::write_file(tree / "init.sls", "old");
  world.base("base", "1", [&](stage::Workspace& work) {
    host::write_file(work.new_disk(), "base\n");
    host::write_file(tree / "init.sls", "new");
  });
  world.image(
      "state", "1",
      [&](stage::Workspace& work) {
        work.files().write("/state", host::read_file(work.input(tree) / "init.sls"), {});
        EXPECT_EQ(host::read_file(work.input(tree / "init.sls")),
                  host::read_file(work.input(tree) / "init.sls"));
        EXPECT_THROW(work.input(world.dir.path() / "other"), std::logic_error);
      },
      tree);
  auto report = world.build();
  EXPECT_THAT(world.layer_text(report.steps[1].layer), HasSubstr("write /state old"));
  EXPECT_THAT(whys(world)[1], HasSubstr("init.sls"));
  report = world.build();
  EXPECT_THAT(world.ran, ElementsAre("state"));
  EXPECT_THAT(world.layer_text(report.steps[1].layer), HasSubstr("write /state new"));
}

TEST(Build, AnInputEditedBeforeItWasCopiedStopsTheBuild) {
  World world;
  const fs::path tree = world.dir.path() / "tree";
  fs::create_directories(tree);
  host::write_file(tree / "file", "old");
  world.base("base", "1");
  world.image("state", "1", {}, tree);
  const auto keys = world.keys();
  host::write_file(tree / "file", "new");
  cache::Store store(world.host, world.root);
  EXPECT_THROW(
      engine::build(world.host, world.plan, keys, store, world.options, world.observer, world.machines),
      base::Error);
  EXPECT_THAT(world.ran, IsEmpty());
}

TEST(Build, PublishesImageReportsAndWhatTheyAreAbout) {
  World world;
  world.usual();
  world.machines.dpkg_status =
      "Package: nginx\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.22.1-9\n\n"
      "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n";
  const auto report = world.build();
  EXPECT_THAT(world.names(world.out), ElementsAre("console.log", "demo.qcow2", "image.json", "junit.xml",
                                                  "report.html", "screen.png"));
  const auto all = json::parse(host::read_file(world.out / "image.json"));
  EXPECT_EQ(all.at("verdict"), "proven");
  EXPECT_EQ(all.at("kiln"), "1.2.3");
  EXPECT_EQ(all.at("profile"), "demo");
  EXPECT_EQ(all.at("image").at("sha256"), base::sha256_file(world.out / "demo.qcow2"));
  EXPECT_EQ(all.at("image").at("size"), fs::file_size(world.out / "demo.qcow2"));
  EXPECT_EQ(all.at("image").at("virtual_size"), 4ULL << 30);
  EXPECT_EQ(all.at("packages").size(), 1U);
  EXPECT_EQ(all.at("packages")[0].at("version"), "1.22.1-9");
  EXPECT_EQ(all.at("steps").size(), 4U);
  EXPECT_EQ(all.at("steps")[1].at("layer"), report.steps[1].layer);
  EXPECT_EQ(all.at("tools").at("mmdebstrap"), "mmdebstrap 1.0");
  EXPECT_EQ(all.at("verdicts").size(), 1U);
  EXPECT_THAT(report.artifacts, ElementsAre(world.out / "demo.qcow2"));
  EXPECT_EQ(json::parse(report.json()).at("proven"), true);
  // The store keeps its own: what is published can be edited without harm.
  struct stat status{};
  ASSERT_EQ(::stat((world.out / "demo.qcow2").c_str(), &status), 0);
  EXPECT_EQ(status.st_nlink, 1U);
  EXPECT_EQ(status.st_mode & 0777U, 0644U);
}

TEST(Build, WhatIsKeptSaysOfWhichStepAndProfileItIs) {
  World world;
  world.usual();
  const auto report = world.build();
  const auto artifacts = world.names(world.root / "artifacts");
  ASSERT_EQ(artifacts.size(), 1U);
  for (const auto& [folder, step] : {std::pair(fs::path("layers") / report.steps[1].layer, "one"),
                                     std::pair(fs::path("artifacts") / artifacts[0], "export")}) {
    const json info = json::parse(host::read_file(world.root / folder / "info.json"));
    EXPECT_EQ(info["step"], step);
    EXPECT_EQ(info["profile"], "demo");
  }
}

TEST(Build, ResultsThatWereRemovedComeBackFromTheStore) {
  World world;
  world.usual();
  world.build();
  const auto before = host::read_file(world.out / "image.json");
  fs::remove_all(world.out);
  world.build();
  EXPECT_THAT(world.ran, IsEmpty());
  EXPECT_THAT(world.machines.log, IsEmpty());
  EXPECT_THAT(world.names(world.out), ElementsAre("console.log", "demo.qcow2", "image.json", "junit.xml",
                                                  "report.html", "screen.png"));
  EXPECT_EQ(host::read_file(world.out / "image.json"), before);
}

TEST(Build, TheReportShowsWhatReusedLayersAndExportsKept) {
  World world;
  world.base("base", "1");
  world.guest("salt", "1", [](stage::Workspace& work) {
    work.keep("salt.json", R"({"states": [
      {"id": "motd", "function": "file.managed", "name": "/etc/motd", "sls": "common", "result": true,
       "comment": "File updated: secret", "seconds": 1.5, "changes": {"diff": "+secret", "mode": "0600"}},
      {"id": "told", "function": "cmd.run", "name": "login secret", "sls": "common", "result": true,
       "comment": "Command login secret run", "seconds": 1, "changes": {}},
      {"id": "code", "function": "git.latest", "name": "https://secret@example.org/", "sls": "common",
       "result": true, "comment": "up to date", "seconds": 1, "changes": {}}]})");
  });
  world.artifact("export", "1");
  world.machines.dpkg_status =
      "Package: nginx\nStatus: install ok installed\nInstalled-Size: 2048\nVersion: 1.22.1-9\n";
  world.build();
  EXPECT_THAT(host::read_file(world.out / "report.html"), HasSubstr("ran: never built"));
  world.build();
  EXPECT_THAT(world.machines.log, IsEmpty()) << "nothing is opened for a report";
  const auto page = host::read_file(world.out / "report.html");
  EXPECT_THAT(page, HasSubstr("Everything was reused."));
  EXPECT_THAT(page, HasSubstr("/etc/motd"));
  EXPECT_THAT(page, HasSubstr("in the build that made the layer"));
  EXPECT_THAT(page, Not(HasSubstr("secret"))) << "neither diffs nor commands nor what Salt says of them";
  EXPECT_THAT(page, HasSubstr("nginx <span class=\"dim\">1.22.1-9</span>"));
  EXPECT_THAT(page, HasSubstr(">/boot<"));
  EXPECT_THAT(page, HasSubstr("300 MiB"));
  EXPECT_THAT(page, HasSubstr("no KVM in this world")) << "the kept verdict knows why";
}

TEST(Build, WhatAnOlderKilnDidNotRecordIsNoMistake) {
  World world;
  world.base("base", "1");
  world.guest("salt", "1", [](stage::Workspace& work) { work.keep("salt.json", R"([{"states": 7}])"); });
  world.artifact("export", "1");
  world.build();
  EXPECT_THAT(host::read_file(world.out / "report.html"), HasSubstr("salt: not recorded"));
}

// Two exports, of which none ends before both have begun.
void export_twice(World& world, const std::shared_ptr<std::latch>& both, bool fails = false) {
  world.base("base", "1");
  world.artifact("disk", "1", [=](stage::Workspace& work) {
    both->arrive_and_wait();
    work.observer().doing("writing");
    if (fails) throw base::Error("no room");
    host::write_file(work.output() / (work.profile_name() + ".vdi"), "disk");
  });
  world.artifact("export", "2", [=](stage::Workspace& work) {
    both->arrive_and_wait();
    host::write_file(work.output() / (work.profile_name() + ".qcow2"), "exported");
  });
  world.options.jobs = 2;
  world.options.beside = [&world] { return std::make_unique<FakeObserver>(world.observer); };
}

TEST(Build, ExportsRunSideBySide) {
  World world;
  export_twice(world, std::make_shared<std::latch>(2));
  const auto report = world.build();
  EXPECT_TRUE(report.proven);
  ASSERT_EQ(report.steps.size(), 3U);
  EXPECT_EQ(report.steps[1].id, "disk") << "in the plan's order, whichever ended first";
  EXPECT_EQ(report.steps[2].id, "export");
  EXPECT_EQ(host::read_file(world.out / "demo.vdi"), "disk");
  EXPECT_EQ(host::read_file(world.out / "demo.qcow2"), "exported");
  EXPECT_EQ(std::count(world.machines.log.begin(), world.machines.log.end(), "open mount"), 1)
      << "what is in the layer is read once for both";

  const auto again = world.build();
  EXPECT_THAT(world.ran, IsEmpty());
  EXPECT_TRUE(again.steps[1].reused && again.steps[2].reused);
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
}

TEST(Build, AnExportBesideOneThatFailsIsKept) {
  World world;
  export_twice(world, std::make_shared<std::latch>(2), true);
  try {
    world.build();
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no room"));
    EXPECT_THAT(error.what(), HasSubstr("running step 'disk' (evidence: "));
  }
  EXPECT_THAT(world.names(world.out), IsEmpty());
  EXPECT_THAT(whys(world), ElementsAre("hit", "never built", "hit"));
  const auto evidence = world.names(world.root / "failed");
  ASSERT_EQ(evidence.size(), 1U);
  EXPECT_THAT(host::read_file(world.root / "failed" / evidence[0] / "report.html"), HasSubstr("no room"));
}

TEST(Build, WhatIsSecretIsForTheOwnerAloneAndNamedNowhere) {
  World world;
  world.usual();
  world.secret("pack", [](stage::Workspace& work) {
    fs::create_directories(work.output() / "env" / "canary.example.org");
    host::write_file(work.output() / "env/canary.example.org/demo.qcow2", "canary", 0644);
  });
  fs::create_directories(world.out / "env" / "canary.example.org");
  const auto report = world.build();
  const auto file = world.out / "env/canary.example.org/demo.qcow2";
  EXPECT_THAT(report.artifacts, ElementsAre(world.out / "demo.qcow2", file));
  EXPECT_EQ(host::read_file(file), "canary");
  EXPECT_EQ(fs::status(file).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  for (auto folder = file.parent_path(); folder != world.out; folder = folder.parent_path())
    EXPECT_EQ(fs::status(folder).permissions(), fs::perms::owner_all) << folder;
  EXPECT_EQ(report.verdicts.size(), 1U) << "nothing of it is kept, so that it is not proven";
  for (const auto* name : {"image.json", "report.html"})
    EXPECT_THAT(host::read_file(world.out / name), Not(HasSubstr("canary"))) << name;
  for (const auto& item : fs::recursive_directory_iterator(world.root))
    if (item.is_regular_file())
      EXPECT_THAT(host::read_file(item.path()), Not(HasSubstr("canary"))) << item.path();

  world.build();
  EXPECT_THAT(world.ran, ElementsAre("pack")) << "it is made anew each time";
}

TEST(Build, NothingSecretIsMadeForAnImageThatFailsItsProof) {
  World world;
  world.base("base", "1");
  world.secret("pack", [](stage::Workspace& work) { host::write_file(work.output() / "canary", "canary"); });
  world.artifact("export", "1");
  world.machines.healthy = false;
  EXPECT_TRUE(world.build().refuted());
  EXPECT_THAT(world.ran, ElementsAre("base", "export"));

  world.machines.healthy = true;
  const auto report = world.build();
  EXPECT_THAT(world.ran, ElementsAre("pack")) << "after the proof";
  ASSERT_EQ(report.steps.size(), 3U);
  EXPECT_EQ(report.steps[1].id, "pack") << "in the plan's order";
  EXPECT_THAT(whys(world), ElementsAre("hit", "never kept", "hit"));
}

TEST(Build, AFailedProofPublishesItsReportAlone) {
  World world;
  world.usual();
  world.machines.healthy = false;
  const auto report = world.build();
  EXPECT_TRUE(report.refuted());
  EXPECT_FALSE(report.proven);
  EXPECT_THAT(world.names(world.out), ElementsAre("console.log", "junit.xml", "report.html", "screen.png"));
  EXPECT_THAT(report.artifacts, IsEmpty());
  EXPECT_THAT(host::read_file(report.failure / "error.txt"), HasSubstr("nginx"));
  EXPECT_THAT(host::read_file(world.out / "report.html"), HasSubstr("Not proven"));
  EXPECT_EQ(host::read_file(report.failure / "report.html"), host::read_file(world.out / "report.html"));

  world.machines.healthy = true;
  EXPECT_TRUE(world.build().proven) << "a failed proof is not kept: it is made again";
  EXPECT_THAT(world.ran, IsEmpty()) << "the export is";
  EXPECT_THAT(world.machines.log, ElementsAre("prove bios"));
  EXPECT_THAT(world.names(world.out), Contains("image.json"));
}

TEST(Build, AnImageProvenBeforeStaysWhenItsSuccessorFails) {
  World world;
  world.usual();
  world.build();
  const auto image = host::read_file(world.out / "demo.qcow2");
  const auto about = host::read_file(world.out / "image.json");
  world.change("two", "2");
  world.step("two").stage = world.step("one").stage;
  world.machines.healthy = false;
  EXPECT_TRUE(world.build().refuted());
  EXPECT_EQ(host::read_file(world.out / "demo.qcow2"), image);
  EXPECT_EQ(host::read_file(world.out / "image.json"), about);
}

TEST(Build, WithoutABootItSaysUnprovenAndTakesOldReportsAway) {
  World world;
  world.usual();
  world.build();
  world.options.boot = false;
  const auto report = world.build();
  EXPECT_FALSE(report.proven);
  EXPECT_FALSE(report.refuted());
  EXPECT_THAT(world.machines.log, IsEmpty());
  EXPECT_EQ(json::parse(host::read_file(world.out / "image.json")).at("verdict"), "unproven");
  EXPECT_THAT(world.names(world.out), ElementsAre("demo.qcow2", "image.json", "report.html"));
}

TEST(Build, EveryFirmwareOfTheProfileIsProven) {
  World world;
  world.usual();
  world.plan.profile.proof.firmware = {profile::Firmware::bios, profile::Firmware::uefi};
  const auto report = world.build();
  EXPECT_EQ(report.verdicts.size(), 2U);
  EXPECT_THAT(world.machines.log, Contains("prove uefi"));
  EXPECT_THAT(world.names(world.out),
              ElementsAre("console-uefi.log", "console.log", "demo.qcow2", "image.json", "junit.xml",
                          "report.html", "screen-uefi.png", "screen.png"));

  // The reports of a firmware that is no longer asked for would be about another image.
  world.plan.profile.proof.firmware = {profile::Firmware::bios};
  world.change("two", "2");
  world.build();
  EXPECT_THAT(world.names(world.out), Not(Contains(HasSubstr("uefi"))));
}

TEST(Build, AnotherQuestionAsksForAnotherProof) {
  World world;
  world.usual();
  const auto proof = [&] {
    const auto proofs = world.states().proofs;
    EXPECT_EQ(proofs.size(), 1U);
    EXPECT_EQ(proofs.at(0).id, "proof-bios");
    return proofs.at(0).state.hit ? "hit" : proofs.at(0).state.why;
  };
  EXPECT_EQ(proof(), "export missed");
  world.build();
  EXPECT_EQ(proof(), "hit");
  const auto verdict = [&] {
    for (const std::string& name : world.names(world.root / "verdicts"))
      if (name.ends_with(".json")) return world.root / "verdicts" / name;
    throw std::logic_error("no verdict");
  };
  const std::string kept = host::read_file(verdict());
  json old = json::parse(kept);
  old["verdict"] = "passed";
  host::write_file(verdict(), old.dump());
  EXPECT_EQ(proof(), "proven by an older kiln");
  old["proof"] = 1;
  host::write_file(verdict(), old.dump());
  EXPECT_EQ(proof(), "proven by an older kiln");
  host::write_file(verdict(), "{}");
  EXPECT_EQ(proof(), "never proven");
  host::write_file(verdict(), kept);
  world.plan.profile.proof.units = {"nginx.service"};
  EXPECT_EQ(proof(), "checks changed");
  EXPECT_FALSE(world.build().proof_reused);
  EXPECT_THAT(world.machines.log, ElementsAre("prove bios"));
  EXPECT_TRUE(world.build().proof_reused);
}

TEST(Build, TheTimeTheUserGivesHoldsForTheProofToo) {
  World world;
  world.usual();
  world.options.timeout = std::chrono::seconds(90);
  world.build();
  EXPECT_EQ(world.machines.last_proof.boot, std::chrono::seconds(90));
}

TEST(Build, StopsBehindAStep) {
  World world;
  world.usual();
  world.options.until = "one";
  const auto report = world.build();
  EXPECT_THAT(world.ran, ElementsAre("base", "one"));
  EXPECT_EQ(report.steps.size(), 2U);
  EXPECT_FALSE(fs::exists(world.out));
  world.options.until = "tow";
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    EXPECT_THAT(error.message(), HasSubstr("did you mean 'two'?"));
  }
}

TEST(Build, AllMissingToolsAreNamedBeforeTheFirstStepRuns) {
  World world;
  world.base("base", "1");
  world.guest("salt", "1");
  world.runner->missing = {"mmdebstrap", "qemu-img", "qemu-system-x86_64"};
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    for (const auto* word : {"mmdebstrap", "qemu-img (package qemu-utils)", "qemu-system-x86_64"})
      EXPECT_THAT(error.message(), HasSubstr(word));
    EXPECT_THAT(error.hint_text(), HasSubstr("apt-get install mmdebstrap qemu-system-x86 qemu-utils"));
  }
  EXPECT_THAT(world.ran, IsEmpty());
}

TEST(Build, ToolsOfTheProofAreMissedBeforeTheFirstStepToo) {
  World world;
  world.usual();
  world.runner->missing = {"ssh-keygen", "losetup"};
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("ssh-keygen (package openssh-client)"));
    EXPECT_THAT(error.message(), Not(HasSubstr("losetup")));
  }
  EXPECT_THAT(world.ran, IsEmpty());
}

TEST(Build, WhatIsBuiltAlreadyNeedsNoTool) {
  World world;
  world.usual();
  world.build();
  world.runner->missing = {"mmdebstrap", "qemu-img", "qemu-system-x86_64", "ssh"};
  EXPECT_TRUE(world.build().proven);
}

TEST(Build, AnOutputThatIsNoFolderIsToldBeforeAStepBegins) {
  World world;
  world.usual();
  fs::create_directories(world.out.parent_path());
  host::write_file(world.out, "somebody's file");
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    EXPECT_THAT(error.message(), HasSubstr(world.out.string() + " is no directory"));
  }
  EXPECT_THAT(world.ran, IsEmpty());
}

TEST(Build, AFullDiskIsToldBeforeAStepBegins) {
  World world;
  world.usual();
  world.options.need_free = 1ULL << 60;
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::failed);
    EXPECT_THAT(error.message(), HasSubstr("file system at /"));
    EXPECT_THAT(error.message(), HasSubstr("step 'base' needs"));
  }
  EXPECT_THAT(world.ran, IsEmpty());
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
}

TEST(Build, AStoreThatCannotBeWrittenServesABuildWithNothingToDo) {
  World world;
  world.usual();
  world.build();
  fs::remove_all(world.out);
  const bool was_root = ::geteuid() == 0;
  const fs::path out = world.dir.path() / "out";
  fs::create_directories(out);
  if (was_root) {
    // Root writes anywhere: it becomes somebody else for this test.
    for (const auto& item : fs::recursive_directory_iterator(world.dir.path()))
      ASSERT_EQ(::lchown(item.path().c_str(), 65534, 65534), 0);
    ASSERT_EQ(::chmod(world.dir.path().c_str(), 0711), 0);
  }
  for (const auto& item : fs::recursive_directory_iterator(world.root))
    if (item.is_directory()) ::chmod(item.path().c_str(), 0500);
  ::chmod(world.root.c_str(), 0500);
  ASSERT_TRUE(!was_root || ::seteuid(65534) == 0);
  world.host.uid = static_cast<int>(::geteuid());

  EXPECT_TRUE(world.build().proven);
  EXPECT_TRUE(fs::exists(world.out / "image.json"));
  world.change("two", "2");
  try {
    world.build();
    ADD_FAILURE() << "built";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::missing);
    EXPECT_THAT(error.hint_text(), HasSubstr("--store"));
  }

  ASSERT_TRUE(!was_root || ::seteuid(0) == 0);
  for (const auto& item : fs::recursive_directory_iterator(world.root))
    if (item.is_directory()) ::chmod(item.path().c_str(), 0700);
  ::chmod(world.root.c_str(), 0700);
}

TEST(Build, TwoBuildsOnOneStoreDoNotMeet) {
  World world;
  world.usual();
  std::vector<pid_t> all;
  for (int i = 0; i < 3; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = 1;
      try {
        world.options.output = world.dir.path() / fmt::format("out-{}", i);
        status = world.build().proven ? 0 : 2;
      } catch (const std::exception& failure) {
        fmt::print(stderr, "{}\n", failure.what());
      }
      ::_exit(status);
    }
    all.push_back(child);
  }
  for (const auto child : all) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  }
  EXPECT_THAT(world.names(world.root / "tmp"), IsEmpty());
  for (int i = 0; i < 3; ++i) {
    const auto out = world.dir.path() / fmt::format("out-{}", i);
    EXPECT_EQ(json::parse(host::read_file(out / "image.json")).at("image").at("sha256"),
              base::sha256_file(out / "demo.qcow2"));
  }
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit", "hit", "hit"));
}

TEST(Build, OfTwoBuildersOfOneStepOneBuildsAndTheOtherWaits) {
  World world;
  const fs::path count = world.dir.path() / "count";
  world.base("base", "1", [&](stage::Workspace& work) {
    const int fd = ::open(count.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    EXPECT_EQ(::write(fd, "x", 1), 1);
    ::close(fd);
    ::usleep(1'500'000);  // the other has to come to the lock meanwhile, on a machine with other work too
    host::write_file(work.new_disk(), "base\n");
  });
  std::vector<pid_t> all;
  for (int i = 0; i < 2; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      int status = 1;
      try {
        world.build();
        const auto& lines = world.observer.lines;
        const bool waited = std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
          return line.find("is being built by process") != std::string::npos;
        });
        status = waited ? 42 : 0;
      } catch (const std::exception& failure) {
        fmt::print(stderr, "{}\n", failure.what());
      }
      ::_exit(status);
    }
    all.push_back(child);
  }
  std::vector<int> results;
  for (const auto child : all) {
    int status = -1;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    results.push_back(WEXITSTATUS(status));
  }
  EXPECT_THAT(results, testing::UnorderedElementsAre(0, 42));
  EXPECT_EQ(host::read_file(count), "x");
  EXPECT_EQ(world.names(world.root / "layers").size(), 1U);
}

TEST(Build, AForeignPartialFileInTheOutputIsSweptAndAStrangersFileIsNot) {
  World world;
  world.usual();
  fs::create_directories(world.out);
  host::write_file(world.out / ".kiln-part-0123", "killed");
  // what copying into that part, and writing a text, is called before it is whole
  host::write_file(world.out / "..kiln-part-0123.Ab12Cd", "killed");
  host::write_file(world.out / "notes.txt", "mine");
  world.build();
  EXPECT_THAT(world.names(world.out), Contains("notes.txt"));
  EXPECT_THAT(world.names(world.out), Not(Contains(HasSubstr("kiln-part"))));
}

TEST(Build, ACopyOfAProfileUnderAnotherNamePublishesUnderItsOwn) {
  World world;
  world.usual();
  world.build();
  world.plan.profile.name = "other";
  world.build();
  EXPECT_THAT(world.names(world.out), Contains("other.qcow2")) << "not the export of its namesake";
}

TEST(Build, TheStoreIsTrimmedToWhatWasAskedForAndKeepsWhatThisBuildUsed) {
  World world;
  world.usual();
  const auto first = layers(world.build());
  world.change("two", "2");
  world.options.store_limit = 0;
  const auto second = layers(world.build());
  EXPECT_EQ(second[1], first[1]);
  auto kept = second;
  std::sort(kept.begin(), kept.end());
  EXPECT_EQ(world.names(world.root / "layers"), kept);
  ASSERT_EQ(world.names(world.root / "artifacts").size(), 1U);
  EXPECT_THAT(whys(world), ElementsAre("hit", "hit", "hit", "hit"));
  EXPECT_TRUE(world.build().proof_reused) << "the verdict of a kept export is kept too";
}

TEST(Build, SecondsAreNeverNegativeWhenTheClockIsSetBack) {
  World world;
  world.usual();
  world.build();
  world.clock = 1000;
  EXPECT_TRUE(world.build().proof_reused);
  for (const auto& state : world.states().steps) EXPECT_GE(state.last_seconds, 0);
}

}  // namespace
}  // namespace kiln::engine
