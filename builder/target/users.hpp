// Users and groups as the image's own /etc/passwd and /etc/group name them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/files.hpp"

namespace kiln::target {

class Users {
 public:
  // From the text of the two files; lines that are not of their form are passed over.
  Users(std::string_view passwd, std::string_view group);
  // Reads both from the image; a missing file means there is nobody.
  static Users read(image::Files& files);

  // Number of a user or group, by name or by a number that need not be known; nullopt for an unknown name.
  [[nodiscard]] std::optional<int> uid(std::string_view name) const;
  [[nodiscard]] std::optional<int> gid(std::string_view name) const;
  // All names, for guesses at what was meant.
  [[nodiscard]] std::vector<std::string> user_names() const;
  [[nodiscard]] std::vector<std::string> group_names() const;

 private:
  std::map<std::string, int, std::less<>> users_;
  std::map<std::string, int, std::less<>> groups_;
};

}  // namespace kiln::target
