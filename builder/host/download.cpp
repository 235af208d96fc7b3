#include "host/download.hpp"

#include <cerrno>
#include <exception>
#include <fcntl.h>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/size.hpp"
#include "base/text.hpp"
#include "host/atomic_file.hpp"
#include "host/curl.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"
#include "host/io_error.hpp"

namespace kiln::host {

namespace fs = std::filesystem;

namespace {

// The file a transfer goes to, locked, so that two builds that want the same bytes do not write over each
// other: the second waits and then finds them there.
class Part {
 public:
  explicit Part(fs::path path) : path_(std::move(path)) {
    while (true) {
      fd_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
      if (!fd_) throw io_error("write", path_, errno);
      while (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) throw io_error("lock", path_, errno);
        check_interrupt();
        ::poll(nullptr, 0, 100);
      }
      // The one before us may have renamed or removed the file that we waited for.
      struct stat mine{};
      struct stat there{};
      if (::fstat(fd_.get(), &mine) == 0 && ::stat(path_.c_str(), &there) == 0 &&
          mine.st_ino == there.st_ino && mine.st_dev == there.st_dev) {
        return;
      }
    }
  }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] std::uint64_t size() const {
    struct stat status{};
    return ::fstat(fd_.get(), &status) == 0 ? static_cast<std::uint64_t>(status.st_size) : 0;
  }
  void empty() const {
    if (::ftruncate(fd_.get(), 0) != 0) throw io_error("write", path_, errno);
  }
  void remove() const { ::unlink(path_.c_str()); }

 private:
  fs::path path_;
  Fd fd_;
};

struct Transfer {
  const Part* part = nullptr;
  const OnBytes* on_bytes = nullptr;
  std::uint64_t begin = 0;  // resumed here
  int write_error = 0;
  std::exception_ptr thrown;  // by on_bytes: must not pass through libcurl
};

extern "C" {

static std::size_t on_data(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto* transfer = static_cast<Transfer*>(user);
  std::string_view rest(bytes, size * count);
  while (!rest.empty()) {
    const ssize_t put = ::write(transfer->part->fd(), rest.data(), rest.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) {
      transfer->write_error = errno;
      return 0;
    }
    rest.remove_prefix(static_cast<std::size_t>(put));
  }
  return size * count;
}

static int on_progress(void* user, curl_off_t total, curl_off_t now, curl_off_t /*up*/,
                       curl_off_t /*up_now*/) {
  auto* transfer = static_cast<Transfer*>(user);
  if (pending_signal() != 0) return 1;
  try {
    if (*transfer->on_bytes) {
      (*transfer->on_bytes)(transfer->begin + static_cast<std::uint64_t>(now),
                            total > 0 ? transfer->begin + static_cast<std::uint64_t>(total) : 0);
    }
  } catch (...) {
    transfer->thrown = std::current_exception();
    return 1;
  }
  return 0;
}

}  // extern "C"

struct Outcome {
  CURLcode code = CURLE_OK;
  long status = 0;                      // of HTTP
  std::string cause;                    // for people
  std::optional<std::uint64_t> length;  // of the whole, when the server said
};

// A handle for what is fetched.
CurlHandle new_handle(const std::string& url, CurlMessage& message) {
  CurlHandle handle = new_curl(url, message);
  CURL* const curl = handle.get();
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https,http,file");
  curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, url.starts_with("https:") ? "https" : "https,http");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "kiln");
  return handle;
}

