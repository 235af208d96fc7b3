// The store of layers: what was built once and can be built upon. A key names an input, an id names bytes.
//
//   layers/<id>/{image.qcow2,info.json,log}   never replaced, 0444; image.qcow2 names its parent as
//                                             ../../layers/<parent>/image.qcow2
//   stages/<key>                              ids built from that key, newest first, one a line
//   artifacts/<key>/{files/,info.json}        exports of a key, so that they need not be made again
//   keys/<profile>/<n>.json                   key texts of the last 20 builds
//   verdicts/<sha256>-<firmware>.json         and .console.log, .screen.png of the boot that gave it
//   settled/<layer id>/{disk.qcow2,memory.zst,vmlinuz,initrd,info.json}
//                                             a guest that booted from that layer and had settled; a
//                                             by-product, the first to go
//   settled/<sha256>-<firmware>/{disk.qcow2,memory.zst,seed.iso,key,info.json}
//                                             the same of an image, for `kiln boot --settled`
//   blobs/<sha256>  packages/<kind>/  failed/<name>/  tmp/<uuid>/  stamps.json  lock  users
//
// The store is 0700 and belongs to one user. A tmp/<uuid> is flocked while its owner lives; the next run
// removes those it can lock. Layers, artifacts, key texts and verdicts come and go by rename under a flock of
// `lock`, held only for the moment; blobs and packages are their digest's and need none, and what lies beside
// a verdict is for looking at; `users` is flocked shared by whoever has the store open, so that nothing is
// evicted from under a build.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "cache/contents.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/temp_dir.hpp"

namespace kiln::cache {

struct Layer {
  std::string id;
  std::string parent;  // id, "" for a base
  std::string key;
  std::string sha256;      // of image.qcow2
  std::uint64_t size = 0;  // of image.qcow2, bytes
  double seconds = 0;      // its step took
  std::int64_t built = 0;  // wall clock
  std::string info;        // the whole of info.json
  std::filesystem::path folder;
  [[nodiscard]] std::filesystem::path image() const { return folder / "image.qcow2"; }
};

// How an overlay of layer `id` names its backing file, wherever in the store it lies.
inline std::string backing_of(const std::string& id) {
  return "../../layers/" + id + "/image.qcow2";
}

// What an artifact step left: files below `files`, each with its digest.
struct Artifact {
  struct File {
    std::string name;  // relative to `files`
    std::string sha256;
    std::uint64_t size = 0;
  };
  std::string key;
  std::filesystem::path files;
  std::vector<File> list;  // sorted by name
  double seconds = 0;
  std::string info;  // the whole of info.json
};

// A booted guest that was kept: by its files and by what was said of it.
struct Settled {
  std::filesystem::path folder;
  std::string machine;  // what whoever resumes it has to agree on
  std::vector<std::string> files = {"disk.qcow2", "memory.zst", "vmlinuz", "initrd"};  // in `folder`
  [[nodiscard]] std::filesystem::path disk() const { return folder / "disk.qcow2"; }
  [[nodiscard]] std::filesystem::path memory() const { return folder / "memory.zst"; }
  [[nodiscard]] std::filesystem::path kernel() const { return folder / "vmlinuz"; }
  [[nodiscard]] std::filesystem::path initrd() const { return folder / "initrd"; }
};

// What a trim did.
struct Trimmed {
  bool alone = true;       // false: somebody else has the store open, and nothing was removed
  std::vector<int> users;  // process ids of those, as far as the kernel tells
  std::vector<Item> removed;
  std::uint64_t freed = 0, left = 0;  // bytes
};

// What `verify` found.
struct Verified {
  struct Damage {
    Item item;
    std::filesystem::path file;  // the one that is not as it was
    std::string what;
    std::filesystem::path kept;  // where it was set aside; empty when the store cannot be written
  };
  std::map<Item::Kind, std::size_t> read;  // layers, artifacts, blobs
  std::uint64_t bytes = 0;
  std::vector<Damage> damaged;
};

// What a store is trimmed to unless somebody says otherwise: 20 GiB or a quarter of its file system,
// whichever is less.
std::uint64_t default_limit(const std::filesystem::path& store);

class Store;

// A layer or artifact in the making: a flocked directory below tmp/. The destructor removes it unless
// commit() was called.
class Entry {
 public:
  Entry(Entry&& other) noexcept;
  Entry(const Entry&) = delete;
  Entry& operator=(const Entry&) = delete;
  Entry& operator=(Entry&&) = delete;
  ~Entry();
  // What the layer is called once it is committed; its folder below tmp/ has the same name until then.
  [[nodiscard]] const std::string& id() const { return id_; }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }
  [[nodiscard]] std::filesystem::path image() const { return folder_ / "image.qcow2"; }
  // Digests image.qcow2, writes info.json, fsyncs, makes all of it 0444, renames it into layers/ and lists it
  // under `key`. `info` is a JSON object merged into info.json. Whatever else lies in the folder goes along.
  Layer commit(const std::string& key, const std::string& parent, double seconds, const std::string& info);

