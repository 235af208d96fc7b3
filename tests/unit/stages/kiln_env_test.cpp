// Files of this machine go into an image that is a folder; /usr/bin/env stands for kiln-env, for it shows
// what it was started with.
#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <string>
#include <vector>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "stage/key_writer.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType kiln_env;

namespace {

namespace fs = std::filesystem;
using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

constexpr const char* kProgram = "{program: /usr/bin/env}";

class MachineWorkspace final : public tests::FakeWorkspace {
 public:
  const host::Host& host() const override { return real_; }
  // Where /usr/local of the image lies on this machine.
  [[nodiscard]] fs::path local() const { return image_files.root() / "usr/local"; }
  // What a program says that is started with this environment alone.
  std::string says(const std::vector<std::string>& argv, const std::string& path = "/bin:/usr/bin") {
    host::Command command;
    command.argv = argv;
    command.clear_env = true;
    command.env["PATH"] = path;
    return host::require(*real_.runner, command).out;
  }

 private:
  host::Host real_ = host::Host::system();
};

// Composed once, for it is big; no test changes it.
class KilnEnvTree : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    work_ = std::make_unique<MachineWorkspace>();
    work_->image_files.add("/usr/local/lib/kiln/lib/libold.so.1", "of an earlier build");
    tests::make_stage(kiln_env, kProgram)->run(*work_);
  }
  static void TearDownTestSuite() { work_.reset(); }
  static std::unique_ptr<MachineWorkspace> work_;
};
std::unique_ptr<MachineWorkspace> KilnEnvTree::work_;

std::string key_text(const host::Host& host) {
  stage::KeyWriter key(host);
  tests::make_stage(kiln_env, kProgram)->describe(key);
  return key.text();
}