Outcome fetch(const std::string& url, const Part& part, const OnBytes& on_bytes) {
  CurlMessage message{};
  const CurlHandle handle = new_handle(url, message);
  CURL* const curl = handle.get();
  Transfer transfer;
  transfer.part = &part;
  transfer.on_bytes = &on_bytes;
  transfer.begin = part.size();
  if (::lseek(part.fd(), 0, SEEK_END) < 0) throw io_error("write", part.path(), errno);

  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 30L);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 100L);  // bytes a second ...
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, 30L);    // ... over so many seconds is a stall
  curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, static_cast<curl_off_t>(transfer.begin));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);

  Outcome outcome;
  outcome.code = ::curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &outcome.status);
  curl_off_t length = -1;
  curl_easy_getinfo(curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
  if (length >= 0) outcome.length = transfer.begin + static_cast<std::uint64_t>(length);
  if (transfer.write_error != 0) throw io_error("write", part.path(), transfer.write_error);
  if (transfer.thrown) std::rethrow_exception(transfer.thrown);
  if (outcome.code == CURLE_ABORTED_BY_CALLBACK) {
    check_interrupt();
    throw base::Error("the transfer of " + without_password(url) + " was broken off",
                      base::Exit::interrupted);
  }
  outcome.cause = curl_cause(outcome.code, message);
  return outcome;
}

struct Text {
  std::string content;
  std::size_t most = 0;
};

extern "C" {

static std::size_t on_text(char* bytes, std::size_t size, std::size_t count, void* user) {
  auto* text = static_cast<Text*>(user);
  if (text->content.size() + size * count > text->most) return 0;
  text->content.append(bytes, size * count);
  return size * count;
}

}  // extern "C"

// Worth another try: what the network or a busy server did, not what the request asked for.
bool passing(const Outcome& outcome) {
  switch (outcome.code) {
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_COULDNT_CONNECT:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_SSL_CONNECT_ERROR:
      return true;
    case CURLE_HTTP_RETURNED_ERROR:
      return outcome.status >= 500 || outcome.status == 429;
    default:
      return false;
  }
}

base::Error failure(const std::string& url, const Outcome& outcome, const Part& part) {
  std::string cause = outcome.cause;
  if (outcome.code == CURLE_PARTIAL_FILE && outcome.length) {
    cause = fmt::format("the transfer ended after {} of {} bytes", part.size(), *outcome.length);
  } else if (outcome.code == CURLE_HTTP_RETURNED_ERROR) {
    cause = fmt::format("the server answered with HTTP status {}", outcome.status);
  }
  base::Error error("cannot fetch " + without_password(url) + ": " + cause);
  if (outcome.code == CURLE_HTTP_RETURNED_ERROR && outcome.status < 500) {
    error.hint("check the URL; the file may have moved or need a login");
  } else if (outcome.code == CURLE_UNSUPPORTED_PROTOCOL) {
    error.hint("use a URL that begins with https://, http:// or file://");
  } else if (outcome.code == CURLE_FILE_COULDNT_READ_FILE) {
    error.hint("check the path");
  } else if (outcome.code == CURLE_TOO_MANY_REDIRECTS) {
    error.hint("the server sends this URL in a circle; check it");
  } else {
    error.hint("run again: what was fetched is kept and the transfer goes on from there");
  }
  return error;
}

// The content that `handle` gets, no more than `most` bytes of it. Throws base::Error.
std::string text_of(const std::string& url, CURL* curl, const CurlMessage& message, std::size_t most,
                    std::chrono::seconds limit) {
  Text text;
  text.most = most;
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, static_cast<long>(limit.count()));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_text);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &text);
  const CURLcode code = ::curl_easy_perform(curl);
  if (code == CURLE_OK) return std::move(text.content);
  check_interrupt();
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  const std::string cause = code == CURLE_WRITE_ERROR ? fmt::format("it has more than {} bytes", most)
                            : code == CURLE_HTTP_RETURNED_ERROR
                                ? fmt::format("the server answered with HTTP status {}", status)
                                : curl_cause(code, message);
  throw base::Error("cannot fetch " + without_password(url) + ": " + cause);
}

}  // namespace

std::string fetch_text(const std::string& url, std::size_t most, std::chrono::seconds limit) {
  CurlMessage message{};
  const CurlHandle handle = new_handle(url, message);
  return text_of(url, handle.get(), message, most, limit);
}

