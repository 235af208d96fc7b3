#include "env/template.hpp"

#include <algorithm>
#include <charconv>
#include <fmt/format.h>
#include <kainjow/mustache.hpp>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "env/scalar.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;
namespace mustache = kainjow::mustache;

namespace {

constexpr std::string_view kTemplate = R"(#cloud-config
# The environment of {{domain}}. It holds secrets: whoever reads it can be this appliance.
#
# Publish these records in the DNS, the machine's own address in place of 192.0.2.1:
#
{{dns}}
# Keys that may log in, and keys that are taken away where they are found.
ssh_authorized_keys: []
#  - ssh-ed25519 AAAA... somebody@example.org
ssh_deprecated_keys: []
disable_root: false

appliance:
  standby: false
  domain: '{{domain}}'
  allowed_hosts: '{{domain}}'
  ssl:
    letsencrypt:
      enabled: true
    client_certs_mandatory: false
#    key and cert, PEM, are for a certificate of one's own
#  sentry:
#    dsn: https://key@sentry.example.org/1
#  extra:
#    files:
#      - {path: /etc/motd, content: "hello\n", owner: 'root:root', permissions: '0644'}
#    packages: []
  update:
    automatic: true
    oncalendar: '*-*-* 06:30:00'
  storage:
    # Whether to do without file systems of their own for data and for what can be lost.
    ignore:
      data: true
      volatile: true
  dkim:
    key: |
{{#indent6}}{{dkim_key}}{{/indent6}}
  metric:
    exporter: false
  backup:
#    url: ssh://app@backup.example.org/volatile/backup/
    encrypt: |
{{#indent6}}{{ecs_backup}}{{/indent6}}

ecs:
  userswitcher:
    enabled: false
  settings: |
    DOMAIN = '{{domain}}'
    ABSOLUTE_URL_PREFIX = 'https://{}'.format(DOMAIN)
    ALLOWED_HOSTS = [DOMAIN]
    DEBUG = False
    SECRET_KEY = '{{secret_key}}'
    REGISTRATION_SECRET = '{{registration_secret}}'
    PASSWORD_RESET_SECRET = '{{password_reset_secret}}'
  vault_encrypt: |
{{#indent4}}{{ecs_mediaserver}}{{/indent4}}
  vault_sign: |
{{#indent4}}{{ecs_authority}}{{/indent4}}
)";

constexpr int kDeepest = 24;

std::string indented(const std::string& text, int depth) {
  std::string result;
  for (const std::string& line : base::lines(text)) {
    if (!result.empty()) result += '\n';
    if (!line.empty()) result += std::string(static_cast<std::size_t>(depth), ' ') + line;
  }
  return result;
}

bool is_indent(std::string_view section) {
  constexpr std::string_view kIndent = "indent";
  if (!section.starts_with(kIndent)) return false;
  const std::string_view digits = section.substr(kIndent.size());
  int depth = 0;
  const auto [end, code] = std::from_chars(digits.data(), digits.data() + digits.size(), depth);
  return code == std::errc() && end == digits.data() + digits.size() && depth >= 1 && depth <= kDeepest &&
         digits.front() != '0';
}

// The engine takes what it does not know for something empty, and a secret would be missing without a word: a
// tag is a variable of ours, an indentN or a comment.
void refuse_unknown_tag(std::string_view tag, const base::Where& where,
                        const std::map<std::string, std::string>& values) {
  tag = base::trim(tag);
  const char sign = tag.empty() ? ' ' : tag.front();
  if (sign == '!') return;
  if (sign == '{' || sign == '&') tag.remove_prefix(1);
  const bool section = sign == '#' || sign == '/';
  const std::string key(base::trim(section ? tag.substr(1) : tag));
  if (section ? is_indent(key) : values.contains(key)) return;
  std::vector<std::string> known;
  known.reserve(values.size());
  for (const auto& [name, value] : values) known.push_back(name);
  if (section || key.find_first_of("^>=") != std::string::npos)
    throw Error(fmt::format("unknown tag '{{{{{}}}}}'", shown(std::string(tag))), Exit::usage)
        .at(where)
        .hint(fmt::format("there are variables, comments ({{{{! }}}}) and {{{{#indentN}}}}, N from 1 to {}",
                          kDeepest));
  const std::string guess = base::did_you_mean(key, known);
  throw Error(fmt::format("unknown variable '{}'{}", shown(key),
                          guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
              Exit::usage)
      .at(where)
      .hint("known are " + base::join(known, ", "));
}

void refuse_unknown(std::string_view text, const std::string& name,
                    const std::map<std::string, std::string>& values) {
  int number = 1;
  std::size_t line = 0;  // where it begins
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '\n') {
      ++number;
      line = at + 1;
    }
    if (!text.substr(at).starts_with("{{")) continue;
    const base::Where where = {name, number, static_cast<int>(at - line) + 1};
    const std::size_t end = text.find("}}", at);
    // The engine tells what is not closed.
    if (end == std::string_view::npos) return;
    const std::string_view tag = text.substr(at + 2, end - at - 2);
    refuse_unknown_tag(tag, where, values);
    number += static_cast<int>(std::count(tag.begin(), tag.end(), '\n'));
    if (const std::size_t last = tag.rfind('\n'); last != std::string_view::npos) line = at + 2 + last + 1;
    at = end + 1;
  }
}

}  // namespace

std::string_view default_template() {
  return kTemplate;
}

std::string render_template(std::string_view text, const std::string& name,
                            const std::map<std::string, std::string>& values) {
  refuse_unknown(text, name, values);
  mustache::mustache engine{std::string(text)};
  if (!engine.is_valid())
    throw Error(fmt::format("no valid template: {}", shown(engine.error_message())), Exit::usage)
        .at({name, 0, 0});
  engine.set_custom_escape([](const std::string& value) { return value; });
  mustache::data data;
  for (const auto& [key, value] : values) data.set(key, value);
  for (int depth = 1; depth <= kDeepest; ++depth) {
    data.set(fmt::format("indent{}", depth),
             mustache::lambda2([depth](const std::string& inner, const mustache::renderer& render) {
               return indented(render(inner), depth);
             }));
  }
  return engine.render(data);
}

}  // namespace kiln::env
