#include "engine/workspace.hpp"

#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <optional>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "host/tree.hpp"
#include "unit/engine/machines_fake.hpp"

namespace kiln::engine {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Workspace, OnlyOneOfFilesSandboxAndGuestIsOpenAtATime) {
  World world;
  world.base("base", "1");
  world.image("mixed", "1", [](stage::Workspace& work) {
    work.files().write("/a", "1", {});
    work.files().write("/b", "2", {});
    work.system().require(command({"apt-get", "install"}));
    EXPECT_FALSE(work.system().booted());
    work.guest().require(command({"salt-call"}));
    EXPECT_TRUE(work.guest().booted());
    work.files().write("/c", "3", {});
  });
  const auto report = world.build();
  EXPECT_THAT(world.machines.log, ElementsAre("overlay", "open mount", "close mount", "open sandbox",
                                              "close sandbox", "open mount", "close mount", "open guest",
                                              "close guest", "open mount", "close mount"));
  EXPECT_THAT(world.layer_text(report.steps[1].layer),
              HasSubstr("write /a 1\nwrite /b 2\nrun apt-get install\nrun salt-call\nwrite /c 3\n"));
}

TEST(Workspace, WithoutRootFilesGoByLibguestfsAndCommandsToTheGuest) {
  World world;
  world.options.native = false;
  world.base("base", "1");
  world.image("mixed", "1", [](stage::Workspace& work) {
    work.files().write("/a", "1", {});
    EXPECT_TRUE(work.system().booted());
  });
  world.build();
  EXPECT_THAT(world.machines.log,
              ElementsAre("overlay", "open guestfs-tcg", "close guestfs-tcg", "open guestfs-tcg",
                          "close guestfs-tcg", "open guest", "close guest"));
}

TEST(Workspace, TheNewestKernelIsBootedWithTheRootTheFstabNames) {
  World world;
  world.machines.boot_names = {"vmlinuz-6.1.0-9",     "initrd.img-6.1.0-9", "vmlinuz-6.1.0-10",
                               "initrd.img-6.1.0-10", "vmlinuz-6.5.0-1",    "config-6.1.0-9"};
  world.machines.fstab = "# /etc/fstab\nUUID=12-34\t/\text4 defaults 0 1\nUUID=56 /boot ext4 defaults 0 2\n";
  world.plan.profile.guest.memory = 3ULL << 30;
  world.plan.profile.guest.cpus = 4;
  world.options.timeout = std::chrono::seconds(77);
  world.base("base", "1");
  world.guest("one", "1", [&](stage::Workspace& work) {
    work.guest();
    EXPECT_EQ(host::read_file(world.machines.last_guest.kernel), "/boot/vmlinuz-6.1.0-10");
    EXPECT_EQ(host::read_file(world.machines.last_guest.initrd), "/boot/initrd.img-6.1.0-10");
  });
  world.build();
  EXPECT_EQ(world.machines.last_guest.root, "UUID=12-34");
  EXPECT_EQ(world.machines.last_guest.memory, 3ULL << 30);
  EXPECT_EQ(world.machines.last_guest.cpus, 4);
  EXPECT_EQ(world.machines.last_guest.limits.step, std::chrono::seconds(77));
}

TEST(Workspace, AnImageWithoutAKernelCannotBeBooted) {
  World world;
  world.machines.boot_names = {"vmlinuz-6.1.0-9"};
  world.base("base", "1");
  world.guest("one", "1");
  try {
    world.build();
    FAIL() << "built";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.message(), HasSubstr("no kernel"));
    EXPECT_THAT(error.hint_text(), HasSubstr("kernel"));
  }
}

TEST(Workspace, TheSandboxIsOfferedTheStoresPackages) {
  World world;
  world.base("base", "1");
  world.image("one", "1", [](stage::Workspace& work) { work.system(); });
  world.build();
  EXPECT_EQ(world.machines.last_debs, world.root / "packages" / "debs");
}

