#include "stage/stage.hpp"

namespace kiln::stage {

void Stage::describe(KeyWriter& /*key*/) const {}

}  // namespace kiln::stage
