#include "env/openpgp.hpp"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <gpgme.h>
#include <optional>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "env/armor.hpp"
#include "host/atomic_file.hpp"
#include "host/secret_dir.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

void require(gpgme_error_t code, std::string_view what) {
  if (::gpgme_err_code(code) == GPG_ERR_NO_ERROR) return;
  std::array<char, 200> text{};
  ::gpgme_strerror_r(code, text.data(), text.size());
  throw Error(fmt::format("{}: GnuPG says '{}'", what, base::printable(text.data())));
}

struct Release {
  void operator()(gpgme_context* context) const { ::gpgme_release(context); }
  void operator()(gpgme_data* data) const { ::gpgme_data_release(data); }
  void operator()(_gpgme_key* key) const { ::gpgme_key_unref(key); }
};
using Context = std::unique_ptr<gpgme_context, Release>;
using Buffer = std::unique_ptr<gpgme_data, Release>;
using Key = std::unique_ptr<_gpgme_key, Release>;

void start() {
  static const char* const version = ::gpgme_check_version(nullptr);  // which initialises GPGME
  static_cast<void>(version);
}

// `loss` is what cannot be done without it. Behind start().
void require_gpg(std::string_view loss) {
  if (::gpgme_err_code(::gpgme_engine_check_version(GPGME_PROTOCOL_OpenPGP)) == GPG_ERR_NO_ERROR) return;
  throw Error(fmt::format("gpg is missing, without which {}", loss), Exit::missing)
      .hint("apt-get install gpg gpg-agent");
}

Context context(const std::filesystem::path& home) {
  gpgme_ctx_t raw = nullptr;
  require(::gpgme_new(&raw), "starting GPGME");
  Context made(raw);
  require(::gpgme_set_protocol(raw, GPGME_PROTOCOL_OpenPGP), "starting GPGME");
  require(::gpgme_ctx_set_engine_info(raw, GPGME_PROTOCOL_OpenPGP, nullptr, home.c_str()),
          "setting GnuPG's home");
  ::gpgme_set_armor(raw, 1);
  ::gpgme_set_offline(raw, 1);
  return made;
}

Buffer buffer_of(std::string_view bytes) {
  gpgme_data_t raw = nullptr;
  require(::gpgme_data_new_from_mem(&raw, bytes.data(), bytes.size(), 0), "giving data to GnuPG");
  return Buffer(raw);
}

Buffer empty_buffer() {
  gpgme_data_t raw = nullptr;
  require(::gpgme_data_new(&raw), "taking data from GnuPG");
  return Buffer(raw);
}

std::string content(gpgme_data_t data) {
  std::string bytes;
  ::gpgme_data_seek(data, 0, SEEK_SET);
  std::array<char, 4096> buffer{};
  for (ssize_t size = 0; (size = ::gpgme_data_read(data, buffer.data(), buffer.size())) > 0;)
    bytes.append(buffer.data(), static_cast<std::size_t>(size));
  return bytes;
}

OpenPgpKey as_value(const _gpgme_key& key) {
  OpenPgpKey value;
  if (key.subkeys == nullptr) return value;
  value.fingerprint = key.subkeys->fpr == nullptr ? "" : key.subkeys->fpr;
  value.secret = key.secret != 0;
  value.revoked = key.revoked != 0 || key.disabled != 0 || key.invalid != 0;
  value.expires = key.subkeys->expires;
  for (gpgme_subkey_t sub = key.subkeys; sub != nullptr; sub = sub->next) {
    if (sub->revoked != 0 || sub->expired != 0 || sub->disabled != 0 || sub->invalid != 0) continue;
    value.can_encrypt |= sub->can_encrypt != 0;
    value.can_sign |= sub->can_sign != 0;
  }
  return value;
}

}  // namespace

struct OpenPgp::Data {
  explicit Data(const host::Host& host) : home(host, "gpg") {
    host::write_new_file(home.path() / "gpg.conf", "no-autostart\n", 0600);
  }
  host::SecretDir home;
  Context gpg;
};

OpenPgp::OpenPgp(const host::Host& host) {
  start();
  require_gpg("OpenPGP keys cannot be read");
  data_ = std::make_unique<Data>(host);
  data_->gpg = context(data_->home.path());
}

OpenPgp::~OpenPgp() = default;

std::vector<OpenPgpKey> OpenPgp::keys_in(std::string_view armored) {
  const Buffer data = buffer_of(armored);
  std::vector<OpenPgpKey> keys;
  if (::gpgme_op_keylist_from_data_start(data_->gpg.get(), data.get(), 0) != 0) return keys;
  gpgme_key_t key = nullptr;
  gpgme_error_t end = 0;
  while ((end = ::gpgme_op_keylist_next(data_->gpg.get(), &key)) == 0) {
    const Key owned(key);
    keys.push_back(as_value(*key));
  }
  ::gpgme_op_keylist_end(data_->gpg.get());
  if (::gpgme_err_code(end) != GPG_ERR_EOF) keys.clear();
  return keys;
}

