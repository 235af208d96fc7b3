// Fetches a file by URL and sha256. Resumes a broken transfer; what does not match its digest is never used.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/error.hpp"

namespace kiln::host {

using OnBytes = std::function<void(std::uint64_t done, std::uint64_t total)>;  // total 0: unknown

// Leaves the content of `url` (https, http or file) at `to` by rename, beside `to` while it runs
// ("<to>.part"). When `to` is there and matches, nothing is fetched. Throws base::Error: the URL, the cause
// (HTTP status, both digests, both sizes), the next step.
void download(const std::string& url, const std::string& sha256, const std::filesystem::path& to,
              const OnBytes& on_bytes = {});

// True when `file` has that digest, and download() would leave it as it is.
bool is_fetched(const std::filesystem::path& file, const std::string& sha256);

// The content of `url`, for what is small and changes: no more than `most` bytes, in no more time than
// `limit`, one try. Throws base::Error as download() does.
std::string fetch_text(const std::string& url, std::size_t most, std::chrono::seconds limit);

// A request to a machine that is near, such as a cloud's metadata: past proxies, one try, no redirects.
struct Request {
  std::string url;
  std::string method = "GET";
  std::vector<std::string> headers;  // "Name: value"
};
struct Answer {
  long status = 0;  // of HTTP, whatever it is
  std::string content;
  std::map<std::string, std::string> headers;  // by name in lower case
};
// Throws base::Error when there is no answer in that time, or one of more than `most` bytes.
Answer ask(const Request& request, std::size_t most, std::chrono::seconds limit);

// The URL without a name and password, which are nobody's business but the server's, and printable.
std::string without_password(const std::string& url);
// What a build that may fetch nothing says when the store lacks `what`; the whole error but for where.
base::Error not_kept(const std::string& what);
// "a, b, c and 4 more", for it.
std::string some_of(const std::vector<std::string>& names);

}  // namespace kiln::host
