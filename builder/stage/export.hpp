// What stages that export a disk share: the options, and the way to the file.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "stage/option.hpp"
#include "stage/workspace.hpp"

namespace kiln::stage {

inline constexpr Option export_size = {
    .name = "size",
    .type = Type::size,
    .fallback = {},
    .doc = "Virtual size of the disk; its content and head-room without it.",
    .minimum = 1LL << 28U,
    .maximum = 1LL << 42U};
inline constexpr Option export_sealed = {
    .name = "sealed",
    .type = Type::flag,
    .fallback = "true",
    .doc = "The step before this must be `seal`; false exports an image with the build's keys and ids."};

// All of them write into the exported file.
inline constexpr std::array<std::string_view, 4> export_tools = {"e2fsck", "qemu-img", "resize2fs", "sfdisk"};

// The step's image as a raw disk at `raw`, of `size` bytes, 0: as image::resize_disk() finds right. Returns
// what to say about it in a log. Throws base::Error.
std::string export_raw(Workspace& work, const std::filesystem::path& raw, std::uint64_t size);
// The raw disk as a compressed qcow2 at `to`, checked; `raw` is gone then. Throws base::Error.
void export_compressed(Workspace& work, const std::filesystem::path& raw, const std::filesystem::path& to);

}  // namespace kiln::stage