 private:
  friend class Store;
  Entry(Store& store, std::filesystem::path folder, std::string id, host::Fd lock);
  Store* store_;
  std::filesystem::path folder_;  // empty once it is gone
  std::string id_;
  host::Fd lock_;
};

class Store {
 public:
  // Opens or makes the store (0700), sweeps tmp/ of the dead. Throws base::Error (Exit::missing) when it
  // belongs to another user, with owner and the way out. A store that cannot be written still serves hits;
  // the first write throws as require_writable() does.
  Store(const host::Host& host, const std::filesystem::path& root);
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  // The newest intact layer of `key` whose parent is exactly `parent` ("" for a base). A damaged one is moved
  // aside and is no hit. `why`, on a miss: "" when the key was never listed, else one of "damaged",
  // "evicted", "parent missed".
  std::optional<Layer> find_layer(const std::string& key, const std::string& parent,
                                  std::string* why = nullptr);
  // Not checked for damage: see intact().
  std::optional<Layer> find_layer_by_id(const std::string& id) const;
  // True when the key was listed once, whatever became of its layers.
  [[nodiscard]] bool known(const std::string& key) const;
  // Throws as require_writable() does.
  Entry begin();
  // A flocked scratch directory below tmp/.
  Entry scratch() { return begin(); }
  // Digest check by rule 6: unchanged in inode, size, mtime, ctime since it was digested, or digested now.
  // False: damaged.
  bool intact(const Layer& layer);
  // Moves a layer to failed/damaged-<id>, so that it is found no more.
  void set_aside(const Layer& layer);

