#include "yaml/emit.hpp"

#include <algorithm>
#include <yaml-cpp/yaml.h>

namespace kiln::yaml {

namespace {

// Whether `text` comes back from a block of lines as it is.
bool fits_a_block(const std::string& text) {
  if (text.size() < 2 || text.back() != '\n' || text[text.size() - 2] == '\n') return false;
  if (text.front() == ' ' || text.front() == '\n' || text.front() == '\t') return false;
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 ? byte != 0x7f : c == '\n';
  });
}

void scalar(YAML::Emitter& out, const Node& node) {
  if (node.quoted() && fits_a_block(node.scalar())) {
    out << YAML::Literal << node.scalar();
  } else if (node.quoted()) {
    out << YAML::DoubleQuoted << node.scalar();
  } else {
    out << node.scalar();
  }
}

// `node`, or what `over` says instead.
void value(YAML::Emitter& out, const Node& node, const Node* over) {
  if (over != nullptr && (node.kind() != Node::Kind::map || over->kind() != Node::Kind::map)) {
    value(out, *over, nullptr);
    return;
  }
  switch (node.kind()) {
    case Node::Kind::null:
      out << YAML::Null;
      return;
    case Node::Kind::scalar:
      scalar(out, node);
      return;
    case Node::Kind::list:
      out << YAML::BeginSeq;
      for (const Node& item : node.items()) value(out, item, nullptr);
      out << YAML::EndSeq;
      return;
    case Node::Kind::map:
      out << YAML::BeginMap;
      for (const auto& [key, below] : node.entries()) {
        out << YAML::Key;
        scalar(out, key);
        out << YAML::Value;
        const auto other = over == nullptr ? std::nullopt : over->find(key.scalar());
        value(out, below, other ? &*other : nullptr);
      }
      if (over != nullptr) {
        for (const auto& [key, below] : over->entries()) {
          if (node.find(key.scalar())) continue;
          out << YAML::Key;
          scalar(out, key);
          out << YAML::Value;
          value(out, below, nullptr);
        }
      }
      out << YAML::EndMap;
      return;
  }
}

}  // namespace

std::string merged(const Node& base, const Node& over) {
  YAML::Emitter out;
  value(out, base, &over);
  return std::string(out.c_str(), out.size()) + "\n";
}

}  // namespace kiln::yaml
