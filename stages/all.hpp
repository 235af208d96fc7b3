// Every stage kiln has, in README order.
#pragma once

#include <span>

#include "stage/stage.hpp"

namespace kiln::stages {

std::span<const stage::StageType* const> all();

}  // namespace kiln::stages
