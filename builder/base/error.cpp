#include "base/error.hpp"

#include <utility>

#include "base/text.hpp"

namespace kiln::base {

std::string Where::text() const {
  std::string text = file;
  if (line > 0) {
    text += (text.empty() ? "line " : ":") + std::to_string(line);
    if (column > 0) text += ":" + std::to_string(column);
  }
  return text;
}

Error::Error(std::string message, Exit exit) : message_(std::move(message)), exit_(exit) {
  render();
}

Error& Error::at(Where where) & {
  where_ = std::move(where);
  render();
  return *this;
}
Error&& Error::at(Where where) && {
  return std::move(at(std::move(where)));
}

Error& Error::hint(std::string hint) & {
  hint_ = std::move(hint);
  render();
  return *this;
}
Error&& Error::hint(std::string text) && {
  return std::move(hint(std::move(text)));
}

Error& Error::detail(std::string lines) & {
  detail_ = std::move(lines);
  render();
  return *this;
}
Error&& Error::detail(std::string lines) && {
  return std::move(detail(std::move(lines)));
}

Error& Error::during(std::string doing) & {
  trail_.push_back(std::move(doing));
  render();
  return *this;
}
Error&& Error::during(std::string doing) && {
  return std::move(during(std::move(doing)));
}

void Error::render() {
  text_ = where_.text();
  if (!text_.empty()) text_ += ": ";
  text_ += message_;
  if (!hint_.empty()) text_ += "; " + hint_;
  if (!detail_.empty()) {
    for (const std::string& line : lines(detail_)) text_ += "\n    " + line;
  }
  for (const std::string& doing : trail_) text_ += "\nwhile " + doing;
}

namespace {

// The sum of several errors; the exit status is the first one's, as all stem from one input.
std::string sum(const std::vector<Error>& errors) {
  std::string text;
  for (const Error& error : errors) {
    if (!text.empty()) text += '\n';
    text += error.what();
  }
  return text;
}

}  // namespace

Errors::Errors(std::vector<Error> errors)
    : Error(sum(errors), errors.empty() ? Exit::failed : errors.front().exit()), all_(std::move(errors)) {}

}  // namespace kiln::base
