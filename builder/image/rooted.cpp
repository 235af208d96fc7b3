#include "image/rooted.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace kiln::image {

host::Fd open_rooted(const host::Fd& root, const std::filesystem::path& path, int flags,
                     std::uint64_t resolve) {
  open_how how{};
  how.flags = static_cast<__u64>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
  // The kernel gives up on ".." when anything on the host is renamed or mounted meanwhile.
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const auto fd = ::syscall(SYS_openat2, root.get(), path.empty() ? "." : path.c_str(), &how, sizeof how);
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return host::Fd(static_cast<int>(fd));
  }
  return {};
}

}  // namespace kiln::image