Answer ask(const Request& request, std::size_t most, std::chrono::seconds limit) {
  CurlMessage message{};
  const CurlHandle handle = new_handle(request.url, message);
  CURL* const curl = handle.get();
  CurlList headers;
  for (const std::string& header : request.headers) headers.add(header);
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_FAILONERROR, 0L);
  Answer answer;
  answer.content = text_of(request.url, curl, message, most, limit);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &answer.status);
  curl_header* header = nullptr;
  while ((header = ::curl_easy_nextheader(curl, CURLH_HEADER, -1, header)) != nullptr)
    answer.headers[base::lower(header->name)] = header->value;
  return answer;
}

std::string without_password(const std::string& url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string::npos) return base::printable(url);
  const std::size_t begin = scheme + 3;
  const std::size_t at = url.substr(0, url.find_first_of("/?#", begin)).rfind('@');
  return base::printable(at == std::string::npos || at < begin ? url
                                                               : url.substr(0, begin) + url.substr(at + 1));
}

std::string some_of(const std::vector<std::string>& names) {
  constexpr std::size_t few = 5;
  if (names.size() <= few + 1) return base::join(names, ", ");
  return fmt::format("{} and {} more", base::join({names.data(), few}, ", "), names.size() - few);
}

base::Error not_kept(const std::string& what) {
  return base::Error("--offline: the store does not keep " + what)
      .hint("build once without --offline, which fetches and keeps it");
}

bool is_fetched(const fs::path& file, const std::string& sha256) {
  std::error_code ignored;
  return fs::is_regular_file(file, ignored) && base::sha256_file(file) == sha256;
}

void download(const std::string& url, const std::string& sha256, const fs::path& to,
              const OnBytes& on_bytes) {
  if (!base::is_sha256(sha256)) {
    throw base::Error("'" + base::printable(sha256) + "' is not a SHA-256 digest", base::Exit::usage)
        .hint("give 64 lower-case hexadecimal digits, as `sha256sum` prints them");
  }
  if (is_fetched(to, sha256)) return;
  const Part part(to.string() + ".part");
  if (is_fetched(to, sha256)) {  // another build fetched it while this one waited for the lock
    part.remove();
    return;
  }

  int fruitless = 0;       // broken transfers in a row that brought nothing new
  int broken = 0;          // broken transfers in all
  bool refetched = false;  // from the first byte, after bytes that may not belong together
  while (true) {
    check_interrupt();
    const std::uint64_t begin = part.size();
    const bool resumed = begin > 0;
    const Outcome outcome = fetch(url, part, on_bytes);
    if (outcome.code != CURLE_OK) {
      // 416: the server has no more than we hold; the digest decides what that is worth.
      const bool no_range = outcome.code == CURLE_RANGE_ERROR || outcome.code == CURLE_BAD_DOWNLOAD_RESUME ||
                            (outcome.code == CURLE_HTTP_RETURNED_ERROR && outcome.status == 416);
      if (resumed && no_range && base::sha256_file(part.path()) != sha256) {
        part.empty();
        continue;
      }
      if (!resumed || !no_range) {
        fruitless = part.size() > begin ? 0 : fruitless + 1;
        if (!passing(outcome) || fruitless > 1 || ++broken > 4) {
          const base::Error error = failure(url, outcome, part);
          if (part.size() == 0) part.remove();
          throw error;
        }
        continue;
      }
    }
    const std::string got = base::sha256_file(part.path());
    if (got == sha256) break;
    // Joined from two transfers, or maybe cut short where no length was told: fetched again, once.
    if ((resumed || !outcome.length) && !refetched) {
      refetched = true;
      part.empty();
      continue;
    }
    const std::uint64_t size = part.size();
    part.remove();
    throw base::Error(
        fmt::format("what {} serves ({} bytes) is not what was asked for: its sha256 is {}, not {}",
                    without_password(url), size, got, sha256))
        .hint("if the new content is wanted, write its digest where the old one stands");
  }
  if (::fchmod(part.fd(), 0644) != 0) throw io_error("set the mode of", part.path(), errno);
  if (::fsync(part.fd()) != 0) throw io_error("write", part.path(), errno);
  rename_synced(part.path(), to);
}

}  // namespace kiln::host
