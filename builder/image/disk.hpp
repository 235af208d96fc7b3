// Disk images as files: qemu-img, partition tables, and the disk kiln composes. Nothing here needs root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"

namespace kiln::image {

// The label by which cloud images, and all that kiln composes, name their root file system.
inline constexpr std::string_view root_label = "cloudimg-rootfs";

struct DiskInfo {
  std::string format;              // qcow2, raw; or vmdk, vdi, vhdx, luks, which kiln does not read
  std::uint64_t virtual_size = 0;  // bytes
  std::uint64_t actual_size = 0;
  std::filesystem::path backing;    // as written in the header; empty when none
  std::filesystem::path data_file;  // a qcow2 may keep its content elsewhere; empty when it does not
  bool encrypted = false;
};

// The format is told by the file's first bytes and then named to qemu-img, which therefore never guesses: a
// raw disk whose first block a guest wrote cannot pose as a qcow2 that names files of the host.
DiskInfo disk_info(const host::Host& host, const std::filesystem::path& image);
// Throws base::Error (Exit::usage) when a foreign image, called `name` in the message, would make whoever
// opens it read other files of the host (a backing file, an external data file), or cannot be read by kiln.
void require_self_contained(const DiskInfo& info, const std::string& name);
// A new qcow2 overlay at `overlay`; `backing` (a qcow2) is written as given (a relative path is relative to
// the overlay) and need not exist yet. `size` 0: the backing's size, which then must exist.
void make_overlay(const host::Host& host, const std::filesystem::path& overlay, const std::string& backing,
                  std::uint64_t size);
// Whole content of `from` (with its chain) as a new image without backing file. `compress`: qcow2 gets zstd
// clusters, vmdk becomes a stream-optimized one; no other format can.
void convert(const host::Host& host, const std::filesystem::path& from, const std::filesystem::path& to,
             const std::string& format, bool compress);
// Throws base::Error when a guest would not read the same from both; `format` is that of `copy`, which may be
// one that kiln does not read otherwise.
void require_same_content(const host::Host& host, const std::filesystem::path& raw,
                          const std::filesystem::path& copy, const std::string& format);
// Throws base::Error when qemu-img finds errors in the image file itself; clusters that nothing names are
// lost room and no error. A raw image has nothing to check.
void check_image(const host::Host& host, const std::filesystem::path& image);

struct Partition {
  int number = 0;
  std::uint64_t start = 0;  // bytes
  std::uint64_t size = 0;   // bytes
  std::string type;         // GUID or MBR id, as sfdisk writes it
  bool operator==(const Partition&) const = default;
};
struct PartitionTable {
  std::string label;  // gpt or dos; empty: the disk has no table
  std::vector<Partition> partitions;
};
// Partition table of a raw image or of a file that shows a disk raw (the FUSE export of a qcow2).
PartitionTable partitions(const host::Host& host, const std::filesystem::path& raw);

// A Linux file system found by its own superblock.
struct FileSystem {
  int partition = 0;        // 0: it is the whole disk
  std::uint64_t start = 0;  // bytes, where it begins in the disk
  std::uint64_t size = 0;   // bytes of its partition
  std::string kind;         // ext4 (also for ext2 and ext3), xfs, btrfs
  std::string label;
};
// The file system in the `size` bytes at `start` of a file; nullopt when it is none of the kinds above.
std::optional<FileSystem> find_file_system(const std::filesystem::path& raw, std::uint64_t start,
                                           std::uint64_t size);
// The root file system of a raw disk: the one with `root_label`, else the only Linux file system. Throws
// base::Error, listing what is there.
FileSystem root_file_system(const host::Host& host, const std::filesystem::path& raw);

// Composes a cloud-image-like disk from a root tree: GPT; partition 14 BIOS boot, 15 ESP, 1 root (ext4,
// `label`) with the rest of `size`; GRUB for BIOS and UEFI from the tree's own packages (grub-pc-bin and, for
// UEFI, shim-signed and grub-efi-amd64-signed), finding the root file system by label. Needs no loop device.
// `to` is a raw sparse file. GRUB's core image is made by the tree's own grub-mkimage, in a chroot.
struct Compose {
  std::filesystem::path tree;  // owned as the image is to be, so for root only
  std::filesystem::path tar;   // instead of `tree`: the root file system as tar, unpacked in a user namespace
  std::uint64_t size = 0;      // of the disk
  std::string label{root_label};
  std::string uuid;  // of the root file system; the other ids of the disk are derived from it
  // Files and links of the tree (no leading '/') that the disk is not to have; they are removed from the
  // tree.
  std::vector<std::string> without;
  std::filesystem::path scratch;
};
void compose_disk(const host::Host& host, const Compose& what, const std::filesystem::path& to);
// The start of an argv that runs the rest as root of a user namespace in which all ids the user may have are
// mapped; empty when kiln is root already. Throws base::Error (Exit::missing) when the user has no such
// range, with the command that adds one.
std::vector<std::string> as_mapped_root(const host::Host& host);

// Whether `file` can be a disk that boots: of a format that says so, or raw with the bytes 55 AA at the end
// of its first sector, as BIOS wants it and the protective record of a GPT has it (UEFI 2.10, 5.2.3).
// qemu-img takes every file for a raw disk.
bool can_boot(const std::filesystem::path& file);
// Bytes a disk should have for a root file system that needs `used` bytes and begins at `start`: a quarter
// more, at least 512 MiB more, and room for the table at the end; a multiple of 64 MiB.
std::uint64_t roomy_size(std::uint64_t start, std::uint64_t used);
// Shrinks (or grows) the root file system (ext4), its partition and the disk of a raw image to `size` bytes
// in all, 0: roomy_size. The root partition must be the last on the disk. Returns the new size in bytes.
// The same disk and size give the same bytes, whenever it is done. Throws base::Error when the content does
// not fit, with both sizes; then the disk has its size and content. After any other error `raw` may be gone.
std::uint64_t resize_disk(const host::Host& host, const std::filesystem::path& raw, std::uint64_t size);
// What goes out: a raw copy of `image` at `raw`, resized as above. A root file system that is not ext4 keeps
// its size when `size` is 0. `on_doing` is told what is being done. Returns what to say about it in a log.
std::string copy_to_fit(const host::Host& host, const std::filesystem::path& image,
                        const std::filesystem::path& raw, std::uint64_t size,
                        const std::function<void(std::string_view)>& on_doing);

// Writes `content` to `path` (absolute, plain names), of root and readable by root alone, into the root file
// system (ext4) of a raw disk; folders that are missing are made. Nothing of the content is on a command
// line. The time of it all is that of the file system. Throws base::Error, also when it cannot be read back.
void write_private(const host::Host& host, const std::filesystem::path& raw, const std::string& path,
                   const std::string& content);

}  // namespace kiln::image
