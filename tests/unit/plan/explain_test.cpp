#include <gtest/gtest.h>

#include "plan/plan.hpp"
#include "unit/plan/samples.hpp"

namespace kiln::plan {
namespace {

// Explains the difference between two real plans of the last step of each.
class ExplainTest : public testing::Test {
 protected:
  std::string last(const std::string& text) { return make_keys(desk_.plan(text), host_).back().text; }
  static std::string change(const std::string& options) {
    return "steps: [{base_a: }, {change: {" + options + "}}]\n";
  }
  std::string options_differ(const std::string& before, const std::string& now) {
    return explain(last(change(before)), last(change(now)));
  }
  Desk desk_;
  host::Host host_ = fake_host();
};

TEST_F(ExplainTest, NoTextBeforeMeansNeverBuilt) {
  EXPECT_EQ(explain("", last(change(""))), "never built");
}

TEST_F(ExplainTest, EqualTextsNeedNoReason) {
  EXPECT_EQ(options_differ("text: a", "text: a"), "");
}

TEST_F(ExplainTest, OptionsAreNamedWithBothValues) {
  EXPECT_EQ(options_differ("choice: red", "choice: blue"), "option changed: choice (\"red\" -> \"blue\")");
  EXPECT_EQ(options_differ("number: 1", "number: 2"), "option changed: number (1 -> 2)");
  EXPECT_EQ(options_differ("", "text: a"), "option changed: text added");
  EXPECT_EQ(options_differ("text: a", ""), "option changed: text removed");
  EXPECT_EQ(options_differ("text: a", "text: " + std::string(80, 'b')), "option changed: text");
}

TEST_F(ExplainTest, OfListsTheDifferenceIsShown) {
  EXPECT_EQ(options_differ("texts: [nginx, redis]", "texts: [nginx, vim]"),
            "option changed: texts (+vim, -redis)");
  EXPECT_EQ(options_differ("texts: []", "texts: [a, b, c, d, e]"),
            "option changed: texts (+a, +b, +c, 2 more)");
  EXPECT_EQ(options_differ("texts: [a, b]", "texts: [b, a]"),
            "option changed: texts ([\"a\",\"b\"] -> [\"b\",\"a\"])");
}

TEST_F(ExplainTest, SeveralDifferencesAreCounted) {
  EXPECT_EQ(options_differ("choice: red, number: 1", "choice: blue, number: 2, text: a"),
            "option changed: choice (\"red\" -> \"blue\"), and 2 more");
}

TEST_F(ExplainTest, OfATreeTheFileIsNamed) {
  desk_.write("tree/nginx/init.sls", "a");
  const std::string before = last(change("tree: tree"));
  desk_.write("tree/nginx/init.sls", "b");
  EXPECT_EQ(explain(before, last(change("tree: tree"))), "input changed: tree: nginx/init.sls");
  desk_.write("tree/nginx/init.sls", "a");
  desk_.write("tree/odd \"name\".sls", "a");
  EXPECT_EQ(explain(before, last(change("tree: tree"))), "input changed: tree: odd \"name\".sls added");
  std::filesystem::remove(desk_.path("tree/odd \"name\".sls"));
  std::filesystem::remove(desk_.path("tree/nginx/init.sls"));
  EXPECT_EQ(explain(before, last(change("tree: tree"))), "input changed: tree: nginx/init.sls removed");
}

TEST_F(ExplainTest, OfAFileItsOwnNameIsTold) {
  desk_.write("a.txt", "a");
  const std::string before = last(change("file: a.txt"));
  desk_.write("a.txt", "b");
  EXPECT_EQ(explain(before, last(change("file: a.txt"))), "input changed: file: a.txt");
  desk_.write("b.txt", "a");
  EXPECT_EQ(explain(before, last(change("file: b.txt"))), "input changed: file (\"a.txt\" -> \"b.txt\")");
}

TEST_F(ExplainTest, RevisionToolAndMachineHaveTheirOwnWords) {
  const std::string text =
      "kiln-key 1\nstage s\nrevision 1\ntool mke2fs e2fsprogs 1.46\nfact guest.cpus = 2\nparent a\n";
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string other = text;
    other.replace(other.find(from), from.size(), to);
    return explain(text, other);
  };
  EXPECT_EQ(with("revision 1", "revision 2"), "revision 1 -> 2");
  EXPECT_EQ(with("1.46", "1.47"), "tool changed: mke2fs (e2fsprogs 1.46 -> e2fsprogs 1.47)");
  EXPECT_EQ(with("cpus = 2", "cpus = 4"), "fact changed: guest.cpus (2 -> 4)");
  EXPECT_EQ(with("parent a", "parent b"), "parent missed");
  EXPECT_EQ(with("stage s", "stage t"), "stage changed: s -> t");
  EXPECT_EQ(with("kiln-key 1", "kiln-key 2"), "format of keys 1 -> 2");
}

TEST_F(ExplainTest, AReasonOfItsOwnComesBeforeItsParents) {
  EXPECT_EQ(explain("kiln-key 1\nrevision 1\nparent a\n", "kiln-key 1\nrevision 2\nparent b\n"),
            "revision 1 -> 2");
}

}  // namespace
}  // namespace kiln::plan
