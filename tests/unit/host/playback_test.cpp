#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"

using namespace kiln;
using namespace std::chrono_literals;
using host::Command;
using testing::HasSubstr;

namespace {

std::string error_of(const std::function<void()>& deed) {
  try {
    deed();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST(Playback, AnswersWithWhatReallyHappened) {
  const fakes::TempTree tree;
  Command with_input{"sh", "-c", "cat; echo err >&2; exit 3"};
  with_input.input = "in";
  {
    const auto real = host::system_runner();
    const auto recorder = host::record_runner(*real, tree / "recordings");
    recorder->run(with_input);
    recorder->run({"sh", "-c", "kill -9 $$"});
    recorder->start({"sh", "-c", "exit 6"})->wait(20s);
    recorder->find_program("sh");
    recorder->find_program("kiln-no-such-program");
  }
  host::PlaybackRunner player(tree / "recordings");
  EXPECT_EQ(player.unused().size(), 3U);
  EXPECT_EQ(player.run({"sh", "-c", "kill -9 $$"}, {}).signal, 9) << "in another order";
  std::string streamed;
  const auto finished =
      player.run(with_input, [&](host::Stream, std::string_view text) { streamed += text; });
  EXPECT_EQ(finished.exit, 3);
  EXPECT_EQ(finished.out, "in");
  EXPECT_EQ(finished.err, "err\n");
  EXPECT_EQ(streamed, "inerr\n");
  EXPECT_THAT(player.unused(), testing::ElementsAre("0003-sh.json: sh -c 'exit 6'"));
  EXPECT_EQ(player.start({"sh", "-c", "exit 6"})->wait(0ms)->exit, 6);
  EXPECT_THAT(player.unused(), testing::IsEmpty());
  EXPECT_TRUE(player.find_program("sh").has_value());
  EXPECT_EQ(player.find_program("kiln-no-such-program"), std::nullopt);
}

TEST(Playback, ThrowsOnACommandThatWasNotRecorded) {
  fakes::TempTree tree;
  tree.file("1.json", R"({"argv": ["qemu-img", "info", "a"], "exit": 0, "out": "first"})");
  host::PlaybackRunner player(tree.path());
  EXPECT_THAT(error_of([&] { player.run({"qemu-img", "info", "b"}, {}); }),
              HasSubstr("no recording of this command: qemu-img info b"));
  Command other_input{"qemu-img", "info", "a"};
  other_input.input = "x";
  EXPECT_THAT(error_of([&] { player.run(other_input, {}); }), HasSubstr("no recording"));
  EXPECT_THAT(error_of([&] { player.start({"qemu-img", "info", "a"}); }), HasSubstr("no recording"));
  EXPECT_EQ(player.run({"qemu-img", "info", "a"}, {}).out, "first");
  EXPECT_THAT(error_of([&] { player.run({"qemu-img", "info", "a"}, {}); }),
              HasSubstr("more often than it was recorded"));
}

TEST(Playback, MatchesNamesThatDifferEachTimeByAPlaceholder) {
  fakes::TempTree tree;
  tree.file("1.json", R"({"argv": ["mkfs", "{{any}}/disk-{{any}}.raw"], "exit": 0})");
  host::PlaybackRunner player(tree.path());
  EXPECT_THAT(error_of([&] { player.run({"mkfs", "/x/other.raw"}, {}); }), HasSubstr("no recording"));
  EXPECT_THAT(error_of([&] { player.run({"mkfs", "/x/disk-1.img"}, {}); }), HasSubstr("no recording"));
  EXPECT_TRUE(player.run({"mkfs", "/tmp/kiln-8Fx/disk-2.raw"}, {}).ok());
}

TEST(Playback, NamesTheFileThatIsNoRecording) {
  fakes::TempTree tree;
  const auto file = tree.file("1.json", "{\"argv\": 3}");
  EXPECT_THAT(error_of([&] { host::PlaybackRunner{tree.path()}; }), HasSubstr(file.string()));
  EXPECT_THAT(error_of([&] { host::PlaybackRunner{tree / "none"}; }), HasSubstr("none"));
}

TEST(FakeWorld, FailsATestThatAsksMoreThanItsScriptKnows) {
  fakes::World world;
  world.on({"qemu-img"}, fakes::failed(1, "any")).on({"qemu-img", "info"}, fakes::printed("{}"));
  const host::Host host = world.host();
  EXPECT_EQ(host.runner->run({"qemu-img", "info", "x"}).out, "{}");
  EXPECT_EQ(host.runner->run({"qemu-img", "create"}).exit, 1);
  EXPECT_THROW(host.runner->run({"mke2fs"}), std::logic_error);
  EXPECT_THAT(world.lines(), testing::ElementsAre("qemu-img info x", "qemu-img create", "mke2fs"));
  EXPECT_TRUE(host.runner->find_program("qemu-img").has_value());
  EXPECT_FALSE(host.runner->find_program("mke2fs").has_value());
  world.now += 5;
  EXPECT_EQ(host.now(), 1'700'000'005);
}
