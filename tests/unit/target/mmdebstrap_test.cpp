#include "target/mmdebstrap.hpp"

#include <algorithm>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "fakes/host.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::target {
namespace {

namespace fs = std::filesystem;

class MmdebstrapTest : public ::testing::Test {
 protected:
  [[nodiscard]] fs::path at(const std::string& name) const { return folder_.path() / name; }
  Mmdebstrap mmdebstrap(Mmdebstrap::Source source = {
                            .suite = "bookworm", .mirror = "", .keyring = ""}) const {
    fs::create_directories(at("scratch"));
    return {std::move(source), at("debs"), at("lists"), at("scratch")};
  }
  std::string run(Mmdebstrap& one, const host::Command& command = {"mmdebstrap", "--mode=root"}) {
    try {
      one.run(
          world_.host(), command, at("to"), [&](std::string_view line) { lines_.emplace_back(line); },
          [&](std::string_view piece) { log_ += piece; });
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  [[nodiscard]] const std::vector<std::string>& argv() { return world_.commands().back().argv; }

  host::TempDir folder_;
  fakes::World world_;
  std::vector<std::string> lines_;
  std::string log_;
};

TEST_F(MmdebstrapTest, ItsOwnOptionsComeBeforeTheCallersAndTheTargetLast) {
  auto one = mmdebstrap({.suite = "bookworm",
                         .mirror = "file:///srv/debian",
                         .components = {"main", "contrib"},
                         .variant = "important",
                         .keyring = "/k"});
  world_.on({"mmdebstrap"}, fakes::printed("I: one\ntwo"));
  EXPECT_EQ(run(one), "");
  const std::string scratch = at("scratch").string();
  EXPECT_EQ(argv(), (std::vector<std::string>{
                        "mmdebstrap", "--variant=important", "--components=main,contrib",
                        "--skip=download/empty,essential/unlink",
                        "--setup-hook=tar-in " + scratch + "/packages.tar /",
                        "--customize-hook=sync-out /var/cache/apt/archives " + scratch + "/debs",
                        "--customize-hook=sync-out /var/lib/apt/lists " + scratch + "/lists", "--keyring=/k",
                        "--mode=root", "bookworm", at("to").string(), "file:///srv/debian"}));
  EXPECT_EQ(lines_, (std::vector<std::string>{"I: one", "two"}));
  EXPECT_TRUE(log_.starts_with("$ ")) << log_;
  EXPECT_TRUE(log_.ends_with("\nI: one\ntwo")) << log_;
}

TEST_F(MmdebstrapTest, KeptPackagesAreOfferedAndNewOnesKept) {
  fs::create_directories(at("debs"));
  host::write_file(at("debs") / (base::sha256("old") + "_old_1_all.deb"), "old");
  auto one = mmdebstrap();
  world_.on({"mmdebstrap"}, [&](const host::Command&) {
    std::vector<std::string> offered;
    host::read_archive(at("scratch/packages.tar"),
                       [&](const host::Member& member, const auto&) { offered.push_back(member.path); });
    EXPECT_EQ(offered.back(), "var/cache/apt/archives/old_1_all.deb");
    host::write_file(at("scratch/debs/new_2_all.deb"), "new");
    return fakes::printed("");
  });
  EXPECT_EQ(run(one), "");
  EXPECT_TRUE(fs::exists(at("debs") / (base::sha256("new") + "_new_2_all.deb")));
}

TEST_F(MmdebstrapTest, OfflineTheListsKeptAreServedAndWhatIsMissingIsNamed) {
  auto first = mmdebstrap();
  world_.on({"mmdebstrap"}, [&](const host::Command&) {
    host::write_file(at("scratch/lists/m_dists_bookworm_InRelease"), "x");
    host::write_file(at("scratch/lists/m_i18n_Translation-en"), "of no use");
    return fakes::printed("");
  });
  ASSERT_EQ(run(first), "");
  first.keep_lists("x", 1000);

  auto second = mmdebstrap();
  EXPECT_EQ(second.keep_offline(at("kept")), 1000);
  world_.on({"mmdebstrap"},
            fakes::failed(25, "E: Failed to fetch http://m/pool/nano_7.2_amd64.deb  it is not\n"));
  const std::string error = run(second);
  EXPECT_EQ(error.find("--offline: the store does not keep nano_7.2_amd64.deb; build once"), 0U) << error;
  EXPECT_NE(std::find(argv().begin(), argv().end(),
                      "--aptopt=Dir::Bin::Methods \"" + at("kept/methods").string() + "/\""),
            argv().end());
  EXPECT_TRUE(fs::exists(at("kept/lists/m_dists_bookworm_InRelease")));
  EXPECT_FALSE(fs::exists(at("kept/lists/m_i18n_Translation-en")));
}

TEST_F(MmdebstrapTest, ListsOfOtherSourcesAreNotTaken) {
  auto first = mmdebstrap();
  world_.on({"mmdebstrap"}, fakes::printed(""));
  ASSERT_EQ(run(first), "");
  first.keep_lists("x", 1000);
  auto second =
      mmdebstrap({.suite = "bookworm", .mirror = "", .components = {"main", "contrib"}, .keyring = ""});
  EXPECT_THROW(second.keep_offline(at("kept")), base::Error);
}

TEST_F(MmdebstrapTest, AFailureOnlineIsMmdebstrapsOwn) {
  auto one = mmdebstrap();
  world_.on({"mmdebstrap"},
            fakes::failed(25, "E: Failed to fetch http://m/pool/nano_7.2_amd64.deb  it is not\n"));
  EXPECT_NE(run(one).find("exit status 25"), std::string::npos);
}

}  // namespace
}  // namespace kiln::target
