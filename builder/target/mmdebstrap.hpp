// mmdebstrap with what the store keeps: packages that were fetched before are offered to it, and the lists
// that it fetched serve builds where nothing may be fetched.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "image/deb_cache.hpp"
#include "image/list_cache.hpp"

namespace kiln::target {

// The option by which mmdebstrap itself carries out `words` ("tar-in", "sync-out"): no shell runs.
std::string mmdebstrap_hook(std::string_view when, const std::vector<std::string>& words);

class Mmdebstrap {
 public:
  struct Source {
    std::string suite;
    std::string mirror;  // "": mmdebstrap's default
    std::vector<std::string> components = {"main"};
    std::string variant = "minbase";
    std::filesystem::path keyring;  // "": the host's
  };
  // `debs` and `lists` are folders of the store; `scratch`, which is there, is the caller's to remove.
  Mmdebstrap(Source source, const std::filesystem::path& debs, std::filesystem::path lists,
             std::filesystem::path scratch);

  // From now on nothing is fetched: apt, outside and inside the chroot, asks `folder` (new; its ids must be
  // able to enter it) for the lists and packages kept. Returns when the lists were refreshed last. Throws
  // host::not_kept() when there are none.
  std::int64_t keep_offline(const std::filesystem::path& folder);
  // A mirror of this machine's own files is not elsewhere.
  [[nodiscard]] bool is_local() const { return source_.mirror.starts_with("file:"); }

  // Composes `to`. `command`: mmdebstrap with the options, variables and limit of the caller's own, whose
  // hooks run behind those of this. Keeps the packages that were fetched, and leaves apt's lists in lists().
  // Throws base::Error; offline it says which packages the store does not keep.
  using Told = std::function<void(std::string_view)>;
  void run(const host::Host& host, host::Command command, const std::filesystem::path& to,
           const Told& on_line, const Told& log);
  [[nodiscard]] std::filesystem::path lists() const { return scratch_ / "lists"; }
  // Keeps lists() as of `now`. `releases`: see image::ListCache.
  void keep_lists(std::string_view releases, std::int64_t now) const;

 private:
  [[nodiscard]] std::string sources() const;

  Source source_;
  std::filesystem::path scratch_;
  image::DebCache debs_;
  image::ListCache kept_;
  std::filesystem::path methods_;  // apt's, that fetch nothing; empty: it may fetch
};

}  // namespace kiln::target
