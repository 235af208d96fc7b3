// What is put behind the image's own initrd for a build boot: kiln's agent and a /conf/param.conf. Scripts of
// initramfs-tools read that file between their steps; ours lays the agent, its unit and the quiet switches of
// a build into /run, which moves to the real root later. Nothing is written to the disk.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace kiln::image {

// On the console as soon as the agent lies in /run. A boot that reaches the real root without it has an
// initrd that initramfs-tools did not make.
inline constexpr std::string_view placed_mark = "kiln: agent placed";

// The text of /conf/param.conf: POSIX shell, sourced by the initramfs' own init.
std::string param_conf();

// Writes `initrd` followed by the second archive to `to`. `agent` is the program's bytes. Throws base::Error.
void extend_initrd(const std::filesystem::path& initrd, std::string_view agent,
                   const std::filesystem::path& to);

}  // namespace kiln::image
