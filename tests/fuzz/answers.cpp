// What a proven image says of itself over ssh, and the file that a verdict is kept in.
#include "fuzz/fuzz.hpp"
#include "proof/inside.hpp"

void kiln::fuzz::read(std::string_view bytes) {
  profile::Proof proof;
  proof.units = {"a.service"};
  proof.files = {{"/a", "link", "b", "0644", "root", "x", {}}};
  proof.commands = {{{"a"}, 0, "x", {}}};
  static_cast<void>(proof::judge(proof, proof::read_answers(std::string(bytes)), "missing"));
}
