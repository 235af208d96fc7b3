// Package lists kept between builds, so that a build can be made of them where no archive can be reached. apt
// itself reads them back, by a method of its own that takes them for what the archive serves: signatures and
// digests are checked as ever, and a list that was tampered with is refused.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace kiln::image {

class ListCache {
 public:
  // `folder` holds "<sources>-<releases>-<sha256>.tar", a set each: the files of /var/lib/apt/lists.
  explicit ListCache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // The set of `sources` (a text that says which archives and for which architecture), linked to `to`, on the
  // same file system. Returns when it was refreshed last; nullopt when there is none. A damaged one is
  // dropped.
  [[nodiscard]] std::optional<std::int64_t> take(std::string_view sources,
                                                 const std::filesystem::path& to) const;
  // Keeps a set in the place of the older ones of `sources`; takes `tar` over by rename. `releases`: what the
  // archives say of themselves, another text for other lists.
  void keep(std::string_view sources, std::string_view releases, const std::filesystem::path& tar,
            std::int64_t now) const;
  // True when the set kept of `sources` has these `releases`; it is as fresh as `now` then.
  [[nodiscard]] bool refreshed(std::string_view sources, std::string_view releases, std::int64_t now) const;

 private:
  struct Set {
    std::filesystem::path file;
    std::string releases, sha256;
    std::int64_t when = 0;
  };
  [[nodiscard]] std::optional<Set> newest(std::string_view sources) const;

  std::filesystem::path folder_;
};

// Files of apt's folder of lists that are no part of a set: descriptions for people are a third of all bytes,
// and installing needs none.
bool is_kept_list(std::string_view file);

// A method of apt that serves, for any URL, the file that apt would keep it in from the folder `lists` beside
// the method's own. It is put in the place of those that ask the network.
extern const std::string_view offline_method;
inline constexpr std::string_view network_methods[] = {"ftp", "http", "https"};

// Makes `folder` on this host to serve from: FOLDER/lists with what is in `tar`, FOLDER/methods/; for anybody
// to read, since apt may run by other ids.
void serve_lists(const std::filesystem::path& tar, const std::filesystem::path& folder);

}  // namespace kiln::image
