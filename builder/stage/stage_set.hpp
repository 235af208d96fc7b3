// All stages by name, and what is generated from their option tables: parsing, JSON Schema, documentation.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "profile/profile.hpp"
#include "stage/stage.hpp"

namespace kiln::stage {

class StageSet {
 public:
  explicit StageSet(std::span<const StageType* const> types) : types_(types) {}
  [[nodiscard]] const StageType* find(std::string_view name) const;
  [[nodiscard]] std::span<const StageType* const> all() const { return types_; }
  [[nodiscard]] std::vector<std::string> names() const;

 private:
  std::span<const StageType* const> types_;
};

// Reads the options of one step by its table. Unknown, missing, out of bounds, not existing files: all to
// `errors`.
Options parse_options(const StageType& type, profile::Node node, const base::Where& step,
                      std::vector<base::Error>& errors);

// profiles/profile.schema.json: JSON Schema (draft 2020-12) of a whole profile.
std::string schema(const StageSet& stages);
// README's table of stages, Markdown.
std::string table(const StageSet& stages);
// `kiln stages NAME`: summary, doc, options with types and defaults.
std::string describe(const StageType& type);

}  // namespace kiln::stage
