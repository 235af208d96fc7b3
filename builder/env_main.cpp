#include <iostream>

#include "env/command_line.hpp"
#include "host/host.hpp"

int main(int argc, char** argv) {
  return kiln::env::main(argc, argv, kiln::host::Host::system(), std::cout, std::cerr);
}
