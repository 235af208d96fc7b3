// apt-get and dpkg of the system inside the image.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
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

// Where what was fetched is kept between builds, on the host.
struct Downloads {
  std::filesystem::path lists, debs;  // folders of the store
  std::filesystem::path scratch;      // of this step alone, on their file system
  std::int64_t now = 0;               // wall clock, seconds
  bool offline = false;               // nothing is fetched: what is not kept is an error
};

// A file that apt-get wants to fetch, by its name in the folder of archives.
struct Wanted {
  std::string file, sha256;
};
// What `apt-get --print-uris` says; lines of another form are passed over.
std::vector<Wanted> read_uris(std::string_view output);

// A release file: what an archive says of all else it serves.
struct Release {
  std::string sha256;
  std::string name;  // "bookworm-security_InRelease", without the mirror's host
  std::string url;   // where it was fetched
};
// The URL of a file among apt's lists: its name has all but the scheme, which is https when `sources`, the
// files that name the archives, say so of that host, else http.
std::string list_url(const std::string& file, std::string_view sources);

class Apt {
 public:
  explicit Apt(image::System& system) : system_(system) {}
  // Lists and packages come from what is kept, as far as it is there and right, and go there. In a sandbox
  // the packages are in the folder of archives already.
  Apt(image::System& system, Downloads kept) : system_(system), kept_(std::move(kept)) {}

  // Refreshes the package lists; one that cannot be had is an error. Offline they are those that were kept;
  // returns when those were refreshed.
  std::optional<std::int64_t> update(const host::OnOutput& on_output = {});
  // Installs without asking anything; local configuration files stay as they are. Throws base::Error that
  // quotes apt's own line, with a guess for a package it does not know. Does not start daemons if something
  // keeps them down. GRUB's configuration and the boot loader stay as they are: see image::stand_ins.
  void install(const std::vector<std::string>& packages, bool recommends,
               const host::OnOutput& on_output = {});
  // Removes lists, caches, backups and logs, so that what is left does not tell when and where it ran.
  void clean();
  // The release file of each archive, sorted by digest; after update().
  std::vector<Release> releases();
  // Name and version of all installed packages.
  std::map<std::string, std::string> installed();

 private:
  // The lines of the files that name archives, sorted.
  const std::string& sources();
  // What decides which lists there are: those, and the architectures.
  std::string list_key();
  void keep_lists(const std::string& key);
  // Has apt-get find what it wants to fetch in its folder of archives, as far as it is kept. Returns what it
  // has to fetch by itself.
  std::vector<Wanted> offer(const std::vector<std::string>& packages, bool recommends);
  // Of `wanted` what the store has goes to the guest, or what a sandbox shows is looked at; the rest stays.
  void carry_in(std::vector<Wanted>& wanted);
  void drop_wrong(std::vector<Wanted>& wanted);
  void carry_out(const std::vector<Wanted>& fetched);

  image::System& system_;
  std::optional<Downloads> kept_;
  std::optional<std::string> sources_;
};

// What apt-get is about, for people: "Setting up nginx (1.22.1-9)" -> "setting up nginx"; "" for other lines.
std::string progress(std::string_view line);

}  // namespace kiln::target
