// Where an appliance finds its environment, and the one that is in force.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "host/host.hpp"

namespace kiln::env {

// The places that are looked at, in this order: the file that $ENV_YML names, `file`, `user-data` on the
// drive labelled cidata, `openstack/latest/user_data` on the one labelled config-2, and the metadata of EC2
// and of GCE, each asked only when the machine's DMI names that cloud: elsewhere any neighbour could answer.
struct Surroundings {
  std::filesystem::path file = "/app/env.yml";
  std::filesystem::path labels = "/dev/disk/by-label";  // links to drives
  std::filesystem::path dmi = "/sys/class/dmi/id";
  std::string metadata = "http://169.254.169.254";
  std::chrono::seconds patience{10};  // with the metadata, for each request
};

struct Found {
  std::string text;
  std::string source;  // for people: "/app/env.yml", "user-data on drive cidata"
};

// The file `path` of an ISO 9660 image or drive; nullopt when it has none. Throws base::Error, also when it
// is too large for an environment.
std::optional<std::string> from_iso(const std::filesystem::path& drive, const std::string& path);

// The first environment that there is, unpacked when it is gzip; nullopt when there is none. Throws
// base::Error when a place has one that cannot be read.
std::optional<Found> find_environment(const Surroundings& places, const host::Host& host);

// Puts what find_environment() finds into `active`, mode 0600, by rename, when it can be converted for
// shells; returns where it was. Throws base::Error, also when there is none; then `active` is as it was.
std::string update(const Surroundings& places, const std::filesystem::path& active, const host::Host& host);

}  // namespace kiln::env
