// A lock of Python packages: pip's requirements format cut down to what names one published file a line, in
// two sections, "# build" (what sdists are built with) and "# run" (what stays).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"

namespace kiln::target {

struct Requirement {
  std::string name;
  std::string version;
  std::string sha256;
  base::Where where;
  // The line for pip: "name==version --hash=sha256:...".
  [[nodiscard]] std::string text() const;
};

struct WheelLock {
  std::vector<Requirement> build;
  std::vector<Requirement> run;
};

// Throws base::Errors (Exit::usage) with every line that is not of the form, at `file`:line; also for a lock
// without a run section.
WheelLock read_wheel_lock(std::string_view text, const std::string& file);

}  // namespace kiln::target
