#include "target/private_key.hpp"

#include <cctype>
#include <fmt/format.h>

#include "base/error.hpp"
#include "host/atomic_file.hpp"

namespace kiln::target {
namespace {

constexpr std::string_view marker = "-----BEGIN ";
constexpr std::size_t longest_label = 40;
constexpr std::size_t shortest_body = 20;  // characters of base64; a script's own text has no such run here

bool base64(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '+' || c == '/';
}

// White space, also written as \n or \r in a quoted text, and the quotes and plus signs of lines that are
// strung together.
std::string_view skip_breaks(std::string_view text) {
  while (!text.empty()) {
    if (text.starts_with("\\n") || text.starts_with("\\r")) {
      text.remove_prefix(2);
    } else if (std::string_view(" \t\r\n\"',\\").find(text.front()) != std::string_view::npos) {
      text.remove_prefix(1);
    } else {
      break;
    }
  }
  return text;
}

// "Proc-Type: 4,ENCRYPTED" and such, which stand before the body.
bool header_follows(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() &&
         (std::isalnum(static_cast<unsigned char>(text[end])) != 0 || text[end] == '-')) {
    ++end;
  }
  return end > 0 && end < text.size() && text.substr(end).starts_with(": ");
}

bool body_follows(std::string_view text) {
  text = skip_breaks(text);
  if (header_follows(text)) return true;
  std::size_t run = 0;
  while (run < text.size() && run < shortest_body && base64(text[run])) ++run;
  return run == shortest_body;
}

bool has_pem(std::string_view text) {
  for (std::size_t at = text.find(marker); at != std::string_view::npos; at = text.find(marker, at + 1)) {
    const std::string_view rest = text.substr(at + marker.size());
    const std::size_t end = rest.substr(0, longest_label).find("-----");
    if (end == std::string_view::npos) continue;
    const std::string_view label = rest.substr(0, end);
    if (!label.ends_with("PRIVATE KEY") && label != "PGP PRIVATE KEY BLOCK") continue;
    if (body_follows(rest.substr(end + 5))) return true;
  }
  return false;
}

bool has_run_after(std::string_view text, std::string_view prefix, std::size_t length) {
  for (std::size_t at = text.find(prefix); at != std::string_view::npos; at = text.find(prefix, at + 1)) {
    const std::string_view rest = text.substr(at + prefix.size());
    std::size_t run = 0;
    while (run < rest.size() && run < length && base64(rest[run])) ++run;
    if (run == length) return true;
  }
  return false;
}

}  // namespace

bool has_private_key(std::string_view text) {
  return has_pem(text) || has_run_after(text, "AGE-SECRET-KEY-1", shortest_body) ||
         text.starts_with("PuTTY-User-Key-File-");
}

void refuse_private_keys(const std::filesystem::path& root, const std::vector<host::TreeNode>& nodes,
                         std::string_view what, const base::Where& where) {
  std::string found;
  std::size_t count = 0;
  for (const host::TreeNode& node : nodes) {
    if (node.kind != host::NodeKind::file) continue;
    const std::filesystem::path file = node.path.empty() ? root : root / node.path;
    if (!has_private_key(host::read_file(file))) continue;
    found += (count++ == 0 ? "" : "\n") + file.string();
  }
  if (count == 0) return;
  throw base::Error(fmt::format("the {} holds {}", what, count == 1 ? "a private key" : "private keys"),
                    base::Exit::usage)
      .at(where)
      .hint(
          "every copy of the image would share it: make it on the machine at first boot, or hand it over in "
          "the "
          "machine's environment (cloud-init's user-data)")
      .detail(found);
}

}  // namespace kiln::target
