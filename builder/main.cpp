#include <iostream>

#include "cli/app.hpp"
#include "host/host.hpp"
#include "stage/stage_set.hpp"
#include "stages/all.hpp"

int main(int argc, char** argv) {
  return kiln::cli::run(argc, argv, kiln::host::Host::system(), kiln::stage::StageSet(kiln::stages::all()),
                        std::cout, std::cerr);
}