  [[nodiscard]] std::filesystem::path blob(const std::string& sha256) const {
    return root_ / "blobs" / sha256;
  }
  // Held while a step or export of `key` is made, so that of two builders one builds and the other waits and
  // then finds it. `on_wait` hears once who has it: "process 4711".
  host::Fd lock_key(const std::string& key, const std::function<void(const std::string& who)>& on_wait);
  // Held while a blob is fetched, so that two builds do not write one file.
  host::Fd lock_blob(const std::string& sha256);
  // Says that a blob is in use: it is not evicted by this run, and late by others.
  void used(const std::filesystem::path& file) { touch(file); }
  // Directory for downloads of a kind; made when missing.
  std::filesystem::path packages(const std::string& kind);
  // Key texts of a profile's last builds, in the order of its steps.
  struct KeyRecord {
    std::string step, key, text;
    double seconds = 0;
  };
  void keep_keys(const std::string& profile, const std::vector<KeyRecord>& records);
  // Whose key texts are kept, sorted.
  [[nodiscard]] std::vector<std::string> profiles() const;
  // Of the newest build; empty when there was none.
  [[nodiscard]] std::vector<KeyRecord> last_keys(const std::string& profile) const;
  // Verdict JSON of an image digest and firmware.
  [[nodiscard]] std::optional<std::string> find_verdict(const std::string& sha256,
                                                        const std::string& firmware) const;
  void keep_verdict(const std::string& sha256, const std::string& firmware, const std::string& json);
  // Where a by-product of a verdict lies ("console.log", "screen.png"); it need not exist.
  [[nodiscard]] std::filesystem::path verdict_file(const std::string& sha256, const std::string& firmware,
                                                   const std::string& name) const;
  // Exports by key, each file intact by rule 6; a damaged one is moved aside.
  std::optional<Artifact> find_artifact(const std::string& key);
  // Takes over `folder` (on the store's file system, by rename): digests its files and makes them 0444.
  // `info` is a JSON object merged into info.json. An artifact the key has already gives way to the new one.
  Artifact keep_artifact(const std::string& key, const std::filesystem::path& folder, double seconds,
                         const std::string& info);
  // The guest kept of a layer, by its id, or of an image, by settled_name(); all its files intact by rule 6;
  // a damaged one is removed.
  std::optional<Settled> find_settled(const std::string& of);
  // Takes over the files of a Settled from its folder (on the store's file system, by rename), readable by
  // the owner alone: there may be a key among them. Of layers and of images only the newest few stay.
  Settled keep_settled(const std::string& of, Settled made);
  void drop_settled(const std::string& of);
  static std::string settled_name(const std::string& sha256, const std::string& firmware) {
    return sha256 + "-" + firmware;
  }
  // Rule 6 for a file outside, such as a published one: true when it is there with this very content, which
  // is read again only when inode, size, mtime or ctime have changed since it last was.
  bool has_content(const std::filesystem::path& file, const std::string& sha256, std::uint64_t size);
  // Moves or copies a failed step's evidence below failed/, keeps the newest 20, returns the folder.
  std::filesystem::path keep_failure(const std::string& name, const std::filesystem::path& evidence);
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  [[nodiscard]] bool writable() const { return writable_; }
  // Throws base::Error unless the store can be written: Exit::failed when its file system is full, which it
  // names with what is free, else Exit::missing; the hint names --store.
  void require_writable() const;
  // Removes what nobody can find any more (it stands on a layer that is gone), then what was used longest ago
  // until the store holds at most `bytes`, then all but the newest verdicts of images that are not kept.
  // Never what something stands on that stays, nor what this Store has used. Does nothing while somebody else
  // has the store open. In cache/gc.cpp.
  Trimmed trim(std::uint64_t bytes);
  // Reads every layer, artifact and blob, whatever is known of them, and sets aside what is damaged or stands
  // on a layer that is. `on_read` hears what it is at, and of all bytes how many are read. In
  // cache/verify.cpp.
  Verified verify(
      const std::function<void(const Item& item, std::uint64_t done, std::uint64_t total)>& on_read);

 private:
  friend class Entry;
  struct Stamp {
    std::uint64_t inode = 0, size = 0;
    std::int64_t mtime = 0, ctime = 0;  // nanoseconds
    std::string sha256;
    bool operator==(const Stamp&) const = default;
  };
  static std::optional<Stamp> stamp_of(const std::filesystem::path& file);
  void open_root();
  // Says that the store is open, to whoever would evict from it.
  void share();
  // Throws base::Error (Exit::usage) when the root holds somebody else's files.
  void require_ours() const;
  void sweep();
  host::Fd take_lock();
  std::map<std::string, Stamp> read_stamps() const;
  // Digests a file that is not to change any more. Throws base::Error when it changes meanwhile.
  static Stamp digest(const std::filesystem::path& file);
  static std::int64_t oldest_outside(const std::map<std::string, Stamp>& stamps);
  void keep_stamps(const std::map<std::string, Stamp>& stamps);
  // Renames what `entry` holds to `place`, relative to the root, where it takes the place of what is there;
  // its files are known by `stamps`. Returns where it is. The caller holds the store's lock.
  std::filesystem::path put_in_place(Entry& entry, const std::string& place,
                                     const std::map<std::string, Stamp>& stamps);
  // `name`: below the root, or an absolute path.
  bool unchanged(const std::string& name, const std::string& sha256, std::uint64_t size);
  std::optional<std::filesystem::path> move_aside(const std::filesystem::path& folder);
  void prune_failed();
  // Drops from stages/ the ids of layers that are gone.
  void shorten_lists();
  void touch(const std::filesystem::path& path, bool mine = true);

  const host::Host& host_;
  std::filesystem::path root_;
  bool writable_ = true;
  std::optional<base::Error> why_not_writable_;
  host::Fd users_;
  std::map<std::string, Stamp>
      stamps_;  // by path below the root, or absolute; the file's content as last read
  std::set<std::filesystem::path> used_;
  long touches_ = 0;
};

using host::remove_tree;

}  // namespace kiln::cache
