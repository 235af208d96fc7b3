#include "host/mail.hpp"

#include <algorithm>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/curl.hpp"
#include "host/host.hpp"

namespace kiln::host {

namespace {

using base::Error;
using base::Exit;

constexpr std::size_t kLongestAddress = 254;  // RFC 5321, 4.5.3.1.3, without its brackets

bool is_host_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

// What RFC 5322 lets stand in an address without quotes.
bool is_atom_character(char c) {
  return is_host_character(c) || std::string_view("!#$%&'*+/=?^_`{|}~").find(c) != std::string_view::npos;
}

// The host of an URL, without its port.
std::string host_of(const std::string& server) {
  const std::size_t begin = server.find("://") + 3;
  const std::string rest = server.substr(begin, server.find('/', begin) - begin);
  if (rest.starts_with('[')) return rest.substr(0, rest.find(']') + 1);
  return rest.substr(0, rest.find(':'));
}

bool is_here(const std::string& host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

// The parts of a mail; libcurl copies what goes into them.
struct Parts {
  curl_mime* mime;
  explicit Parts(CURL* curl) : mime(::curl_mime_init(curl)) {
    if (mime == nullptr) throw Error("no memory for a mail");
  }
  ~Parts() { ::curl_mime_free(mime); }
  Parts(const Parts&) = delete;
  Parts& operator=(const Parts&) = delete;

  [[nodiscard]] curl_mimepart* add(const std::string& content, const char* type) const {
    curl_mimepart* const part = ::curl_mime_addpart(mime);
    if (part == nullptr || ::curl_mime_data(part, content.data(), content.size()) != CURLE_OK ||
        ::curl_mime_type(part, type) != CURLE_OK)
      throw Error("no memory for a mail");
    return part;
  }
};

}  // namespace

bool is_mail_address(std::string_view text) {
  const std::size_t at = text.find('@');
  if (at == std::string_view::npos || at == 0 || at + 1 == text.size() || text.size() > kLongestAddress)
    return false;
  const std::string_view name = text.substr(0, at);
  const std::string_view host = text.substr(at + 1);
  return name.front() != '-' && std::all_of(name.begin(), name.end(), &is_atom_character) &&
         host.front() != '-' && std::all_of(host.begin(), host.end(), &is_host_character);
}

void check_mail_server(const std::string& server) {
  const bool known = server.starts_with("smtp://") || server.starts_with("smtps://");
  const std::string host = known ? host_of(server) : "";
  const bool plain = std::all_of(server.begin(), server.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  if (server.find('@') != std::string::npos)
    throw Error("a mail server cannot be given with a name or password, which the process list would show",
                Exit::usage)
        .hint("let the mail server of this machine hand mail on to the one that wants a password");
  if (host.empty() || !plain)
    throw Error(fmt::format("'{}' is no mail server", base::printable(server)), Exit::usage)
        .hint("write it as smtp://HOST, smtp://HOST:PORT or smtps://HOST");
}

void send_mail(const std::string& server, const Mail& mail, std::chrono::seconds limit) {
  check_mail_server(server);
  CurlMessage message{};
  const CurlHandle handle = new_curl(server, message);
  CURL* const curl = handle.get();
  CurlList headers;
  headers.add(
      fmt::format("Date: {:%a, %d %b %Y %H:%M:%S} +0000", fmt::gmtime(static_cast<std::time_t>(mail.date))));
  headers.add("From: " + mail.from);
  std::string to = "To:";
  CurlList receivers;
  for (const std::string& address : mail.to) {
    to += fmt::format("{}{}", receivers.get() == nullptr ? " " : ",\r\n ", address);
    receivers.add(address);
  }
  headers.add(to);
  headers.add("Subject: " + mail.subject);
  headers.add(fmt::format("Message-ID: <{}>", mail.id));
  const Parts parts(curl);
  static_cast<void>(parts.add(mail.text, "text/plain; charset=utf-8"));
  curl_mimepart* const file = parts.add(mail.file, "application/octet-stream");
  if (::curl_mime_filename(file, mail.file_name.c_str()) != CURLE_OK ||
      ::curl_mime_encoder(file, "base64") != CURLE_OK)
    throw Error("no memory for a mail");
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "smtp,smtps");
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(
      curl, CURLOPT_USE_SSL,
      is_here(host_of(server)) ? static_cast<long>(CURLUSESSL_NONE) : static_cast<long>(CURLUSESSL_TRY));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, static_cast<long>(limit.count()));
  curl_easy_setopt(curl, CURLOPT_MAIL_FROM, mail.from.c_str());
  curl_easy_setopt(curl, CURLOPT_MAIL_RCPT, receivers.get());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(curl, CURLOPT_MIMEPOST, parts.mime);
  const CURLcode code = ::curl_easy_perform(curl);
  if (code == CURLE_OK) return;
  check_interrupt();
  throw Error(fmt::format("{} does not take the mail: {}", server, curl_cause(code, message)));
}

}  // namespace kiln::host
