#include "target/wheel_lock.hpp"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>
#include <optional>

#include "base/digest.hpp"
#include "base/text.hpp"

namespace kiln::target {
namespace {

bool word(std::string_view text, std::string_view more) {
  return !text.empty() && std::isalnum(static_cast<unsigned char>(text.front())) != 0 &&
         std::all_of(text.begin(), text.end(), [&](char c) {
           return std::isalnum(static_cast<unsigned char>(c)) != 0 || more.find(c) != std::string_view::npos;
         });
}

std::optional<Requirement> read_line(std::string_view line) {
  constexpr std::string_view equals = "==";
  constexpr std::string_view hash = "--hash=sha256:";
  const std::size_t at = line.find(equals);
  const std::size_t space = line.find_first_of(" \t");
  if (at == std::string_view::npos || space == std::string_view::npos || space < at) return std::nullopt;
  const std::string_view rest = base::trim(line.substr(space));
  if (!rest.starts_with(hash)) return std::nullopt;
  Requirement result;
  result.name = line.substr(0, at);
  result.version = line.substr(at + equals.size(), space - at - equals.size());
  result.sha256 = rest.substr(hash.size());
  if (!word(result.name, "._-") || !word(result.version, ".!+_-") || !base::is_sha256(result.sha256)) {
    return std::nullopt;
  }
  return result;
}

}  // namespace

std::string Requirement::text() const {
  return fmt::format("{}=={} --hash=sha256:{}", name, version, sha256);
}

WheelLock read_wheel_lock(std::string_view text, const std::string& file) {
  WheelLock lock;
  std::vector<base::Error> errors;
  std::vector<Requirement>* section = nullptr;
  int number = 0;
  for (const std::string& raw : base::lines(text)) {
    const base::Where where{file, ++number, 1};
    const std::string_view line = base::trim(raw);
    if (line == "# build") section = &lock.build;
    if (line == "# run") section = &lock.run;
    if (line.empty() || line.starts_with('#')) continue;
    std::optional<Requirement> requirement = read_line(line);
    if (!requirement) {
      errors.push_back(base::Error(fmt::format("'{}' pins no file", base::printable(line)), base::Exit::usage)
                           .at(where)
                           .hint("write NAME==VERSION --hash=sha256:DIGEST, one digest a line"));
    } else if (section == nullptr) {
      errors.push_back(base::Error("this line stands before any section", base::Exit::usage)
                           .at(where)
                           .hint("put '# build' or '# run' on a line of its own above it"));
    } else {
      requirement->where = where;
      section->push_back(std::move(*requirement));
    }
  }
  if (errors.empty() && lock.run.empty()) {
    errors.push_back(base::Error("the lock has nothing under '# run'", base::Exit::usage).at({file, 0, 0}));
  }
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return lock;
}

}  // namespace kiln::target
