// An environment that is right, and what tests put into it.
#pragma once

#include <string>

#include "base/text.hpp"
#include "env/pem.hpp"
#include "host/atomic_file.hpp"

namespace kiln::env {

inline constexpr std::int64_t kNow = 1'800'000'000;  // when the keys of keys/ are valid

inline std::string key_file(const std::string& name) {
  return host::read_file(std::string(KILN_TESTS_DIR) + "/unit/env/keys/" + name);
}

// `text` as a block of YAML below a key that is `indent` deep.
inline std::string block(const std::string& text, int indent) {
  std::string yaml = "|\n";
  for (const std::string& line : base::lines(text))
    yaml += std::string(static_cast<std::size_t>(indent), ' ') + line + '\n';
  return yaml;
}

// Every option of the table but storage.setup and backup.mount.
inline std::string sample() {
  static const std::string dkim = PrivateKey::make_rsa(2048).pem();
  return R"(#cloud-config
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIM3+mtWLRiJtY+syLazTX096w4CWGAyHJYwULkvKmjz1 me@example.org
ssh_deprecated_keys:
disable_root: no
locale: de_AT.UTF-8
runcmd: [[echo, grüß]]
appliance:
  standby: false
  domain: ecs.example.org
  allowed_hosts: ecs.example.org
  ssl:
    letsencrypt: {enabled: false}
    client_certs_mandatory: true
    key: )" +
         block(key_file("tls.key"), 6) + "    cert: " + block(key_file("tls.crt"), 6) + R"(
  sentry: {dsn: 'https://canary@sentry.example.org/1'}
  git: {source: 'https://example.org/x', branch: main}
  extra:
    files:
      - {path: /etc/motd, content: Grüße canary, owner: 'root:adm', permissions: '0640'}
    packages: [vim, libstdc++6]
    states: |
      canary:
        test.nop
  update: {automatic: on, oncalendar: '*-*-* 06:30:00'}
  storage: {ignore: {data: true, volatile: true}}
  dkim:
    key: )" +
         block(dkim, 6) + R"(  metric: {exporter: false}
  backup:
    url: 'ssh://app:canary@localhost/backup'
    options: --canary
    encrypt: )" +
         block(key_file("public.asc"), 6) + R"(
ecs:
  git: {source: 'https://example.org/x', branch: stable, commitid: '0123456'}
  userswitcher: {enabled: false}
  settings: |
    NAME = 'Ethikkommission für alle'
    SECRET_KEY = 'canary'
  vault_encrypt: )" +
         block(key_file("secret.asc"), 4) + "  vault_sign: " + block(key_file("secret.asc"), 4);
}

}  // namespace kiln::env
