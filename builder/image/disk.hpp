// Disk images as files: qemu-img, partition tables, and the disk kiln composes. Nothing here needs root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::image {

struct DiskInfo {
  std::string format;              // qcow2, raw
  std::uint64_t virtual_size = 0;  // bytes
  std::uint64_t actual_size = 0;
  std::filesystem::path backing;  // as written in the header; empty when none
};

DiskInfo disk_info(const host::Host& host, const std::filesystem::path& image);
// A new qcow2 overlay at `overlay`; `backing` is written as given (a relative path is relative to the
// overlay) and need not exist yet. `size` 0: the backing's size, which then must exist.
void make_overlay(const host::Host& host, const std::filesystem::path& overlay, const std::string& backing,
                  std::uint64_t size);
// Whole content of `from` (with its chain) as a new image without backing file. `compress`: zstd clusters.
void convert(const host::Host& host, const std::filesystem::path& from, const std::filesystem::path& to,
             const std::string& format, bool compress);
// Throws base::Error when qemu-img finds errors or leaks in the image file itself.
void check_image(const host::Host& host, const std::filesystem::path& image);

struct Partition {
  int number = 0;
  std::uint64_t start = 0;  // bytes
  std::uint64_t size = 0;   // bytes
  std::string type;         // GUID or MBR id, as sfdisk writes it
};
struct PartitionTable {
  std::string label;  // gpt or dos
  std::vector<Partition> partitions;
};
// Partition table of a raw image or of a file that shows a disk raw (the FUSE export of a qcow2).
PartitionTable partitions(const host::Host& host, const std::filesystem::path& raw);

// Composes a cloud-image-like disk from a root tree: GPT; partition 14 BIOS boot, 15 ESP, 1 root (ext4,
// `label`) with the rest of `size`; GRUB for BIOS and UEFI from the tree's own grub modules, finding the root
// file system by label. Needs no loop device. `to` is a raw sparse file.
struct Compose {
  std::filesystem::path tree;  // owned as the image is to be: run as root, or inside a user namespace
  std::filesystem::path tar;   // instead of `tree`: the root file system as tar (rootless)
  std::uint64_t size = 0;      // of the disk
  std::string label = "cloudimg-rootfs";
  std::string uuid;  // of the root file system
  std::filesystem::path scratch;
};
void compose_disk(const host::Host& host, const Compose& what, const std::filesystem::path& to);

// Shrinks (or grows) the root file system, its partition and the disk of a raw image to `size` bytes in all,
// 0: content plus head-room. Returns the new size in bytes. Throws base::Error when the content does not fit,
// with both sizes.
std::uint64_t resize_disk(const host::Host& host, const std::filesystem::path& raw, std::uint64_t size);

}  // namespace kiln::image
