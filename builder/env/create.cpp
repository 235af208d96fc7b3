#include "env/create.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <optional>

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
                                          const host::Host& host) {
  std::map<std::string, std::string> result = {{"domain", domain}, {"dkim_key", dkim.pem()}};
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
  return head_of(text) + yaml::merged(values_of({text, name}), extra);
}

bool same(const base::Where& a, const base::Where& b) {
  return a.file == b.file && a.line == b.line && a.column == b.column;
}

// Where in `extra` stands what stands at `where` in what was merged of it; nullopt when that is not of it.
std::optional<base::Where> origin(const yaml::Node& merged, const yaml::Node& extra,
                                  const base::Where& where) {
  using Kind = yaml::Node::Kind;
  const bool maps = merged.kind() == Kind::map && extra.kind() == Kind::map;
  // What a mapping lacks may be the template's fault; and it begins where its first key does.
  if (!maps && same(merged.where(), where)) return extra.where();
  if (merged.kind() == Kind::list && extra.kind() == Kind::list) {
    for (std::size_t i = 0; i < std::min(merged.items().size(), extra.items().size()); ++i)
      if (auto found = origin(merged.items()[i], extra.items()[i], where)) return found;
  }
  if (!maps) return std::nullopt;
  for (const auto& [own_key, own] : extra.entries()) {
    for (const auto& [key, value] : merged.entries()) {
      if (key.scalar() != own_key.scalar()) continue;
      if (same(key.where(), where)) return own_key.where();
      if (auto found = origin(value, own, where)) return found;
    }
  }
  return std::nullopt;
}

// A mistake in what was made is told where its writer finds it: in --extra, when it came from there.
void check_made(const Source& made, const yaml::Node& extra, const host::Host& host) {
  std::vector<Error> errors = check(made, host);
  if (errors.empty()) return;
  if (extra.kind() == yaml::Node::Kind::map) {
    std::vector<Error> ignored;
    const yaml::Node root = parse(made, ignored);
    for (Error& error : errors)
      if (const auto place = origin(root, extra, error.where()); place && place->line > 0) error.at(*place);
  }
  throw base::Errors(std::move(errors));
}

// What --extra may not take the place of without a word: the domain all else is made for, and the secrets
// that are lines of the settings.
void check_extra(const yaml::Node& extra, const yaml::Node& filled, const std::string& domain) {
  const auto other = value_at(extra, {"appliance", "domain"});
  if (other && other->kind() == yaml::Node::Kind::scalar && other->scalar() != domain)
    throw Error(fmt::format("appliance.domain: '{}' is not the domain that all else is made for, {}",
                            shown(other->scalar()), domain),
                Exit::usage)
        .at(other->where())
        .hint("name it on the command line, and leave it out here");
  const auto settings = value_at(extra, {"ecs", "settings"});
  const auto before = value_at(filled, {"ecs", "settings"});
  if (!settings || !before || settings->kind() != yaml::Node::Kind::scalar) return;
  std::vector<std::string> lost;
  const auto has = [](const yaml::Node& text, const std::string& name) {
    const std::vector<std::string> lines = base::lines(text.scalar());
    return std::any_of(lines.begin(), lines.end(),
                       [&](const std::string& line) { return line.starts_with(name); });
  };
  for (const std::string name : {"SECRET_KEY", "REGISTRATION_SECRET", "PASSWORD_RESET_SECRET"})
    if (has(*before, name) && !has(*settings, name)) lost.push_back(name);
  if (lost.empty()) return;
  throw Error(
      fmt::format("ecs.settings: takes the place of the template's, and has no {}", base::join(lost, ", ")),
      Exit::usage)
      .at(settings->where())
      .hint(
          "write them too; or add lines to a template of your own: --show-template prints one, --template "
          "takes it");
}

// The records to publish with that environment: with the public half of the key it has.
std::vector<DnsRecord> records_of(const yaml::Node& root, const std::string& domain) {
  const auto key = value_at(root, {"appliance", "dkim", "key"});
  if (!key || key->kind() != yaml::Node::Kind::scalar) return dns_records(domain, "");
  try {
    return dns_records(domain, PrivateKey::parse(key->scalar()).public_base64());
  } catch (const Error&) {
    return dns_records(domain, "");  // check() tells what is wrong with it, and where
  }
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
  const yaml::Node extra = wishes.extra.empty() ? yaml::Node() : values_of(read_source(wishes.extra));

  std::map<std::string, std::string> fresh = values(wishes.domain, PrivateKey::make_rsa(kRsaBits), host);
  const auto filled = [&](const std::vector<DnsRecord>& dns) {
    fresh["dns"] = commented(zone_text(dns));
    return render_template(form.text, form.name, fresh);
  };
  const std::string name = form.name + ", filled in";
  const std::string draft = filled({});
  check_extra(extra, values_of({draft, name}), wishes.domain);
  const std::vector<DnsRecord> records =
      records_of(values_of({with_extra(draft, extra, name), name}), wishes.domain);
  const Source made = {with_extra(filled(records), extra, name), name};
  check_made(made, extra, host);
  if (wishes.force) {
    host::write_file(wishes.target, made.text, 0600);
  } else {
    host::write_new_file(wishes.target, made.text, 0600);
  }
  return records;
}

}  // namespace kiln::env
