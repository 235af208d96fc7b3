#include "image/wake.hpp"

#include <fmt/format.h>

#include "agent/bytes.hpp"
#include "base/digest.hpp"

namespace kiln::image {

std::string wake_payload(std::int64_t now) {
  std::string payload;
  const auto seconds = static_cast<std::uint64_t>(now);
  for (unsigned shift = 0; shift < 64; shift += 8) payload += static_cast<char>(seconds >> shift & 0xffU);
  return payload + base::random_hex(64);
}

WakeScript wake_script(std::int64_t now) {
  // Where programs may be run differs: /run of many images and /tmp of hardened ones are noexec. head takes
  // no byte too many of what comes in, so what is behind the program is the program's.
  constexpr std::string_view script = R"sh(PATH=/usr/sbin:/usr/bin:/sbin:/bin
umask 077
for folder in /dev/shm /run /tmp /root; do
  file=$(mktemp "$folder/kiln-wake.XXXXXX") || continue
  printf "#!/bin/sh\n" >"$file"
  chmod 0700 "$file" && "$file" && break
  rm -f "$file"
done
head -c {} >"$file" && "$file" wake && echo {}
rm -f "$file"
)sh";
  const std::string_view program = agent::bytes();
  return {fmt::format(script, program.size(), awake), std::string(program) + wake_payload(now)};
}

}  // namespace kiln::image
