// The one exception of kiln: what went wrong, where, what to do next, and on the way to what.
//
// Thrown everywhere, caught in cli/app only. A normal absence is a std::optional from a `find_*`.
#pragma once

#include <exception>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::base {

// Exit statuses are a contract with scripts: see README.
enum class Exit : int {
  done = 0,
  failed = 1,         // a build or a boot failed
  usage = 2,          // a bad profile or a bad command line
  missing = 3,        // a tool or a capability of the host is missing
  interrupted = 130,  // SIGINT
  terminated = 143,   // SIGTERM
};

// A place in a text file; line and column count from 1, 0 means "the file as a whole".
struct Where {
  std::string file;
  int line = 0;
  int column = 0;

  // "file:line:column", "file", or "" when there is no place.
  [[nodiscard]] std::string text() const;
  bool operator==(const Where&) const = default;
};

class Error : public std::exception {
 public:
  explicit Error(std::string message, Exit exit = Exit::failed);

  // Each returns *this, so that an error reads as one expression:
  //   throw Error("no state tree at 'salt/'", Exit::usage).at(place).hint("set 'tree:' to its path");
  Error& at(Where where) &;
  Error&& at(Where where) &&;
  Error& hint(std::string hint) &;
  Error&& hint(std::string hint) &&;
  // Last lines of a log or console, shown indented below the message.
  Error& detail(std::string lines) &;
  Error&& detail(std::string lines) &&;
  // Adds "while <doing>" to the trail, innermost first.
  Error& during(std::string doing) &;
  Error&& during(std::string doing) &&;

  [[nodiscard]] const std::string& message() const { return message_; }
  [[nodiscard]] const std::string& hint_text() const { return hint_; }
  [[nodiscard]] const std::string& detail_text() const { return detail_; }
  [[nodiscard]] const Where& where() const { return where_; }
  [[nodiscard]] const std::vector<std::string>& trail() const { return trail_; }
  [[nodiscard]] Exit exit() const { return exit_; }

  // "where: message; hint", then the detail indented by four spaces, then one "while ..." a line.
  [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

 private:
  void render();

  std::string message_;
  std::string hint_;
  std::string detail_;
  Where where_;
  std::vector<std::string> trail_;
  Exit exit_;
  std::string text_;
};

// Several errors of one input at once (all mistakes of a profile); what() is one a line.
class Errors : public Error {
 public:
  explicit Errors(std::vector<Error> errors);
  [[nodiscard]] const std::vector<Error>& all() const { return all_; }

 private:
  std::vector<Error> all_;
};

}  // namespace kiln::base
