#include <filesystem>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType fetch;
}

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUrl = "https://example.org/tool.deb";

class FetchTest : public testing::Test {
 protected:
  // Serves `content` at `url`; its digest.
  std::string serve(const std::string& content, const std::string& url = kUrl) {
    const fs::path file = folder_.path() / std::to_string(work.blobs.size());
    host::write_file(file, content, 0644);
    work.blobs[url] = file;
    return base::sha256(content);
  }
  void run(const std::string& more, const std::string& sha256) {
    make_stage(stages::fetch, "{sha256: " + sha256 + ", " + more + "}")->run(work);
  }
  FakeWorkspace work;

 private:
  host::TempDir folder_;
};

// A Debian package as far as its file goes: an ar with one compressed or plain tar.
std::string package_with(const std::string& path, const std::string& content) {
  host::Member file;
  file.path = path;
  file.content = content;
  const std::string tar = host::tar_in_memory({file});
  return fmt::format("!<arch>\n{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{}", "data.tar", 0, 0, 0, "100644",
                     tar.size(), tar);
}

TEST_F(FetchTest, TheFileIsRootsAndFoldersOnTheWayAreMade) {
  const std::string sha256 = serve("hello\n");
  run("urls: [https://example.org/tool.deb], to: /opt/tools/bin/tool, mode: \"0755\"", sha256);
  EXPECT_EQ(work.image_files.read("/opt/tools/bin/tool"), "hello\n");
  const auto stat = work.image_files.find("/opt/tools/bin/tool");
  EXPECT_EQ(stat->mode, 0755U);
  EXPECT_EQ(stat->uid, 0);
  EXPECT_EQ(work.image_files.find("/opt/tools")->mode, 0755U);
}

TEST_F(FetchTest, WithoutAModeItIsNoProgram) {
  run("urls: [https://example.org/tool.deb], to: /tool", serve("hello\n"));
  EXPECT_EQ(work.image_files.find("/tool")->mode, 0644U);
}

TEST_F(FetchTest, OneFileOfADebianPackageIsTaken) {
  const std::string sha256 = serve(package_with("usr/bin/tool", "tool\n"));
  run("urls: [https://example.org/tool.deb], member: usr/bin/tool, to: /usr/local/bin/tool", sha256);
  EXPECT_EQ(work.image_files.read("/usr/local/bin/tool"), "tool\n");
}

TEST_F(FetchTest, OneFileOfATarIsTaken) {
  host::Member file;
  file.path = "tool-1.2/tool";
  file.content = "of a tar\n";
  const std::string sha256 = serve(host::tar_in_memory({file}));
  run("urls: [https://example.org/tool.deb], member: tool-1.2/tool, to: /tool", sha256);
  EXPECT_EQ(work.image_files.read("/tool"), "of a tar\n");
}

TEST_F(FetchTest, AMemberThatIsNotThereIsAnErrorAndLeavesNothing) {
  const std::string sha256 = serve(package_with("usr/bin/tool", "tool\n"));
  const std::string error = error_of([&] {
    run("urls: [https://example.org/tool.deb], member: usr/bin/tol, to: /usr/local/bin/tool", sha256);
  });
  EXPECT_NE(error.find("fetch: no file 'usr/bin/tol' in the archive; `bsdtar -tf`"), std::string::npos)
      << error;
  EXPECT_TRUE(work.image_files.listing().empty());
}

TEST_F(FetchTest, TheNextAddressIsAskedWhenOneFailsOrServesSomethingElse) {
  serve("something else\n", "https://example.org/b");
  const std::string sha256 = serve("hello\n", "https://example.org/c");
  run("urls: [https://example.org/a, https://example.org/b, https://example.org/c], to: /tool", sha256);
  EXPECT_EQ(work.image_files.read("/tool"), "hello\n");
  ASSERT_EQ(work.seen.warnings.size(), 2U);
  EXPECT_EQ(work.seen.warnings[0],
            "cannot fetch https://example.org/a: the server answered with HTTP status 404; asking the next "
            "address");
}

TEST_F(FetchTest, WhatTheLastAddressSaidIsTheError) {
  const std::string sha256 = base::sha256("hello\n");
  serve("something else\n");
  const std::string error = error_of(
      [&] { run("urls: [https://example.org/a, https://example.org/tool.deb], to: /tool", sha256); });
  EXPECT_EQ(error.find("/stage.yml:1:"), 0U) << error;
  EXPECT_NE(error.find("what https://example.org/tool.deb serves is not what was asked for"),
            std::string::npos);
  EXPECT_TRUE(work.image_files.listing().empty());
}

TEST_F(FetchTest, ADirectoryIsNotReplacedByAFile) {
  work.image_files.add_folder("/opt/tool");
  const std::string sha256 = serve("hello\n");
  const std::string error =
      error_of([&] { run("urls: [https://example.org/tool.deb], to: /opt/tool", sha256); });
  EXPECT_NE(error.find("fetch: /opt/tool is a directory in the image"), std::string::npos) << error;
}

TEST_F(FetchTest, AFileGoesWhereLinksInTheImageLead) {
  work.image_files.add_folder("/usr/bin").add_link("/bin", "usr/bin");
  run("urls: [https://example.org/tool.deb], to: /bin/tool", serve("hello\n"));
  EXPECT_EQ(work.image_files.read("/usr/bin/tool"), "hello\n");
}

TEST_F(FetchTest, ALoginInAnAddressIsRefusedAndNotShown) {
  const std::string error =
      error_of([&] { run("urls: [\"https://me:s3cret@example.org/x\"], to: /tool", std::string(64, 'a')); });
  EXPECT_NE(error.find("fetch: the URL holds a login"), std::string::npos) << error;
  EXPECT_EQ(error.find("s3cret"), std::string::npos);
}

}  // namespace
}  // namespace kiln::tests
