// What a stage's run() may touch, and nothing else. The engine implements it; tests implement a smaller one.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "host/host.hpp"
#include "image/disk.hpp"
#include "image/files.hpp"
#include "image/system.hpp"
#include "stage/observer.hpp"

namespace kiln::stage {

class Workspace {
 public:
  virtual ~Workspace() = default;
  virtual const host::Host& host() const = 0;
  virtual Observer& observer() = 0;
  // The snapshot of a local path that was digested into this step's key. Throws std::logic_error for a path
  // that was not.
  virtual std::filesystem::path input(const std::filesystem::path& local) = 0;
  // How long one command of the step may take: half an hour, or what the user said. A stage sets it on what
  // it runs on the host; system() and guest() keep it by themselves.
  virtual std::chrono::seconds step_limit() const = 0;
  // An empty directory for this step alone, on the store's file system; removed afterwards.
  virtual std::filesystem::path scratch() = 0;
  // A file kept by sha256 in the store: fetched from `url` when it is not there. Verified in either case.
  virtual std::filesystem::path blob(const std::string& url, const std::string& sha256) = 0;
  // Directory that keeps downloads of a kind between builds ("debs", "wheels"); whoever uses what is in it
  // verifies it first.
  virtual std::filesystem::path package_cache(const std::string& kind) = 0;

  // Nothing may be fetched: what the step needs from elsewhere is in blob() and package_cache(), or an error
  // (host::not_kept).
  virtual bool offline() const = 0;

  // Base stages: where to leave the disk (a qcow2 without backing file, does not exist yet).
  virtual std::filesystem::path new_disk() = 0;

  // Image stages. Only one of the three is open at a time; asking for another ends the one before it cleanly
  // (guest shut down, layer unmounted).
  virtual image::Files& files() = 0;  // the layer's root file system, offline
  virtual image::System&
  system() = 0;  // commands: in a sandbox on the mounted layer when root allows it, else in the guest
  // Commands in the booted guest. `warm` is called before a guest is kept for later runs, with what is worth
  // having in its memory then; it leaves the disk as it is, and nothing may depend on it: a guest that was
  // kept by another step, or is not kept, comes without.
  using Warm = std::function<void(image::System&)>;
  virtual image::System& guest(const Warm& warm) = 0;
  image::System& guest() { return guest({}); }
  // Records what a mirror served (engine rule 4): "release <sha256> <suite>", "package nginx 1.22.1-9".
  virtual void resolved(const std::string& line) = 0;
  // Where a release file was fetched that is recorded by `sha256`: `plan --online` asks there again.
  virtual void served(const std::string& url, const std::string& sha256) = 0;
  // A release file, for both.
  void release(const std::string& sha256, const std::string& name, const std::string& url) {
    resolved("release " + sha256 + " " + name);
    served(url, sha256);
  }
  // Says that it was served then, not now: the layer is as old as that.
  virtual void resolved_at(std::int64_t when) = 0;
  // What a mirror gave before this is too old, by the profile's `fresh` or since the step was forced; 0:
  // nothing is. For a stage that keeps results of its own between builds.
  virtual std::int64_t good_since() const = 0;
  // Structured results kept in the layer's log folder and copied to failed/ when the step fails
  // ("salt.json").
  virtual void keep(const std::string& name, const std::string& content) = 0;
  // Appended to the step's log.
  virtual void log(std::string_view text) = 0;

  // Artifact stages: the final layer's chain, read-only, and where to leave the files.
  virtual std::filesystem::path image() = 0;
  virtual std::filesystem::path output() = 0;
  virtual std::string profile_name() const = 0;
};

}  // namespace kiln::stage
