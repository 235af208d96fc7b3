// Sends a mail by SMTP, with one file in it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::host {

struct Mail {
  std::string from;  // addresses, without names
  std::vector<std::string> to;
  std::string subject;
  std::string id;  // of the message, without brackets
  std::int64_t date = 0;
  std::string text;
  std::string file_name;
  std::string file;
};

// Whether it can stand in a mail as it is: "name@host" of plain ASCII, no quotes, at most 254 characters
// (RFC 5321).
bool is_mail_address(std::string_view text);

// Throws base::Error, Exit::usage, when `server` is not "smtp://HOST[:PORT]" or "smtps://...". A password in
// it is refused: everybody could read it in the process list.
void check_mail_server(const std::string& server);

// Hands the mail to `server`, for all addresses or for none. Where the server offers TLS it is used, and its
// certificate has to be right, but on this machine itself. Throws base::Error: the server, what it answered.
void send_mail(const std::string& server, const Mail& mail, std::chrono::seconds limit);

}  // namespace kiln::host
