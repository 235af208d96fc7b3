#include "proof/checks.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <curl/curl.h>
#include <fmt/format.h>
#include <memory>
#include <netinet/in.h>
#include <poll.h>
#include <regex>
#include <sys/socket.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/fd.hpp"
#include "host/host.hpp"

namespace kiln::proof {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t body_limit = 1U << 20;
constexpr std::size_t piece = 8U << 10;

host::Fd connect_to(int port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  host::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return {};
  return fd;
}

// Bytes up to a newline, the peer's end, or a silence of `patience`; of a peer that trickles not more than 64
// pieces.
std::string read_line(int fd, milliseconds patience) {
  std::string text;
  for (int pieces = 0; pieces < 64 && text.find('\n') == std::string::npos; ++pieces) {
    pollfd wait{fd, POLLIN, 0};
    const int ready = ::poll(&wait, 1, static_cast<int>(patience.count()));
    if (ready < 0 && errno == EINTR) {
      host::check_interrupt();
      continue;
    }
    if (ready <= 0) break;
    char bytes[1024];
    const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
    if (got <= 0) break;
    text.append(bytes, static_cast<std::size_t>(got));
  }
  return text;
}

// What people may read of foreign bytes.
std::string shown(std::string_view text) {
  std::string line =
      base::printable(std::string(base::trim(text.substr(0, std::min<std::size_t>(text.size(), 120)))));
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

PortAnswer ask_greeting(const profile::PortCheck& check, int port, milliseconds patience,
                        std::string_view start, std::string_view what) {
  const std::string text = greeting(port, patience, check.protocol == "tcp" ? "\r\n" : "");
  if (text.empty()) return {false, fmt::format("no {}: nothing was said", what)};
  if (text.rfind(start, 0) != 0) return {false, fmt::format("no {}, but '{}'", what, shown(text))};
  return {true, shown(text)};
}

struct Easy {
  CURL* handle = curl_easy_init();
  Easy() {
    if (handle == nullptr) throw base::Error("libcurl cannot be used");
  }
  ~Easy() { curl_easy_cleanup(handle); }
  Easy(const Easy&) = delete;
  Easy& operator=(const Easy&) = delete;
};

std::size_t take_body(char* bytes, std::size_t size, std::size_t count, void* to) {
  auto& body = *static_cast<std::string*>(to);
  if (body.size() < body_limit) body.append(bytes, std::min(size * count, body_limit - body.size()));
  return size * count;
}

// Asked by curl at least once a second: a service that says nothing does not keep ^C waiting.
int give_up(void* /*nobody*/, curl_off_t /*total*/, curl_off_t /*now*/, curl_off_t /*up*/,
            curl_off_t /*up_now*/) {
  return host::pending_signal() != 0 ? 1 : 0;
}

std::string certificate_subject(CURL* handle) {
  curl_certinfo* info = nullptr;
  if (curl_easy_getinfo(handle, CURLINFO_CERTINFO, &info) != CURLE_OK || info == nullptr ||
      info->num_of_certs < 1) {
    return {};
  }
  for (const curl_slist* line = info->certinfo[0]; line != nullptr; line = line->next) {
    if (std::strncmp(line->data, "Subject:", 8) == 0) return std::string(base::trim(line->data + 8));
  }
  return "without a subject";
}

PortAnswer ask_web(const profile::PortCheck& check, int port, std::chrono::seconds patience) {
  const bool secure = check.protocol != "http";
  const Easy easy;
  std::string body;
  char why[CURL_ERROR_SIZE] = "";
  const std::string url = fmt::format("{}://127.0.0.1:{}{}", secure ? "https" : "http", port, check.path);
  curl_easy_setopt(easy.handle, CURLOPT_URL, url.c_str());
  // curl then leaves SIGPIPE alone, and OpenSSL may raise it at a service that hangs up: kiln ignores it from
  // its start on (host::install_signal_flags).
  curl_easy_setopt(easy.handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy.handle, CURLOPT_PROXY, "");
  curl_easy_setopt(easy.handle, CURLOPT_TIMEOUT, static_cast<long>(patience.count()));
  curl_easy_setopt(easy.handle, CURLOPT_ERRORBUFFER, why);
  curl_easy_setopt(easy.handle, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy.handle, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(easy.handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(easy.handle, CURLOPT_XFERINFOFUNCTION, give_up);
  if (secure) {
    // A machine makes its own certificate at first boot; there is nobody to vouch for it. Old bases sign with
    // what today's default level refuses.
    curl_easy_setopt(easy.handle, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(easy.handle, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(easy.handle, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(easy.handle, CURLOPT_SSL_CIPHER_LIST, "DEFAULT@SECLEVEL=0");
  }
  if (check.protocol == "tls") curl_easy_setopt(easy.handle, CURLOPT_CONNECT_ONLY, 1L);
  const CURLcode code = curl_easy_perform(easy.handle);
  if (code == CURLE_ABORTED_BY_CALLBACK) host::check_interrupt();
  const std::string subject = secure ? certificate_subject(easy.handle) : "";
  if (code != CURLE_OK) {
    return {false, fmt::format("no {} answer: {}", check.protocol,
                               shown(why[0] != 0 ? why : curl_easy_strerror(code)))};
  }
  if (secure && subject.empty()) return {false, "no certificate was shown"};
  const std::string certificate = secure ? ", certificate " + shown(subject) : "";
  if (check.protocol == "tls") return {true, "TLS handshake" + certificate};
  long status = 0;
  curl_easy_getinfo(easy.handle, CURLINFO_RESPONSE_CODE, &status);
  const std::string seen = fmt::format("status {}{}", status, certificate);
  if (check.status ? status != *check.status : (status < 100 || status >= 500)) {
    return {false,
            seen + (check.status ? fmt::format("; expected {}", *check.status) : "; expected one below 500")};
  }
  if (!check.body.empty() && !found(check.body, body)) {
    return {false, fmt::format("{}; '{}' is not in the body: '{}'", seen, check.body, shown(body))};
  }
  return {true, seen};
}

}  // namespace

std::string greeting(int port, milliseconds patience, const std::string& nudge) {
  const auto fd = connect_to(port);
  if (!fd) return {};
  if (nudge.empty()) return read_line(fd.get(), patience);
  const auto half = patience / 2;
  std::string text = read_line(fd.get(), half);
  if (text.empty() && ::send(fd.get(), nudge.data(), nudge.size(), MSG_NOSIGNAL) > 0)
    text = read_line(fd.get(), half);
  return text;
}

PortAnswer ask_port(const profile::PortCheck& check, int port, std::chrono::seconds patience) {
  if (check.protocol == "ssh") return ask_greeting(check, port, patience, "SSH-", "SSH banner");
  if (check.protocol == "smtp") return ask_greeting(check, port, patience, "220", "SMTP greeting");
  if (check.protocol == "tcp") return ask_greeting(check, port, patience, "", "answer");
  return ask_web(check, port, patience);
}

bool found(const std::string& pattern, const std::string& text) {
  try {
    const std::regex expression(pattern, std::regex::ECMAScript | std::regex::multiline);
    if (text.size() <= piece) return std::regex_search(text, expression);
    for (const auto& line : base::lines(text)) {
      for (std::size_t at = 0; at < std::max<std::size_t>(line.size(), 1); at += piece / 2) {
        const std::string part = line.substr(at, piece);
        if (std::regex_search(part, expression)) return true;
      }
    }
  } catch (const std::regex_error& error) {
    throw base::Error(fmt::format("'{}' is no regular expression: {}", pattern, error.what()),
                      base::Exit::usage);
  }
  return false;
}

}  // namespace kiln::proof
