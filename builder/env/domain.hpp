// The domain of an appliance, and what its DNS has to say.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::env {

// Why `text` is no name of a host in the DNS, behind "is no domain: "; nullopt when it is one.
std::optional<std::string> domain_problem(std::string_view text);

struct DnsRecord {
  std::string name;   // with its final dot
  std::string type;   // A, MX, TXT, PTR
  std::string value;  // as a zone file has it
};

// What to publish for an appliance: address, mail, SPF, DMARC, the DKIM key whose public half is `dkim`, and
// the way back from the address. The address stands as 192.0.2.1, which is nobody's.
std::vector<DnsRecord> dns_records(const std::string& domain, const std::string& dkim);
// One record a line, in columns.
std::string zone_text(const std::vector<DnsRecord>& records);

}  // namespace kiln::env
