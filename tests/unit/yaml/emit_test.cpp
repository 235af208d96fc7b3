#include "yaml/emit.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiln::yaml {
namespace {

Node parse(const std::string& text) {
  std::vector<base::Error> errors;
  Node root = Node::parse(text, "t.yml", errors);
  for (const auto& error : errors) ADD_FAILURE() << text << error.what();
  return root;
}

bool same(const Node& a, const Node& b) {
  if (a.kind() != b.kind() || a.scalar() != b.scalar() || a.quoted() != b.quoted() || a.size() != b.size())
    return false;
  for (std::size_t i = 0; i < a.items().size(); ++i)
    if (!same(a.items()[i], b.items()[i])) return false;
  for (std::size_t i = 0; i < a.entries().size(); ++i)
    if (a.entries()[i].first.scalar() != b.entries()[i].first.scalar() ||
        !same(a.entries()[i].second, b.entries()[i].second))
      return false;
  return true;
}

TEST(EmitTest, WhatIsWrittenIsReadAgainAsItWas) {
  for (const char* text :
       {"a: 1\nb: '1'\nc: \"x\\ty\\\\z\\\"\"\nd: ~\ne: ''\n", "a: |\n  one\n    two\n\n  three\n",
        "a: |-\n  x\n  y\n", "a: |+\n  x\n\nb: >\n  x\n  y\n",
        "a: \"  x\\n\"\nb: \"\\n\"\nc: \"x\\n\\n\"\nd: \" a\\nb\\n\"\n",
        "a: \"\\x01\\e\"\nb: größe\nc: \"größe 😀\\n\"\n", "a: []\nb: {}\nc: [[], {}, [1, {x: y}]]\n",
        "a: 'yes'\nb: yes\nc: 'null'\nd: \"~\"\ne: '# x'\nf: 'a: b'\n", "'a b': 1\n'#': 2\n'yes': 3\n'': 4\n",
        "a: [x, 'y', |\n  z\n  ]\n"}) {
    std::vector<base::Error> errors;
    const Node node = Node::parse(text, "t.yml", errors);
    if (!errors.empty()) continue;
    EXPECT_TRUE(same(parse(merged(node, parse("{}"))), node)) << text << merged(node, parse("{}"));
  }
}

TEST(EmitTest, MappingsGoIntoOneAnotherAndTheRestIsReplaced) {
  const Node base = parse("a: {x: 1, y: {z: 2}}\nb: [1, 2]\nc: {k: v}\nd: 1\n");
  const Node over = parse("a: {y: {w: 3}, x: 9}\nb: [3]\nc: text\nd: {m: n}\ne: 5\n");
  EXPECT_TRUE(same(parse(merged(base, over)),
                   parse("a: {x: 9, y: {z: 2, w: 3}}\nb: [3]\nc: text\nd: {m: n}\ne: 5\n")))
      << merged(base, over);
}

}  // namespace
}  // namespace kiln::yaml