bool OpenPgp::is_locked(std::string_view armored) const {
  gpgme_ctx_t raw = nullptr;
  require(::gpgme_new(&raw), "starting GPGME");
  const Context spawner(raw);
  require(::gpgme_set_protocol(raw, GPGME_PROTOCOL_SPAWN), "starting GPGME");
  const char* const gpg = ::gpgme_ctx_get_engine_info(data_->gpg.get())->file_name;
  const std::string home = data_->home.path();
  std::array<const char*, 7> argv = {gpg,       "--homedir",      home.c_str(), "--batch",
                                     "--quiet", "--list-packets", nullptr};
  const Buffer listing = empty_buffer();
  const Buffer complaints = empty_buffer();
  require(
      ::gpgme_op_spawn(raw, gpg, argv.data(), buffer_of(armored).get(), listing.get(), complaints.get(), 0),
      "looking into an OpenPGP key");
  // "\tskey[2]: [v4 protected]", where one without a passphrase has "\tskey[2]: [255 bits]". What comes from
  // the key itself, a name say, stands behind a word of gpg's own.
  const std::vector<std::string> lines = base::lines(content(listing.get()));
  return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return line.starts_with("\tskey[") && line.ends_with("protected]");
  });
}

std::string OpenPgp::encrypt(std::string_view plain, std::string_view armored) {
  std::vector<OpenPgpKey> keys;
  for (const ArmoredBlock& block : armored_blocks(armored)) {
    const std::vector<OpenPgpKey> found = keys_in(block.text);
    if (found.empty() || found.size() != block.keys)
      throw Error("an OpenPGP block holds what cannot be read as a key", Exit::usage)
          .at({"", block.line, 1})
          .hint("export the key again");
    keys.insert(keys.end(), found.begin(), found.end());
  }
  if (keys.empty()) throw Error("there is no OpenPGP key to encrypt to", Exit::usage);
  gpgme_ctx_t gpg = data_->gpg.get();
  for (const OpenPgpKey& key : keys) {
    if (key.secret)
      throw Error(fmt::format("holds the secret half of the OpenPGP key {}", key.fingerprint), Exit::usage)
          .hint("put in the public one: gpg --armor --export " + key.fingerprint);
  }
  require(::gpgme_op_import(gpg, buffer_of(armored).get()), "reading the keys to encrypt to");
  std::vector<Key> owned;
  std::vector<gpgme_key_t> list;
  for (const OpenPgpKey& value : keys) {
    gpgme_key_t key = nullptr;
    if (::gpgme_get_key(gpg, value.fingerprint.c_str(), &key, 0) == 0) owned.emplace_back(key);
    if (key == nullptr || value.revoked || key->expired != 0 || !as_value(*key).can_encrypt)
      throw Error(fmt::format("nothing can be encrypted to the OpenPGP key {}", value.fingerprint),
                  Exit::usage)
          .hint("it has expired, is revoked or only signs: replace it");
    list.push_back(key);
  }
  list.push_back(nullptr);
  const Buffer secret = empty_buffer();
  ::gpgme_set_armor(gpg, 0);
  // GPGME's enumeration has the flags singly.
  const auto flags =
      // NOLINTNEXTLINE(clang-analyzer-optin.core.EnumCastOutOfRange)
      static_cast<gpgme_encrypt_flags_t>(GPGME_ENCRYPT_ALWAYS_TRUST | GPGME_ENCRYPT_NO_COMPRESS);
  const gpgme_error_t result =
      ::gpgme_op_encrypt(gpg, list.data(), flags, buffer_of(plain).get(), secret.get());
  ::gpgme_set_armor(gpg, 1);
  require(result, "encrypting");
  return content(secret.get());
}

std::optional<std::string> decrypt(std::string_view secret, bool ask, const host::Host& host) {
  start();
  require_gpg("nothing can be decrypted");
  const auto named = host.env("GNUPGHOME");
  const std::filesystem::path home = named && !named->empty()
                                         ? std::filesystem::path(*named)
                                         : std::filesystem::path(host.env("HOME").value_or("/")) / ".gnupg";
  // Without it there is no key, and GnuPG would make it.
  std::error_code code;
  if (!std::filesystem::exists(home, code)) return std::nullopt;
  const Context gpg = context(home);
  if (!ask) ::gpgme_set_pinentry_mode(gpg.get(), GPGME_PINENTRY_MODE_CANCEL);
  const Buffer plain = empty_buffer();
  const gpgme_error_t result = ::gpgme_op_decrypt(gpg.get(), buffer_of(secret).get(), plain.get());
  switch (::gpgme_err_code(result)) {
    case GPG_ERR_NO_ERROR:
      return content(plain.get());
    case GPG_ERR_NO_DATA:
    case GPG_ERR_BAD_DATA:
    case GPG_ERR_INV_PACKET:
    case GPG_ERR_TRUNCATED:
    case GPG_ERR_CHECKSUM:
      require(result, "is damaged, or not encrypted by OpenPGP");
      break;
    default:
      break;
  }
  // With a key at hand that did not help, and nobody who gave up, it is the file that is at fault.
  bool has_key = false;
  const auto* told = ::gpgme_op_decrypt_result(gpg.get());
  for (const auto* one = told == nullptr ? nullptr : told->recipients; one != nullptr; one = one->next)
    has_key |= ::gpgme_err_code(one->status) == GPG_ERR_NO_ERROR;
  if (has_key && ::gpgme_err_code(result) == GPG_ERR_DECRYPT_FAILED)
    require(result, "is damaged, or cut short");
  return std::nullopt;
}

}  // namespace kiln::env
