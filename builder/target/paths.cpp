#include "target/paths.hpp"

#include <deque>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::target {
namespace {

constexpr int most_links = 40;  // as the kernel has it

bool wild(std::string_view part) {
  return part.find_first_of("*?") != std::string_view::npos;
}

// The classic two-pointer match: on a mismatch the last star takes one character more.
bool part_matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      mark = t;
    } else if (p < pattern.size() && (pattern[p] == '?' || pattern[p] == text[t])) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++mark;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

std::vector<std::string> parts(std::string_view path) {
  std::vector<std::string> result;
  for (std::string& part : base::split(path, '/')) {
    if (!part.empty()) result.push_back(std::move(part));
  }
  return result;
}

bool parts_match(const std::vector<std::string>& pattern, std::size_t p, const std::vector<std::string>& path,
                 std::size_t t) {
  if (p == pattern.size()) return t == path.size();
  if (pattern[p] == "**") {
    for (std::size_t skip = t; skip <= path.size(); ++skip) {
      if (parts_match(pattern, p + 1, path, skip)) return true;
    }
    return false;
  }
  return t < path.size() && part_matches(pattern[p], path[t]) && parts_match(pattern, p + 1, path, t + 1);
}

void expand_below(image::Files& files, const std::string& directory, const std::vector<std::string>& pattern,
                  std::size_t at, std::vector<std::string>& found) {
  const bool last = at + 1 == pattern.size();
  if (!wild(pattern[at])) {
    const std::string path = join_path(directory, pattern[at]);
    if (last) {
      if (files.find(path)) found.push_back(path);
    } else if (const auto stat = files.find(resolve(files, path)); stat && stat->kind == 'd') {
      expand_below(files, path, pattern, at + 1, found);
    }
    return;
  }
  for (const std::string& name : files.list(resolve(files, directory))) {
    if (!part_matches(pattern[at], name)) continue;
    const std::string path = join_path(directory, name);
    if (last) {
      found.push_back(path);
    } else if (const auto stat = files.find(path); stat && stat->kind == 'd') {
      expand_below(files, path, pattern, at + 1, found);
    }
  }
}

}  // namespace

bool matches(std::string_view pattern, std::string_view path) {
  return parts_match(parts(pattern), 0, parts(path), 0);
}

std::vector<std::string> expand(image::Files& files, const std::string& pattern) {
  std::vector<std::string> found;
  const std::vector<std::string> wanted = parts(pattern);
  if (!wanted.empty()) expand_below(files, "/", wanted, 0, found);
  return found;
}

std::string resolve(image::Files& files, const std::string& path) {
  std::deque<std::string> left;
  for (std::string& part : parts(path)) left.push_back(std::move(part));
  std::string at = "/";
  int links = 0;
  while (!left.empty()) {
    const std::string part = std::move(left.front());
    left.pop_front();
    if (part == ".") continue;
    if (part == "..") {
      at = parent(at);
      continue;
    }
    const std::string next = join_path(at, part);
    const auto stat = files.find(next);
    if (!stat || stat->kind != 'l') {
      at = next;
      continue;
    }
    if (++links > most_links) {
      throw base::Error(fmt::format("'{}' in the image is a circle of symbolic links", path))
          .hint("remove the links in an earlier step");
    }
    std::vector<std::string> target = parts(stat->target);
    left.insert(left.begin(), std::make_move_iterator(target.begin()), std::make_move_iterator(target.end()));
    if (stat->target.starts_with('/')) at = "/";
  }
  return at;
}

void make_directories(image::Files& files, const std::string& directory) {
  std::string at = "/";
  for (const std::string& part : parts(resolve(files, directory))) {
    at = join_path(at, part);
    if (!files.find(at)) files.make_directory(at, {.mode = 0755});
  }
}

std::string parent(const std::string& path) {
  const std::size_t slash = path.find_last_of('/');
  return slash == std::string::npos || slash == 0 ? "/" : path.substr(0, slash);
}

std::string join_path(const std::string& directory, std::string_view name) {
  std::string result = directory;
  if (!result.ends_with('/')) result += '/';
  result += name;
  return result;
}

}  // namespace kiln::target
