// Paths inside an image, where any directory may turn out to be a symbolic link.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "image/files.hpp"

namespace kiln::target {

// True when `path` matches `pattern`, part by part: * and ? stand for anything within one part, a
// leading dot included, a part ** for any number of parts. Both without a leading '/'.
bool matches(std::string_view pattern, std::string_view path);

// The paths in the image that an absolute pattern names, sorted; a pattern without * and ? names at most
// itself. ** is not known here.
std::vector<std::string> expand(image::Files& files, const std::string& pattern);

// Where an absolute path really leads inside the image: links in it and at its end are followed as the
// image's own system would follow them, ".." cannot climb out. Parts that do not exist yet stay as they are.
// Throws base::Error for a circle of links.
std::string resolve(image::Files& files, const std::string& path);

// Makes a directory and those above it where they are not there yet: root's, 0755.
void make_directories(image::Files& files, const std::string& directory);

// "/etc/ssh" for "/etc/ssh/ssh_host_rsa_key", "/" for "/etc".
std::string parent(const std::string& path);
// `name` below `directory`, without a doubled '/'.
std::string join_path(const std::string& directory, std::string_view name);

}  // namespace kiln::target
