// Fetches a file by URL and sha256. Resumes a broken transfer; what does not match its digest is never used.
// libcurl lives only here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace kiln::host {

using OnBytes = std::function<void(std::uint64_t done, std::uint64_t total)>;  // total 0: unknown

// Leaves the content of `url` (https, http or file) at `to` by rename, beside `to` while it runs
// ("<to>.part"). When `to` is there and matches, nothing is fetched. Throws base::Error: the URL, the cause
// (HTTP status, both digests, both sizes), the next step.
void download(const std::string& url, const std::string& sha256, const std::filesystem::path& to,
              const OnBytes& on_bytes = {});

}  // namespace kiln::host
