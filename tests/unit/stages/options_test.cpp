#include <gtest/gtest.h>

#include "stages/all.hpp"

namespace kiln::tests {
namespace {

TEST(Options, WhatAPatternWantsIsAlsoSaidInWords) {
  for (const stage::StageType* type : stages::all()) {
    for (const stage::Option& option : type->options)
      EXPECT_EQ(option.pattern.empty(), option.write.empty()) << type->name << ": " << option.name;
  }
}

}  // namespace
}  // namespace kiln::tests