TEST(Workspace, WhatAMirrorGaveIsGoodByTheProfilesFreshAndOfNoUseToAForcedStep) {
  // Seconds before the moment it is asked at; nullopt: nothing is too old.
  const auto good_for = [](const std::function<void(World&)>& change) {
    World world;
    std::optional<std::int64_t> seconds;
    world.base("base", "1");
    world.image("one", "1", [&](stage::Workspace& work) {
      const std::int64_t now = world.clock;
      if (const std::int64_t since = work.good_since(); since != 0) seconds = now - since;
    });
    change(world);
    world.build();
    return seconds;
  };
  constexpr std::int64_t week = 7 * 86'400L;
  EXPECT_EQ(good_for([](World&) {}), week - 1) << "a layer of that age is too old";
  EXPECT_EQ(good_for([](World& world) { world.plan.profile.fresh = std::nullopt; }), std::nullopt);
  EXPECT_EQ(good_for([](World& world) { world.options.from = "one"; }), 0);
  EXPECT_EQ(good_for([](World& world) {
              world.plan.profile.fresh = std::nullopt;
              world.options.from = "one";
            }),
            0)
      << "pinned as well: it is run whatever the store has";
  EXPECT_EQ(good_for([](World& world) {
              world.options.from = "one";
              world.options.offline = true;
            }),
            std::nullopt);
}

TEST(Workspace, WhatAStageLogsIsInTheLogAsItIs) {
  World world;
  world.machines.answer = [](const image::Exec&) {
    host::Finished finished;
    finished.exit = 0;
    finished.out = "Setting up nginx\n";
    return finished;
  };
  world.base("base", "1");
  world.image("one", "1", [](stage::Workspace& work) {
    work.system().run(command({"apt-get"}), [&](host::Stream, std::string_view piece) {
      work.log(piece);
      work.observer().output("Setting up nginx");
      work.log("and more\n");
    });
    // A stage shows what it logs; showing alone is for the eye.
    work.observer().output("said by the stage");
    work.log("again\nagain\n");
  });
  const auto report = world.build();
  const auto log = host::read_file(world.root / "layers" / report.steps[1].layer / "log");
  EXPECT_EQ(log.find("Setting up nginx"), log.rfind("Setting up nginx")) << log;
  EXPECT_THAT(log, HasSubstr("sandbox$ apt-get\n"));
  EXPECT_THAT(log, HasSubstr("and more\n"));
  EXPECT_THAT(log, Not(HasSubstr("said by the stage")));
  EXPECT_THAT(log, HasSubstr("again\nagain\n")) << "all of it";
}

TEST(Workspace, NothingOfTheWorkStaysInTheLayer) {
  World world;
  world.base("base", "1");
  world.image("one", "1", [](stage::Workspace& work) {
    host::write_file(work.scratch() / "big", "x");
    EXPECT_TRUE(fs::exists(work.scratch() / "big")) << "one folder for the step";
    work.system();
    EXPECT_TRUE(fs::exists(work.scratch() / "big")) << "what a stage prepared is there to carry in";
    work.guest();
    work.keep("salt.json", "{}");
    work.resolved("package nginx 1");
  });
  const auto report = world.build();
  EXPECT_THAT(world.names(world.root / "layers" / report.steps[1].layer),
              ElementsAre("console", "image.qcow2", "info.json", "log", "salt.json"));
  cache::Store store(world.host, world.root);
  EXPECT_THAT(store.find_layer_by_id(report.steps[1].layer)->info, HasSubstr("package nginx 1"));
}

TEST(Workspace, ArtifactStepsReadTheImageAndMayNotChangeIt) {
  World world;
  world.base("base", "1");
  world.artifact("export", "1", [](stage::Workspace& work) {
    EXPECT_THROW(work.files(), std::logic_error);
    EXPECT_THROW(work.system(), std::logic_error);
    EXPECT_THROW(work.guest(), std::logic_error);
    host::write_file(work.output() / "demo.img", "raw");
  });
  EXPECT_FALSE(world.build().proven) << "nothing that could be booted";
  EXPECT_THAT(world.names(world.out), ElementsAre("demo.img", "image.json", "report.html"));
}

TEST(Workspace, AnArtifactStepThatLeavesNothingFails) {
  World world;
  world.base("base", "1");
  world.artifact("export", "1", [](stage::Workspace&) {});
  EXPECT_THROW(world.build(), base::Error);
}

