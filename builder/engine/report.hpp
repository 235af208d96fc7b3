// report.html: what a build did and what it made, as one page that needs nothing beside itself: no script, no
// network, and its own content policy forbids both.
//
// Everything in a Page may come from a guest, so the page shows all of it as text and cuts what is long.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "proof/verdict.hpp"

namespace kiln::engine {

struct Page {
  enum class Outcome { proven, refuted, unproven, failed };
  struct Image {
    std::string name, sha256;
    std::uint64_t size = 0;          // of the file
    std::uint64_t virtual_size = 0;  // of the disk; 0: no disk
  };
  struct Step {
    enum class How { ran, reused, failed, waiting };
    std::string id, stage, text;
    How how = How::ran;
    std::string why;        // it ran, or had to
    double seconds = 0;     // of the run, or of the run that made what is reused
    std::int64_t made = 0;  // wall clock, of what is reused; 0: not known
    std::uint64_t size = 0;
  };
  struct State {
    std::string id, function, name, sls;
    std::string comment;  // of a failed one: what others say may be about private files
    bool failed = false;
    double seconds = 0;
    std::size_t changes = 0;
  };
  struct Highstate {
    std::string step;
    bool recorded = true;  // false: the step's layer does not say
    bool reused = false;
    std::vector<State> states;          // in the order they ran
    std::vector<std::string> problems;  // Salt's words, when it could not even begin
  };
  struct Package {
    std::string name, version;
    std::uint64_t size = 0;
  };
  struct Path {
    std::string path;
    std::uint64_t bytes = 0;
    std::vector<Path> below;  // the biggest of it
  };
  struct Proof {
    proof::Verdict verdict;
    bool reused = false;
    std::int64_t when = 0;  // 0: not recorded
    std::string console;    // its end
    std::string screen;     // a PNG's bytes, "" when there is none
  };
  struct Failure {
    std::string step, error;
    std::string log;     // its end
    std::string screen;  // as above
  };

  std::string profile, description, kiln;
  Outcome outcome = Outcome::unproven;
  std::int64_t when = 0;
  double seconds = 0;
  std::string accel, accel_why;  // "": no guest ran, or it is not recorded
  std::vector<Image> images;
  std::vector<Step> steps;  // proofs are steps of their own, not listed here
  std::vector<Proof> proofs;
  std::vector<Highstate> highstates;
  std::vector<Package> packages;
  bool sizes_recorded = false;  // of packages and paths
  std::vector<Path> paths;
  std::uint64_t memory = 0;  // bytes of a machine to boot it on
  int cpus = 0;
  std::vector<int> ports;  // the proof asks for
  std::vector<Failure> failures;
};

// Well-formed as HTML and as XML; nothing in it leads outside.
std::string html(const Page& page);

}  // namespace kiln::engine
