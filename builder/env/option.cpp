#include "env/option.hpp"

#include <algorithm>
#include <array>

namespace kiln::env {

namespace {

constexpr std::string_view kRef = "[A-Za-z0-9][A-Za-z0-9._/+-]*";
constexpr std::string_view kWriteRef = "letters, digits and . _ / + - as git has them in names";
constexpr std::string_view kUrl = "[A-Za-z][A-Za-z0-9+.-]*://[!-~]+";
constexpr std::string_view kWriteUrl = "an address with its scheme, such as https://example.org/";

constexpr std::array kOptions = {
    Option{"ssh_authorized_keys", Type::ssh_keys, "Public keys that may log in."},
    Option{"ssh_deprecated_keys", Type::ssh_keys, "Public keys that are taken away where they are found."},
    Option{"disable_root", Type::flag, "Whether root may not log in by ssh."},
    Option{"appliance.standby", Type::flag, "Whether the appliance stays inactive."},
    Option{"appliance.domain", Type::domain, "The domain the appliance answers for.", true},
    Option{"appliance.allowed_hosts", Type::text_or_texts, "Names that requests may ask for.", false,
           "[A-Za-z0-9.*:, \\[\\]-]+", "names with commas between them, or a list of names"},
    Option{"appliance.ssl.letsencrypt.enabled", Type::flag, "Whether certificates come from Let's Encrypt."},
    Option{"appliance.ssl.client_certs_mandatory", Type::flag,
           "Whether every client has to have a certificate."},
    Option{"appliance.ssl.key", Type::private_key, "Private key of the web server, PEM."},
    Option{"appliance.ssl.cert", Type::certificate, "Its certificate and the chain behind it, PEM."},
    Option{"appliance.sentry.dsn", Type::text, "Where errors are reported to.", false, kUrl, kWriteUrl},
    Option{"appliance.git.source", Type::text, "Repository of the appliance.", false, "[!-~]+",
           "an address without blanks"},
    Option{"appliance.git.branch", Type::text, "Its branch.", false, kRef, kWriteRef},
    Option{"appliance.extra.files", Type::files, "Files written to the appliance."},
    Option{"appliance.extra.packages", Type::packages, "Debian packages to install."},
    Option{"appliance.extra.states", Type::block_or_texts, "Salt states of one's own."},
    Option{"appliance.update.automatic", Type::flag, "Whether the appliance updates itself."},
    Option{"appliance.update.oncalendar", Type::text, "When, as systemd's OnCalendar= takes it.", false,
           "[A-Za-z0-9*:/.,~ _+-]+", "a time such as '*-*-* 06:30:00'"},
    Option{"appliance.storage.setup", Type::anything,
           "Partitions, RAID, LVM, encryption, file systems, mounts."},
    Option{"appliance.storage.ignore.data", Type::flag, "Whether to do without a file system for data."},
    Option{"appliance.storage.ignore.volatile", Type::flag,
           "Whether to do without one for what can be lost."},
    Option{"appliance.dkim.key", Type::dkim_key, "RSA private key that signs mail, PEM."},
    Option{"appliance.metric.exporter", Type::flag, "Whether metrics can be asked for."},
    Option{"appliance.backup.url", Type::text, "Where backups go.", false, kUrl, kWriteUrl},
    Option{"appliance.backup.options", Type::text, "Options of the backup program."},
    Option{"appliance.backup.mount", Type::anything, "What is mounted before a backup."},
    Option{"appliance.backup.encrypt", Type::openpgp_key,
           "OpenPGP key that backups are encrypted to, armored."},
    Option{"ecs.git.source", Type::text, "Repository of the ECS.", false, "[!-~]+",
           "an address without blanks"},
    Option{"ecs.git.branch", Type::text, "Its branch.", false, kRef, kWriteRef},
    Option{"ecs.git.commitid", Type::text, "Its commit, instead of the newest of the branch.", false, kRef,
           kWriteRef},
    Option{"ecs.userswitcher.enabled", Type::flag, "Whether testers may become other users."},
    Option{"ecs.settings", Type::block, "Settings of Django, Python text."},
    Option{"ecs.vault_encrypt", Type::openpgp_key,
           "OpenPGP key that the storage vault is encrypted to, armored."},
    Option{"ecs.vault_sign", Type::openpgp_secret,
           "OpenPGP secret key that signs what is in the vault, armored."},
};

constexpr std::array kFileOptions = {
    Option{"path", Type::text, "Where it is written: an absolute path.", true},
    Option{"content", Type::block, "What is in it."},
    Option{"contents", Type::block, "The same as content."},
    Option{"owner", Type::text, "USER or USER:GROUP.", false, "[a-z_][a-z0-9_-]*(?::[a-z_][a-z0-9_-]*)?",
           "USER or USER:GROUP"},
    Option{"permissions", Type::text, "Octal mode in quotes, such as '0600'.", false, "[0-7]{3,4}",
           "an octal mode in quotes, such as '0600'"},
};

// Of cloud-init 22.4, with what later versions and its old names add.
constexpr std::array<std::string_view, 100> kCloudInit = {"allow_public_ssh_keys",
                                                          "ansible",
                                                          "apk_repos",
                                                          "apt",
                                                          "apt_pipelining",
                                                          "apt_reboot_if_required",
                                                          "apt_update",
                                                          "apt_upgrade",
                                                          "authkey_hash",
                                                          "autoinstall",
                                                          "bootcmd",
                                                          "byobu_by_default",
                                                          "ca-certs",
                                                          "ca_certs",
                                                          "chef",
                                                          "chpasswd",
                                                          "cloud_config_modules",
                                                          "cloud_final_modules",
                                                          "cloud_init_modules",
                                                          "create_hostname_file",
                                                          "device_aliases",
                                                          "disable_ec2_metadata",
                                                          "disable_root_opts",
                                                          "disk_setup",
                                                          "drivers",
                                                          "fan",
                                                          "final_message",
                                                          "fqdn",
                                                          "fs_setup",
                                                          "groups",
                                                          "growpart",
                                                          "grub-dpkg",
                                                          "grub_dpkg",
                                                          "hostname",
                                                          "keyboard",
                                                          "landscape",
                                                          "launch-index",
                                                          "locale",
                                                          "locale_configfile",
                                                          "lxd",
                                                          "manage_etc_hosts",
                                                          "manage_resolv_conf",
                                                          "mcollective",
                                                          "merge_how",
                                                          "merge_type",
                                                          "migrate",
                                                          "mount_default_fields",
                                                          "mounts",
                                                          "no_ssh_fingerprints",
                                                          "ntp",
                                                          "output",
                                                          "package_reboot_if_required",
                                                          "package_update",
                                                          "package_upgrade",
                                                          "packages",
                                                          "password",
                                                          "phone_home",
                                                          "power_state",
                                                          "prefer_fqdn_over_hostname",
                                                          "preserve_hostname",
                                                          "puppet",
                                                          "random_seed",
                                                          "reporting",
                                                          "resize_rootfs",
                                                          "resolv_conf",
                                                          "rh_subscription",
                                                          "rpi",
                                                          "rsyslog",
                                                          "runcmd",
                                                          "salt_minion",
                                                          "snap",
                                                          "spacewalk",
                                                          "ssh",
                                                          "ssh_deletekeys",
                                                          "ssh_fp_console_blacklist",
                                                          "ssh_genkeytypes",
                                                          "ssh_import_id",
                                                          "ssh_key_console_blacklist",
                                                          "ssh_keys",
                                                          "ssh_publish_hostkeys",
                                                          "ssh_pwauth",
                                                          "ssh_quiet_keygen",
                                                          "swap",
                                                          "system_info",
                                                          "timezone",
                                                          "ubuntu_advantage",
                                                          "ubuntu_pro",
                                                          "updates",
                                                          "user",
                                                          "users",
                                                          "vendor_data",
                                                          "version",
                                                          "wireguard",
                                                          "write_files",
                                                          "yum_repo_dir",
                                                          "yum_repos",
                                                          "zypper",
                                                          "apt_get_command",
                                                          "apt_get_wrapper",
                                                          "datasource"};

}  // namespace

std::span<const Option> options() {
  return kOptions;
}

const Option* find_option(std::string_view path) {
  const auto* const found = std::find_if(kOptions.begin(), kOptions.end(),
                                         [&](const Option& option) { return option.path == path; });
  return found == kOptions.end() ? nullptr : found;
}

std::vector<std::string> keys_below(std::string_view path) {
  const std::string prefix = path.empty() ? "" : std::string(path) + ".";
  std::vector<std::string> keys;
  for (const Option& option : kOptions) {
    if (!option.path.starts_with(prefix)) continue;
    const std::string_view rest = option.path.substr(prefix.size());
    std::string key(rest.substr(0, rest.find('.')));
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(std::move(key));
  }
  return keys;
}

std::span<const std::string_view> cloud_init_keys() {
  return kCloudInit;
}

std::span<const Option> file_options() {
  return kFileOptions;
}

}  // namespace kiln::env
