// Puts results where people look for them: whole files by rename, image.json last, reports beside.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "host/fd.hpp"
#include "host/host.hpp"

namespace kiln::engine {

class Publisher {
 public:
  // Makes `output`, and waits until nobody else publishes there. Under sudo what is made belongs to the user
  // who called it. Throws base::Error.
  Publisher(const host::Host& host, const std::filesystem::path& output);

  // Copies beside the target (also from another file system; never a hard link), syncs, renames. A target
  // with the same content is left alone. `sha256` of `from`, "" when it is not known. Throws base::Error when
  // the file system has no room, naming it and the need.
  std::filesystem::path file(const std::filesystem::path& from, const std::string& name,
                             const std::string& sha256 = {});
  // The same for the owner alone, as are the folders that are made for it.
  std::filesystem::path secret(const std::filesystem::path& from, const std::string& name);
  std::filesystem::path text(const std::string& name, const std::string& content);
  // What described an older file must not describe a new one: gone before the first file changes.
  void retract(const std::string& name);
  [[nodiscard]] const std::filesystem::path& folder() const { return output_; }

 private:
  // True when `name` is there with this very content.
  [[nodiscard]] bool has(const std::string& name, const std::string& sha256, std::uint64_t size) const;
  // `write` fills a file beside, which then is synced and renamed to `target`.
  void land(const std::filesystem::path& target, mode_t mode,
            const std::function<void(const std::filesystem::path& part)>& write) const;
  std::filesystem::path copy(const std::filesystem::path& from, const std::string& name, mode_t mode);
  void hand_over(const std::filesystem::path& path) const;
  const host::Host& host_;
  std::filesystem::path output_;
  host::Fd lock_;
  int uid_ = -1;
  int gid_ = -1;
};

// Throws base::Error (Exit::usage) when `output` cannot be made, or is no directory that may be written to:
// what can be told before anything was built for it.
void require_output(const std::filesystem::path& output);
// Where the file system of `path` is mounted.
std::filesystem::path mount_point(const std::filesystem::path& path);
// Throws base::Error naming the file system, what is free and what is needed for `what`.
void require_space(const std::filesystem::path& path, std::uint64_t need, const std::string& what);

}  // namespace kiln::engine
