// Small helpers around image::System::run: an Exec in one expression, output cut into lines.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "image/system.hpp"

namespace kiln::target {

inline image::Exec exec(std::vector<std::string> argv, std::string purpose,
                        std::map<std::string, std::string> env = {}) {
  image::Exec result;
  result.argv = std::move(argv);
  result.purpose = std::move(purpose);
  result.env = std::move(env);
  return result;
}

// Puts pieces of any length together and hands on whole lines, without their newline.
class Lines {
 public:
  explicit Lines(std::function<void(std::string_view)> each) : each_(std::move(each)) {}
  void add(std::string_view piece) {
    rest_ += piece;
    std::size_t begin = 0;
    for (std::size_t end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
      each_(std::string_view(rest_).substr(begin, end - begin));
      begin = end + 1;
    }
    rest_.erase(0, begin);
  }
  // What stands there without a final newline.
  void finish() {
    if (!rest_.empty()) each_(std::exchange(rest_, {}));
  }

 private:
  std::function<void(std::string_view)> each_;
  std::string rest_;
};

}  // namespace kiln::target
