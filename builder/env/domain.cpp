#include "env/domain.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "base/text.hpp"

namespace kiln::env {

namespace {

constexpr std::size_t kLongestDomain = 253;
constexpr std::size_t kLongestLabel = 63;
// A string of a TXT record has at most 255 bytes; some forms of providers take less.
constexpr std::size_t kLongestString = 250;

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_label(std::string_view text) {
  return text.front() != '-' && text.back() != '-' && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '-';
         });
}

// `text` as strings of a TXT record.
std::string strings(std::string_view text) {
  std::vector<std::string> parts;
  for (; !text.empty(); text.remove_prefix(std::min(kLongestString, text.size())))
    parts.push_back(fmt::format("\"{}\"", text.substr(0, kLongestString)));
  return base::join(parts, " ");
}

}  // namespace

std::optional<std::string> domain_problem(std::string_view text) {
  if (text.empty()) return "it is empty";
  if (!base::is_ascii(text)) return "it is not ASCII; write it as the DNS has it, with xn--";
  if (text.size() > kLongestDomain) return fmt::format("it is longer than {} characters", kLongestDomain);
  const std::vector<std::string> labels = base::split(text, '.');
  for (const std::string& label : labels) {
    if (label.empty()) return "there is nothing between two dots, or before or behind one";
    if (label.size() > kLongestLabel)
      return fmt::format("a part of it is longer than {} characters", kLongestLabel);
    if (!is_label(label)) return "a part of it has other signs than letters, digits and '-' inside";
  }
  if (std::all_of(labels.back().begin(), labels.back().end(), is_digit))
    return "its last part is a number, as of an address";
  return std::nullopt;
}

std::vector<DnsRecord> dns_records(const std::string& domain, const std::string& dkim) {
  const std::string name = domain + ".";
  std::vector<DnsRecord> records = {
      {name, "A", "192.0.2.1"},
      {name, "MX", "10 " + name},
      {name, "TXT", "\"v=spf1 mx -all\""},
      {"_dmarc." + name, "TXT", fmt::format("\"v=DMARC1; p=quarantine; rua=mailto:postmaster@{}\"", domain)}};
  if (!dkim.empty())
    records.push_back({"default._domainkey." + name, "TXT", strings("v=DKIM1; k=rsa; p=" + dkim)});
  records.push_back({"1.2.0.192.in-addr.arpa.", "PTR", name});
  return records;
}

std::string zone_text(const std::vector<DnsRecord>& records) {
  std::size_t width = 0;
  for (const DnsRecord& record : records) width = std::max(width, record.name.size());
  std::string text;
  for (const DnsRecord& record : records)
    text += fmt::format("{:<{}}  IN  {:<3}  {}\n", record.name, width, record.type, record.value);
  return text;
}

}  // namespace kiln::env
