// tests/errors/<case>/{bad.yml,expected.txt}: the exact words that a bad profile gets. ACCEPT=1 rewrites
// them.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

#include "plan/plan.hpp"
#include "stages/all.hpp"
#include "unit/plan/samples.hpp"

namespace kiln::plan {
namespace {

namespace fs = std::filesystem;

std::string content(const fs::path& file) {
  std::ifstream in(file);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<std::string> cases() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(fs::path(KILN_TESTS_DIR) / "errors")) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

class ErrorsTest : public testing::TestWithParam<std::string> {};

TEST_P(ErrorsTest, SaysExactlyThis) {
  const fs::path folder = fs::path(KILN_TESTS_DIR) / "errors" / GetParam();
  fs::current_path(folder);  // places are shown as the user gave them
  std::string said;
  try {
    make_keys(load_plan("bad.yml", stage::StageSet(stages::all())), fake_host());
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    said = std::string(error.what()) + "\n";
  }
  // Inputs are named by their whole paths; where this checkout lies is no matter.
  const std::string here = folder.string() + "/";
  for (auto at = said.find(here); at != std::string::npos; at = said.find(here)) said.erase(at, here.size());
  ASSERT_NE(said, "") << "bad.yml is not bad at all";
  if (std::getenv("ACCEPT") != nullptr) {
    std::ofstream(folder / "expected.txt") << said;
    GTEST_SKIP() << "expected.txt was rewritten";
  }
  EXPECT_EQ(said, content(folder / "expected.txt"));
}

INSTANTIATE_TEST_SUITE_P(Case, ErrorsTest, testing::ValuesIn(cases()), [](const auto& case_) {
  std::string name = case_.param;
  std::replace_if(name.begin(), name.end(), [](char c) { return c == '-' || c == '.'; }, '_');
  return name;
});

}  // namespace
}  // namespace kiln::plan
