#include "env/create.hpp"

#include <fmt/format.h>
#include <map>

#include "base/error.hpp"
#include "base/text.hpp"
#include "env/check.hpp"
#include "env/pem.hpp"
#include "env/pgp_key.hpp"
#include "env/read.hpp"
#include "env/scalar.hpp"
#include "env/template.hpp"
#include "host/atomic_file.hpp"
#include "yaml/emit.hpp"

namespace kiln::env {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;

namespace {

constexpr int kRsaBits = 2048;
constexpr std::size_t kSecretBytes = 39;

std::string commented(const std::string& text) {
  std::string result;
  for (const std::string& line : base::lines(text)) result += "#   " + line + '\n';
  return result;
}

// The comments before the first value, which a merge would lose.
std::string head_of(const std::string& text) {
  std::string head;
  for (const std::string& line : base::lines(text)) {
    if (!line.empty() && line.front() != '#') break;
    head += line + '\n';
  }
  return head;
}

// Fresh values for all that the template may name.
std::map<std::string, std::string> values(const std::string& domain, const PrivateKey& dkim,
                                          const std::string& dns, const host::Host& host) {
  std::map<std::string, std::string> result = {
      {"domain", domain}, {"dns", commented(dns)}, {"dkim_key", dkim.pem()}};
  for (const char* name : {"secret_key", "registration_secret", "password_reset_secret"})
    result[name] = random_base64(kSecretBytes);
  for (const char* name : {"ecs_backup", "ecs_mediaserver", "ecs_authority"}) {
    host::check_interrupt();
    result[name] = make_pgp_key(name, host.now());
  }
  return result;
}

std::string with_extra(std::string text, const yaml::Node& extra, const std::string& name) {
  if (extra.kind() == yaml::Node::Kind::null) return text;
  std::vector<Error> errors;
  const yaml::Node base = parse({text, name}, errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  return head_of(text) + yaml::merged(base, extra);
}

}  // namespace

std::vector<DnsRecord> create(const Wishes& wishes, const host::Host& host) {
  if (const auto problem = domain_problem(wishes.domain))
    throw Error(fmt::format("'{}' is no domain: {}", shown(wishes.domain), *problem), Exit::usage);
  // Also of a link that leads nowhere.
  if (!wishes.force && fs::exists(fs::symlink_status(wishes.target)))
    throw Error("is there already, and its secrets may be in use")
        .at({wishes.target.string(), 0, 0})
        .hint("choose another name, or replace it with --force");
  const Source form = wishes.form.empty() ? Source{std::string(default_template()), "the template of kiln"}
                                          : read_source(wishes.form);
  std::vector<Error> errors;
  const yaml::Node extra = wishes.extra.empty() ? yaml::Node() : parse(read_source(wishes.extra), errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));

  const PrivateKey dkim = PrivateKey::make_rsa(kRsaBits);
  const std::vector<DnsRecord> records = dns_records(wishes.domain, dkim.public_base64());
  const std::string filled =
      render_template(form.text, form.name, values(wishes.domain, dkim, zone_text(records), host));
  const Source made = {with_extra(filled, extra, form.name), form.name + ", filled in"};
  errors = check(made, host);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  if (wishes.force) {
    host::write_file(wishes.target, made.text, 0600);
  } else {
    host::write_new_file(wishes.target, made.text, 0600);
  }
  return records;
}

}  // namespace kiln::env
