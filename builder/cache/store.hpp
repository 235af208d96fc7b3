// The store of layers: what was built once and can be built upon. A key names an input, an id names bytes.
//
//   layers/<id>/{image.qcow2,info.json,log}   never replaced, 0444; image.qcow2 names its parent as
//   ../../layers/<parent>/image.qcow2 stages/<key>                              ids built from that key,
//   newest first, one a line keys/<profile>/<n>.json                   key texts of the last 20 builds
//   blobs/<sha256>  packages/<kind>/  artifacts/<id>/  verdicts/<sha256>-<firmware>.json  failed/ tmp/<uuid>/
//   stamps.json
//
// The store is 0700 and belongs to one user. A tmp/<uuid> is flocked while its owner lives; the next run
// removes those it can lock.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/fd.hpp"
#include "host/host.hpp"

namespace kiln::cache {

struct Layer {
  std::string id;
  std::string parent;  // id, "" for a base
  std::string key;
  std::string sha256;      // of image.qcow2
  double seconds = 0;      // its step took
  std::int64_t built = 0;  // wall clock
  std::string info;        // the whole of info.json
  std::filesystem::path folder;
  [[nodiscard]] std::filesystem::path image() const { return folder / "image.qcow2"; }
};

class Store;

// A layer or artifact in the making: a flocked directory below tmp/. The destructor removes it unless
// commit() was called.
class Entry {
 public:
  Entry(Entry&&) noexcept;
  Entry& operator=(Entry&&) = delete;
  ~Entry();
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::filesystem::path image() const { return folder_ / "image.qcow2"; }
  // The id it will have; its overlay can be made to name its parent before that exists.
  [[nodiscard]] const std::string& id() const { return id_; }
  // Digests image.qcow2, writes info.json, fsyncs, makes it 0444, renames it into layers/ and lists it under
  // `key`. `info` is a JSON object merged into info.json.
  Layer commit(const std::string& key, const std::string& parent, double seconds, const std::string& info);

 private:
  friend class Store;
  Entry(Store& store, std::filesystem::path folder, std::string id, host::Fd lock);
  Store& store_;
  std::filesystem::path folder_;
  std::string id_;
  host::Fd lock_;
};

class Store {
 public:
  // Opens or makes the store (0700), sweeps tmp/ of the dead. Throws base::Error (Exit::missing) when it
  // belongs to another user, with owner and the way out. A store that cannot be written still serves hits;
  // the first write throws (Exit::missing, naming --store).
  Store(const host::Host& host, std::filesystem::path root);

  // The newest intact layer of `key` whose parent is exactly `parent` ("" for a base). A damaged one is moved
  // aside and is no hit; `why` says so.
  std::optional<Layer> find_layer(const std::string& key, const std::string& parent,
                                  std::string* why = nullptr);
  std::optional<Layer> find_layer_by_id(const std::string& id);
  // True when the key was listed once, whatever became of its layers.
  bool known(const std::string& key);
  Entry begin();
  // A flocked scratch directory below tmp/.
  Entry scratch() { return begin(); }
  // Digest check by rule 6: unchanged in inode, size, mtime, ctime since it was digested, or digested now.
  // False: damaged.
  bool intact(const Layer& layer);

  std::filesystem::path blob(const std::string& sha256) const { return root_ / "blobs" / sha256; }
  std::filesystem::path packages(const std::string& kind);
  // Key texts of a profile's last builds, newest first: {step id, text}.
  struct KeyRecord {
    std::string step, key, text;
    double seconds = 0;
  };
  void keep_keys(const std::string& profile, const std::vector<KeyRecord>& records);
  std::vector<KeyRecord> last_keys(const std::string& profile);
  // Verdict JSON of an image digest and firmware.
  std::optional<std::string> find_verdict(const std::string& sha256, const std::string& firmware);
  void keep_verdict(const std::string& sha256, const std::string& firmware, const std::string& json);
  // Artifact folders by key: exports that need not be made again.
  std::optional<std::filesystem::path> find_artifact(const std::string& key);
  std::filesystem::path keep_artifact(const std::string& key, const std::filesystem::path& folder);
  // Moves or copies a failed step's evidence below failed/, keeps the newest 20, returns the folder.
  std::filesystem::path keep_failure(const std::string& name, const std::filesystem::path& evidence);
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  // Removes layers nobody has used, oldest first, until the store holds at most `bytes`. Never a parent of a
  // layer that stays.
  void trim(std::uint64_t bytes);

 private:
  friend class Entry;
  const host::Host& host_;
  std::filesystem::path root_;
};

}  // namespace kiln::cache
