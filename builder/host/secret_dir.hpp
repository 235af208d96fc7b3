// A private directory that goes with its owner, however that ends. Only a kill of its guard leaves it, so
// what may never be left, as a secret key, does not belong there.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::host {

// A TempDir in memory (/dev/shm, else $TMPDIR, else /tmp), mode 0700, that goes away also when this process
// is killed: a small process of its own waits for that and removes it.
class SecretDir {
 public:
  // Makes kiln-`what`-PID- and six letters more. Throws base::Error.
  SecretDir(const Host& host, std::string_view what);
  ~SecretDir();
  SecretDir(const SecretDir&) = delete;
  SecretDir& operator=(const SecretDir&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return dir_->path(); }

 private:
  std::optional<TempDir> dir_;
  Fd alive_;  // closed by whatever ends this process
  int guard_ = -1;
};

}  // namespace kiln::host