TEST(Workspace, ACommandOfTheHostHasHalfAnHourOrWhatTheUserSays) {
  for (const auto& [said, limit] : {std::pair(0, 1800), std::pair(90, 90)}) {
    World world;
    world.options.timeout = std::chrono::seconds(said);
    std::chrono::seconds seen{0};
    world.base("base", "1", [&](stage::Workspace& work) {
      seen = work.step_limit();
      host::write_file(work.new_disk(), "x");
    });
    world.build();
    EXPECT_EQ(seen.count(), limit);
  }
}

TEST(Workspace, BlobsComeByDigestAndAreKept) {
  World world;
  const fs::path file = world.dir.path() / "image.raw";
  host::write_file(file, "content");
  const auto sha256 = base::sha256("content");
  world.base("base", "1", [&](stage::Workspace& work) {
    const auto blob = work.blob("file://" + file.string(), sha256);
    EXPECT_EQ(host::read_file(blob), "content");
    fs::remove(file);
    EXPECT_EQ(work.blob("file://" + file.string(), sha256), blob) << "not fetched again";
    host::write_file(work.new_disk(), "x");
  });
  world.build();
  EXPECT_TRUE(fs::exists(world.root / "blobs" / sha256));
}

TEST(Workspace, OfflineABlobHasToBeThere) {
  World world;
  world.options.offline = true;
  const auto sha256 = base::sha256("content");
  bool kept = false;
  world.base("base", "1", [&](stage::Workspace& work) {
    EXPECT_TRUE(work.offline());
    EXPECT_EQ(host::read_file(work.blob("https://user:secret@mirror.test/image", sha256)), "content");
    kept = true;
    host::write_file(work.new_disk(), "x");
  });
  try {
    world.build();
    ADD_FAILURE() << "there is no such blob";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::failed);
    EXPECT_THAT(error.what(),
                HasSubstr("--offline: the store does not keep https://mirror.test/image; build once "
                          "without --offline"));
    EXPECT_THAT(error.what(), HasSubstr("running step 'base'"));
  }
  host::write_file(world.root / "blobs" / sha256, "c0ntent");
  EXPECT_THROW(world.build(), base::Error);
  host::write_file(world.root / "blobs" / sha256, "content");
  world.build();
  EXPECT_TRUE(kept);
}

TEST(Inputs, AFileThatChangedBetweenTwoKeysIsRefused) {
  const host::TempDir dir;
  host::write_file(dir.path() / "list", "one");
  const auto before = host::walk(dir.path() / "list");
  host::write_file(dir.path() / "list", "two");
  const auto after = host::walk(dir.path() / "list");
  Inputs inputs;
  inputs.take({{dir.path() / "list", after}}, dir.path() / "copies");
  inputs.take({{dir.path() / "list", after}}, dir.path() / "copies");
  EXPECT_EQ(host::read_file(*inputs.find(dir.path() / "list")), "two");
  EXPECT_THROW(inputs.take({{dir.path() / "list", before}}, dir.path() / "copies"), base::Error);
}

TEST(DpkgStatus, ListsWhatIsInstalled) {
  const auto packages = parse_dpkg_status(
      "Package: zsh\nStatus: install ok installed\nPriority: optional\nInstalled-Size: 2401\nArchitecture: "
      "amd64\nVersion: "
      "5.9-4+b6\n"
      "Description: shell\n more\n .\n Package: not this\n\n"
      "Package: adduser\nStatus: install ok installed\nArchitecture: all\nVersion: 3.134\n\n"
      "Package: half\nStatus: install ok half-configured\nVersion: 1\n");
  ASSERT_EQ(packages.size(), 2U);
  EXPECT_EQ(packages[0].name, "adduser");
  EXPECT_EQ(packages[0].size, 0U) << "not every one says it";
  EXPECT_EQ(packages[1].size, 2401U * 1024);
  EXPECT_EQ(packages[1].version, "5.9-4+b6");
  EXPECT_EQ(packages[1].architecture, "amd64");
}

}  // namespace
}  // namespace kiln::engine
