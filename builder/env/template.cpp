#include "env/template.hpp"

#include <fmt/format.h>
#include <kainjow/mustache.hpp>
#include <regex>
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

// The engine takes an unknown variable for an empty one, and a secret would be missing without a word.
void refuse_unknown(std::string_view text, const std::string& name,
                    const std::map<std::string, std::string>& values) {
  std::vector<std::string> known;
  known.reserve(values.size());
  for (const auto& [key, value] : values) known.push_back(key);
  int number = 0;
  for (const std::string& line : base::lines(text)) {
    ++number;
    static const std::regex tag("\\{\\{[{&]? *([A-Za-z0-9_.-]+) *\\}\\}");
    for (auto at = std::sregex_iterator(line.begin(), line.end(), tag); at != std::sregex_iterator(); ++at) {
      const std::string key = (*at)[1];
      if (values.contains(key)) continue;
      const std::string guess = base::did_you_mean(key, known);
      throw Error(fmt::format("unknown variable '{}'{}", shown(key),
                              guess.empty() ? "" : fmt::format(", did you mean '{}'?", guess)),
                  Exit::usage)
          .at({name, number, static_cast<int>(at->position()) + 1})
          .hint("known are " + base::join(known, ", "));
    }
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
