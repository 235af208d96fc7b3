// A new environment with secrets of its own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "env/domain.hpp"
#include "host/host.hpp"

namespace kiln::env {

struct Wishes {
  std::string domain;
  std::filesystem::path target;
  std::filesystem::path form;   // the template; empty: the default one
  std::filesystem::path extra;  // YAML whose values go into the environment; empty: none
  bool force = false;           // an existing target is replaced
};

// Makes the target, mode 0600, whole or not at all, and only when check() finds no mistake in it. Returns the
// records to publish. Throws base::Error; then an existing target is as it was.
std::vector<DnsRecord> create(const Wishes& wishes, const host::Host& host);

}  // namespace kiln::env
