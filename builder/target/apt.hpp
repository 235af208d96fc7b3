// apt-get and dpkg of the system inside the image.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "host/runner.hpp"
#include "image/system.hpp"

namespace kiln::target {

// A package by name, with an optional ":ARCH" and "=VERSION"; nothing that apt-get would take for an option,
// a removal ("name-"), a task or a pattern.
bool is_package(std::string_view text);

struct Listed {
  std::string name;
  base::Where where;
};

// Names of a list, one a line; # begins a comment. Throws base::Errors (Exit::usage), one for each line that
// is no package name, at `file`:line.
std::vector<Listed> read_package_list(std::string_view text, const std::string& file);

class Apt {
 public:
  explicit Apt(image::System& system) : system_(system) {}

  // Refreshes the package lists; one that cannot be had is an error.
  void update(const host::OnOutput& on_output = {});
  // Installs without asking anything; local configuration files stay as they are. Throws base::Error that
  // quotes apt's own line, with a guess for a package it does not know. Does not start daemons if something
  // keeps them down. GRUB's configuration and the boot loader stay as they are: see image::stand_ins.
  void install(const std::vector<std::string>& packages, bool recommends,
               const host::OnOutput& on_output = {});
  // Removes lists, caches, backups and logs, so that what is left does not tell when and where it ran.
  void clean();
  // "<sha256> <name>" of the release file of each list, without the mirror's host name; after update().
  std::vector<std::string> releases();
  // Name and version of all installed packages.
  std::map<std::string, std::string> installed();

 private:
  image::System& system_;
};

// What apt-get is about, for people: "Setting up nginx (1.22.1-9)" -> "setting up nginx"; "" for other lines.
std::string progress(std::string_view line);

}  // namespace kiln::target
