// stages/revisions.txt: a line a stage, "NAME REVISION DIGEST", with a fourth word when the digest moved and
// the revision did not ("same-result"). A stage's recipe is its source and what it includes from target/ and
// image/ with their .cpp files; when that changes, either the revision is raised, since old layers are no
// longer what the stage makes, or ACCEPT=1 writes the line anew, by which whoever commits it says that the
// result is the same.
#include <cstdlib>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <set>

#include "base/digest.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "stages/all.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

const fs::path source = KILN_SOURCE_DIR;

// The text without comments, blank lines and indentation, which change nothing.
std::string recipe(const fs::path& file) {
  std::string result;
  for (const std::string& line : base::lines(host::read_file(file))) {
    const std::string_view words = base::trim(line);
    if (!words.empty() && !words.starts_with("//")) result += std::string(words) + "\n";
  }
  return result;
}

void collect(const fs::path& file, std::set<fs::path>& files) {
  if (!fs::exists(file) || !files.insert(file).second) return;
  for (const std::string& line : base::lines(host::read_file(file))) {
    constexpr std::string_view include = "#include \"";
    if (!line.starts_with(include)) continue;
    const std::string name = line.substr(include.size(), line.find('"', include.size()) - include.size());
    if (!name.starts_with("target/") && !name.starts_with("image/")) continue;
    fs::path header = source / "builder" / name;
    collect(header, files);
    collect(header.replace_extension(".cpp"), files);
  }
}

std::string digest(const stage::StageType& type) {
  std::set<fs::path> files;
  collect(source / "stages" / fmt::format("{}.cpp", type.name), files);
  const auto add = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      ASSERT_TRUE(fs::exists(source / "builder" / name)) << name;
      collect(source / "builder" / name, files);
    }
  };
  // By what it is run with, which it does not include: a layer's files by either way, the sandbox, the guest.
  if (type.kind == stage::Kind::image) add({"image/mount.cpp", "image/guestfs.cpp"});
  if (type.place == stage::Place::native_or_guest) add({"image/sandbox.cpp"});
  if (type.place != stage::Place::offline && type.kind == stage::Kind::image)
    add({"image/guest.cpp", "image/machine.cpp", "image/initrd.cpp", "agent/agent.cpp", "agent/frames.cpp"});
  base::Sha256 all;
  for (const fs::path& file : files) all.add(file.lexically_relative(source).string() + "\n" + recipe(file));
  return all.hex();
}

struct Line {
  int revision = 0;
  std::string digest;
  bool same_result = false;
};

std::map<std::string, Line> read_lines(const fs::path& file) {
  std::map<std::string, Line> result;
  if (!fs::exists(file)) return result;
  for (const std::string& line : base::lines(host::read_file(file))) {
    const std::vector<std::string> words = base::split(line, ' ');
    if (line.starts_with('#') || words.size() < 3) continue;
    result[words[0]] = {std::stoi(words[1]), words[2], words.size() > 3 && words[3] == "same-result"};
  }
  return result;
}

TEST(Revisions, AChangedRecipeRaisesTheRevisionOrSaysThatTheResultIsTheSame) {
  const fs::path file = source / "stages/revisions.txt";
  const std::map<std::string, Line> known = read_lines(file);
  const char* accept = std::getenv("ACCEPT");
  const bool accepting = accept != nullptr && std::string(accept) == "1";
  std::string text =
      "# Which recipe each revision of a stage stands for; checked and explained by "
      "tests/unit/stages/revisions_test.cpp.\n";
  for (const stage::StageType* type : stages::all()) {
    const std::string name(type->name);
    const std::string now = digest(*type);
    const auto before = known.find(name);
    const bool moved = before != known.end() && before->second.digest != now;
    const bool raised = before != known.end() && before->second.revision < type->revision;
    text +=
        name + " " + std::to_string(type->revision) + " " + now +
        ((moved || (before != known.end() && before->second.same_result)) && !raised ? " same-result" : "") +
        "\n";
    if (accepting) continue;
    ASSERT_NE(before, known.end()) << "stages/revisions.txt has no line for '" << name
                                   << "': run with ACCEPT=1";
    EXPECT_GE(type->revision, before->second.revision) << name << ": a revision never goes back";
    EXPECT_FALSE(moved && !raised)
        << "the recipe of '" << name << "' changed: raise its revision in stages/" << name
        << ".cpp if the same options now give another image, then run with ACCEPT=1";
    EXPECT_FALSE(raised) << name << ": its revision was raised: run with ACCEPT=1";
  }
  if (!accepting) return;
  host::write_file(file, text);
  GTEST_SKIP() << "wrote " << file;
}

}  // namespace
}  // namespace kiln::tests