TEST_F(KilnEnvTree, ItHoldsProgramsLoaderLibrariesFontsAndNothingElse) {
  std::vector<std::string> lines = work_->image_files.listing();
  for (std::string& line : lines) {
    // The content is this machine's; what is asked here is kind, mode and owner.
    if (line.starts_with("f ")) line.erase(line.rfind(' '));
  }
  const std::string tree = " 0:0 /usr/local/lib/kiln";
  for (const char* name : {"kiln-env", "gpg", "gpg-agent", "mdir", "mtype", "pdftoppm", "xorriso"}) {
    EXPECT_THAT(lines, Contains("f 0755" + tree + "/bin/" + name));
    EXPECT_THAT(lines, Contains("f 0755" + tree + "/libexec/" + name));
  }
  EXPECT_THAT(lines, Contains("f 0755" + tree + "/lib/ld.so"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/lib/libc.so.6"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/lib/libgcrypt.so.20"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/lib/libnss_compat.so.2"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/fonts/DejaVuSansMono.ttf"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/gconv/IBM850.so"));
  EXPECT_THAT(lines, Contains("f 0644" + tree + "/gconv/gconv-modules"));
  for (const char* path : {"bin/kiln-env", "bin/flatyaml", "bin/flatyaml.py", "sbin/env-create.sh",
                           "sbin/env-package.sh", "sbin/env-update.sh"})
    EXPECT_THAT(lines, Contains(std::string("f 0755 0:0 /usr/local/") + path));
  EXPECT_FALSE(work_->image_files.find("/usr/local/lib/kiln/lib/libold.so.1")) << "of an earlier build";
  for (const std::string& line : lines) EXPECT_THAT(line, HasSubstr(" /usr")) << "outside of /usr/local";
}

TEST_F(KilnEnvTree, ProgramsFindEachOtherAndLeakNoLibraryPath) {
  const std::string tree = fs::canonical(work_->local() / "lib/kiln").string();
  const std::string seen = work_->says({(work_->local() / "bin/kiln-env").string()}, "/usr/bin:/bin");
  EXPECT_THAT(base::lines(seen), Contains("PATH=" + tree + "/libexec:/usr/bin:/bin"));
  EXPECT_THAT(base::lines(seen), Contains("KILN_ENV_FONTS=" + tree + "/fonts"));
  EXPECT_THAT(seen, Not(HasSubstr("LD_")));
  EXPECT_THAT(work_->says({tree + "/libexec/gpgconf", "--list-components"}),
              StartsWith("gpg:OpenPGP:" + tree + "/libexec/gpg\n"));
  EXPECT_THAT(work_->says({tree + "/libexec/gpgconf", "--list-dirs"}), IsEmpty());
}

TEST_F(KilnEnvTree, TheWordsOfACallArriveAsTheyAre) {
  const fakes::TempTree programs({{"create", "#!/bin/sh\necho create \"$@\"\n", 0755},
                                  {"package", "#!/bin/sh\necho package \"$@\"\n", 0755},
                                  {"update", "#!/bin/sh\necho update \"$@\"\n", 0755}});
  const auto said = [&](const char* program, const std::vector<std::string>& words) {
    std::vector<std::string> argv = {(work_->local() / program).string()};
    argv.insert(argv.end(), words.begin(), words.end());
    return work_->says(argv, programs.path().string() + ":/bin:/usr/bin");
  };
  EXPECT_EQ(said("bin/flatyaml", {"printf", "%s|", "a  b", "", "*"}), "a  b||*|");
  // env runs its first word, which here is the verb.
  EXPECT_EQ(said("sbin/env-create.sh", {"a  b"}), "create a  b\n");
  EXPECT_EQ(said("sbin/env-package.sh", {"x"}), "package x\n");
  EXPECT_EQ(said("sbin/env-update.sh", {}), "update\n");
}

TEST_F(KilnEnvTree, CopiedElsewhereItsProgramsRun) {
  const fakes::TempTree other;
  const fs::path tree = other / "a copy of it";
  fs::copy(work_->local() / "lib/kiln", tree, fs::copy_options::recursive);
  EXPECT_THAT(work_->says({(tree / "libexec/gpg").string(), "--version"}), StartsWith("gpg (GnuPG) "));
  EXPECT_THAT(work_->says({(tree / "libexec/xorriso").string(), "-version"}), HasSubstr("xorriso version"));
  EXPECT_THAT(work_->says({(tree / "libexec/mdir").string(), "--version"}), StartsWith("mdir (GNU mtools)"));
  EXPECT_THAT(work_->says({(tree / "libexec/kiln-env").string()}),
              HasSubstr("PATH=" + fs::canonical(tree).string() + "/libexec:"));
}

TEST(KilnEnv, LinksOfTheImageAreFollowed) {
  MachineWorkspace work;
  work.image_files.add_folder("/srv/lib").add_folder("/usr/local").add_link("/usr/local/lib", "/srv/lib");
  tests::make_stage(kiln_env, kProgram)->run(work);
  EXPECT_EQ(work.image_files.find("/usr/local/lib")->kind, 'l');
  EXPECT_TRUE(work.image_files.find("/srv/lib/kiln/lib/ld.so"));
}

TEST(KilnEnv, TheKeyHasTheContentOfEveryFileAndNoPathOfThisMachine) {
  const std::string text = key_text(host::Host::system());
  EXPECT_THAT(text, HasSubstr("input bin/kiln-env\n  file 0755 " + base::sha256_file("/usr/bin/env")));
  EXPECT_THAT(text, HasSubstr("input bin/gpg\n  file 0755 " + base::sha256_file("/usr/bin/gpg")));
  EXPECT_THAT(text, HasSubstr("input lib/libgcrypt.so.20\n  file 0644 "));
  EXPECT_THAT(text, HasSubstr("input lib/ld.so\n"));
  EXPECT_THAT(text, Not(HasSubstr("/usr/")));
  EXPECT_EQ(text, key_text(host::Host::system()));
}

TEST(KilnEnv, AnotherLibraryIsAnotherKey) {
  const fakes::TempTree tree({{"libz.so.1", "one"}});
  fakes::World world;
  for (const char* tool : {"gpg", "gpg-agent", "mdir", "mtype", "pdftoppm", "xorriso"}) world.program(tool);
  world.on({"/lib64/ld-linux-x86-64.so.2"},
           fakes::printed("\tlibz.so.1 => " + (tree / "libz.so.1").string() + " (0x0001)\n"));
  const std::string before = key_text(world.host());
  EXPECT_THAT(before, HasSubstr("input lib/libz.so.1\n  file 0644 " + base::sha256("one")));
  host::write_file(tree / "libz.so.1", "two");
  EXPECT_THAT(key_text(world.host()), HasSubstr("input lib/libz.so.1\n  file 0644 " + base::sha256("two")));
}

TEST(KilnEnv, AMissingProgramIsAFactOfThePlanAndEndsTheBuild) {
  EXPECT_EQ(key_text(fakes::World().host()), "fact missing = gpg\n");
  tests::FakeWorkspace work;
  EXPECT_THAT(tests::error_of([&] { tests::make_stage(kiln_env, kProgram)->run(work); }),
              HasSubstr("'gpg' is missing"));
}

}  // namespace
}  // namespace kiln::stages
