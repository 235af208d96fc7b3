// tests/trees/<stage>/<case>/: `before` is an image, `stage.yml` a step's options, `diff.txt` every path that
// the stage may change. ACCEPT=1 writes diff.txt anew and reports "skipped".
#include <cstdlib>
#include <gtest/gtest.h>

#include "host/tree.hpp"
#include "stages/all.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> cases() {
  std::vector<fs::path> result;
  for (const auto& stage : fs::directory_iterator(fs::path(KILN_TESTS_DIR) / "trees")) {
    for (const auto& one : fs::directory_iterator(stage.path())) result.push_back(one.path());
  }
  std::sort(result.begin(), result.end());
  return result;
}

void load(FakeFiles& files, const fs::path& before) {
  for (const host::TreeNode& node : host::walk(before)) {
    const std::string path = "/" + node.path;
    if (node.kind == host::NodeKind::directory) files.add_folder(path);
    if (node.kind == host::NodeKind::link) files.add_link(path, node.target);
    if (node.kind == host::NodeKind::file) {
      // Empty folders cannot be checked in; a file of this name stands for one.
      if (fs::path(node.path).filename() == ".empty") continue;
      files.add(path, host::read_file(before / node.path), {.mode = node.executable ? 0755U : 0644U});
    }
  }
}

// "- line" for what was, "+ line" for what is, in the order of paths.
std::string diff(const std::vector<std::string>& before, const std::vector<std::string>& after) {
  std::vector<std::pair<std::string, std::string>> lines;
  const auto collect = [&](const std::vector<std::string>& from, const std::vector<std::string>& other,
                           const char* sign) {
    for (const std::string& line : from) {
      if (std::find(other.begin(), other.end(), line) == other.end()) {
        lines.emplace_back(line.substr(line.find('/')) + sign, sign + line + "\n");
      }
    }
  };
  collect(before, after, "- ");
  collect(after, before, "+ ");
  std::stable_sort(lines.begin(), lines.end(), [](const auto& a, const auto& b) {
    return a.first.substr(0, a.first.find_first_of(" -")) < b.first.substr(0, b.first.find_first_of(" -"));
  });
  std::string result;
  for (const auto& [path, line] : lines) result += line;
  return result;
}

const stage::StageType* find_stage(const std::string& name) {
  return stage::StageSet(stages::all()).find(name);
}

class Trees : public ::testing::TestWithParam<fs::path> {};

TEST_P(Trees, AStageChangesThesePathsAndNoOthers) {
  const fs::path& folder = GetParam();
  const stage::StageType* type = find_stage(folder.parent_path().filename().string());
  ASSERT_NE(type, nullptr) << folder;
  ASSERT_EQ(type->place, stage::Place::offline) << "only what edits files can be shown so";
  FakeWorkspace work;
  load(work.image_files, folder / "before");
  const std::vector<std::string> before = work.image_files.listing();
  make_stage(*type, host::read_file(folder / "stage.yml"), folder)->run(work);
  const std::string changed = diff(before, work.image_files.listing());
  const fs::path expected = folder / "diff.txt";
  if (const char* accept = std::getenv("ACCEPT"); accept != nullptr && std::string(accept) == "1") {
    host::write_file(expected, changed);
    GTEST_SKIP() << "wrote " << expected;
  }
  EXPECT_EQ(changed, host::read_file(expected)) << "ACCEPT=1 writes it anew";
}

INSTANTIATE_TEST_SUITE_P(All, Trees, ::testing::ValuesIn(cases()), [](const auto& param) {
  std::string name = param.param.parent_path().filename().string() + "_" + param.param.filename().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

}  // namespace
}  // namespace kiln::tests
