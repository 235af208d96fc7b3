// Units of the system inside an image, enabled, disabled and masked offline: the links that systemctl would
// make, made with image::Files.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "image/files.hpp"

namespace kiln::target {

// What the [Install] section of a unit file asks for; names as written, specifiers not yet replaced.
struct Install {
  std::vector<std::string> wanted_by;
  std::vector<std::string> required_by;
  std::vector<std::string> alias;
  std::vector<std::string> also;
  std::string default_instance;
  [[nodiscard]] bool empty() const {
    return wanted_by.empty() && required_by.empty() && alias.empty() && also.empty();
  }
};

// Reads it from a unit file's text. Other sections, comments and unknown keys are passed over; a line that
// ends in a backslash goes on; an empty assignment takes back what was assigned before it.
Install read_install(std::string_view unit_text);

// "nginx" -> "nginx.service"; a name that has a unit's suffix stays.
std::string unit_name(std::string_view name);

struct UnitFile {
  std::string name;  // the real one: an alias is followed
  std::string path;  // in the image; a template's for its instances
  bool masked = false;
};

class Systemd {
 public:
  explicit Systemd(image::Files& files) : files_(files) {}

  // nullopt when the image has no such unit (for "a@b.service" neither itself nor its template).
  std::optional<UnitFile> find(std::string_view unit);
  // All unit files of the image, without folders of links, sorted.
  std::vector<std::string> names();

  // Each throws base::Error for a unit that is not there, with a guess at what was meant.
  // Makes the links of [Install], also for the units named by Also=. Throws base::Error for a masked unit,
  // for one without [Install] and for a template without an instance. Returns the links made.
  std::vector<std::string> enable(std::string_view unit);
  // Removes all links to the unit (all instances, for a template) below /etc/systemd/system; what is started
  // because another unit asks for it by itself still is. Fine when there are none. Returns the links removed.
  std::vector<std::string> disable(std::string_view unit);
  // Throws base::Error when /etc/systemd/system holds a unit file of that name, which would be lost.
  void mask(std::string_view unit);

 private:
  UnitFile require(std::string_view unit);
  void enable(std::string_view unit, std::vector<std::string>& seen, std::vector<std::string>& made);
  void disable(std::string_view unit, std::vector<std::string>& seen, std::vector<std::string>& removed);
  void make_link(const std::string& path, const std::string& target, std::vector<std::string>& made);

  image::Files& files_;
};

}  // namespace kiln::target
