#include "env/check.hpp"

#include <algorithm>
#include <array>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <functional>
#include <optional>
#include <regex>
#include <set>

#include "base/text.hpp"
#include "env/armor.hpp"
#include "env/domain.hpp"
#include "env/openpgp.hpp"
#include "env/option.hpp"
#include "env/pem.hpp"
#include "env/scalar.hpp"
#include "env/ssh_key.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;
using base::Where;
using yaml::Node;

namespace {

// libstdc++'s regex recurses per character: a bound keeps a hostile file from exhausting the stack.
constexpr std::size_t kLongestMatched = 4096;
constexpr int kLeastRsaBits = 1024;  // what the receivers of mail still accept

bool matches(const std::string& text, std::string_view pattern) {
  return text.size() <= kLongestMatched && std::regex_match(text, std::regex(pattern.begin(), pattern.end()));
}

std::string_view got(const Node& node) {
  if (node.kind() != Node::Kind::scalar) return yaml::name_of(node.kind());
  switch (meaning(node)) {
    case Meaning::flag:
      return "true or false";
    case Meaning::number:
      return "a number";
    case Meaning::date:
      return "a date";
    case Meaning::text:
      break;
  }
  return "a text";
}

std::string day(std::int64_t seconds) {
  return fmt::format("{:%Y-%m-%d}", fmt::gmtime(static_cast<std::time_t>(seconds)));
}

std::string joined(std::string_view path, std::string_view key) {
  return path.empty() ? std::string(key) : fmt::format("{}.{}", path, key);
}

class Checker {
 public:
  Checker(const host::Host& host, const std::string& file, std::vector<Error>& errors)
      : host_(host), file_(file), errors_(errors) {}

  void top(const Node& root) {
    mapping(root, "");
    if (const auto appliance = root.find("appliance")) ascii(*appliance, "appliance");
    if (const auto ecs = root.find("ecs")) ascii(*ecs, "ecs");
    pair();
  }
  // That there is no gpg, when it was needed.
  [[nodiscard]] const std::optional<Error>& missing() const { return missing_; }

 private:
  void fail(const Node& node, std::string message, std::string hint = {}) {
    // An empty file has no place but itself.
    const Where where = node.where().file.empty() ? Where{file_, 0, 0} : node.where();
    errors_.push_back(Error(std::move(message), Exit::usage).at(where).hint(std::move(hint)));
  }
  // The same of an error that OpenSSL's side of the house made.
  void fail(const Node& node, std::string_view path, const Error& error) {
    fail(node, fmt::format("{}: {}", path, error.message()), error.hint_text());
  }

  // ---- mappings

  void mapping(const Node& node, const std::string& path) {
    if (node.kind() != Node::Kind::map && node.kind() != Node::Kind::null) {
      fail(node, fmt::format("{}: expected a mapping, got {}", path, got(node)));
      return;
    }
    const std::vector<std::string> known = keys_below(path);
    for (const auto& [key, value] : node.entries()) {
      const std::string below = joined(path, key.scalar());
      if (std::find(known.begin(), known.end(), key.scalar()) == known.end()) {
        unknown(key, path, known);
      } else if (const Option* option = find_option(below)) {
        if (value.kind() != Node::Kind::null) take(value, *option);
      } else {
        mapping(value, below);
      }
    }
    for (const std::string& key : known) {
      const Option* option = find_option(joined(path, key));
      const auto value = node.find(key);
      const bool there = value && value->kind() != Node::Kind::null;
      if (option != nullptr ? option->required && !there : needed(joined(path, key)) && !value) {
        fail(node, fmt::format("{}needs '{}'", path.empty() ? "" : path + ": ", key));
      }
    }
  }

  // Whether an option below `path` is required.
  static bool needed(const std::string& path) {
    return std::any_of(options().begin(), options().end(), [&](const Option& option) {
      return option.required && option.path.starts_with(path + ".");
    });
  }

  void unknown(const Node& key, const std::string& path, std::vector<std::string> known) {
    if (path.empty()) {
      const auto passing = cloud_init_keys();
      if (std::find(passing.begin(), passing.end(), key.scalar()) != passing.end()) return;
      known.insert(known.end(), passing.begin(), passing.end());
    }
    const std::string guess = base::did_you_mean(key.scalar(), known);
    std::string message =
        fmt::format("{}unknown key '{}'", path.empty() ? "" : path + ": ", shown(key.scalar()));
    if (!guess.empty()) {
      fail(key, fmt::format("{}, did you mean '{}'?", message, guess));
    } else if (path.empty()) {
      fail(key, std::move(message),
           fmt::format("known are {} and cloud-init's own", base::join(keys_below(""), ", ")));
    } else {
      fail(key, std::move(message), "known are " + base::join(known, ", "));
    }
  }

  // ---- values

  void take(const Node& node, const Option& option) {
    switch (option.type) {
      case Type::text:
        line(node, option.path, option.pattern, option.write);
        return;
      case Type::block:
        block(node, option.path);
        return;
      case Type::flag:
        if (!flag_of(node))
          fail(node, fmt::format("{}: expected true or false, got {}", option.path, got(node)),
               node.quoted() ? "write it without quotes" : "");
        return;
      case Type::text_or_texts:
        if (node.kind() == Node::Kind::list) return lines(node, option);
        line(node, option.path, option.pattern, option.write);
        return;
      case Type::block_or_texts:
        if (node.kind() == Node::Kind::list) return lines(node, option);
        block(node, option.path);
        return;
      case Type::anything:
        return;
      case Type::domain:
        domain(node, option.path);
        return;
      case Type::packages:
        items(node, option.path, [&](const Node& item) {
          line(item, option.path, "[a-z0-9][a-z0-9+.-]+", "names of Debian packages");
        });
        return;
      case Type::files:
        items(node, option.path, [&](const Node& item) { file(item, option.path); });
        return;
      case Type::ssh_keys:
        items(node, option.path, [&](const Node& item) { ssh_key(item, option.path); });
        return;
      case Type::private_key:
      case Type::dkim_key:
        private_key(node, option);
        return;
      case Type::certificate:
        certificate(node, option.path);
        return;
      case Type::openpgp_key:
      case Type::openpgp_secret:
        openpgp(node, option);
        return;
    }
  }

  // The text of `node`, when it is one to every reader of the file.
  std::optional<std::string> block(const Node& node, std::string_view path) {
    if (node.kind() != Node::Kind::scalar) {
      fail(node, fmt::format("{}: expected a text, got {}", path, got(node)));
      return std::nullopt;
    }
    if (meaning(node) != Meaning::text) {
      fail(node, fmt::format("{}: is {} to cloud-init and Salt, not a text", path, got(node)),
           "put it in quotes");
      return std::nullopt;
    }
    const bool control = std::any_of(node.scalar().begin(), node.scalar().end(), [](char c) {
      const auto byte = static_cast<unsigned char>(c);
      return (byte < 0x20 && c != '\n' && c != '\t') || byte == 0x7f;
    });
    if (control) {
      fail(node, fmt::format("{}: control characters have no place in a text", path));
      return std::nullopt;
    }
    return node.scalar();
  }

  std::optional<std::string> line(const Node& node, std::string_view path, std::string_view pattern,
                                  std::string_view write) {
    auto text = block(node, path);
    if (!text) return std::nullopt;
    if (text->find('\n') != std::string::npos) {
      fail(node, fmt::format("{}: expected one line", path));
      return std::nullopt;
    }
    // What is not ASCII is told of by ascii().
    if (!pattern.empty() && base::is_ascii(*text) && !matches(*text, pattern)) {
      fail(node, fmt::format("{}: is not of the form it has to have", path), fmt::format("write {}", write));
      return std::nullopt;
    }
    return text;
  }

  template <typename Check>
  void items(const Node& node, std::string_view path, Check check_item) {
    if (node.kind() != Node::Kind::list) {
      fail(node, fmt::format("{}: expected a list, got {}", path, got(node)));
      return;
    }
    for (const Node& item : node.items()) check_item(item);
  }

  void lines(const Node& node, const Option& option) {
    items(node, option.path,
          [&](const Node& item) { line(item, option.path, option.pattern, option.write); });
  }

  void domain(const Node& node, std::string_view path) {
    const auto text = line(node, path, "", "");
    if (!text) return;
    if (const auto problem = domain_problem(*text))
      fail(node, fmt::format("{}: '{}' is no domain: {}", path, shown(*text), *problem));
  }

  void ssh_key(const Node& node, std::string_view path) {
    const auto text = block(node, path);
    if (!text) return;
    const std::string key(base::trim(*text));
    if (key.find("PRIVATE KEY") != std::string::npos) {
      fail(node, fmt::format("{}: is a private key", path),
           "put in the public one, a line as of the .pub file");
      return;
    }
    if (!is_ssh_key(key))
      fail(node, fmt::format("{}: is no public key of ssh, or not all of one", path),
           "put in a line as of the .pub file");
  }

  // ---- files

  void file(const Node& node, std::string_view path) {
    if (node.kind() != Node::Kind::map) {
      fail(node, fmt::format("{}: expected a mapping, got {}", path, got(node)),
           "write '- {path: /etc/motd, content: text}'");
      return;
    }
    std::vector<std::string> known;
    for (const Option& option : file_options()) known.emplace_back(option.path);
    for (const auto& [key, value] : node.entries()) {
      const auto option =
          std::find_if(file_options().begin(), file_options().end(),
                       [&, name = key.scalar()](const Option& one) { return one.path == name; });
      if (option == file_options().end()) {
        unknown(key, std::string(path), known);
      } else if (value.kind() != Node::Kind::null) {
        Option below = *option;
        const std::string whole = joined(path, option->path);
        below.path = whole;
        take(value, below);
      }
    }
    const auto target = node.find("path");
    if (!target || target->kind() == Node::Kind::null) {
      fail(node, fmt::format("{}: needs 'path'", path));
    } else {
      file_path(*target, joined(path, "path"));
    }
    if (node.find("content") && node.find("contents"))
      fail(node, fmt::format("{}: has both 'content' and 'contents'", path), "leave out one of them");
  }

  void file_path(const Node& node, const std::string& path) {
    if (node.kind() != Node::Kind::scalar || meaning(node) != Meaning::text || !base::is_ascii(node.scalar()))
      return;
    const std::string& text = node.scalar();
    const auto unsafe = [&](std::string_view why) {
      fail(node, fmt::format("{}: '{}' is unsafe: {}", path, shown(text), why));
    };
    if (!text.starts_with('/')) return unsafe("it does not begin at the root, '/'");
    if (text.ends_with('/')) return unsafe("it names a directory, not a file");
    if (text.size() > 1024) return unsafe("it is longer than 1024 characters");
    // It becomes part of a Salt state, where other signs could mean something.
    if (text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/._@+-") !=
        std::string::npos)
      return unsafe("it has other signs than letters, digits and / . _ @ + -");
    for (const std::string& part : base::split(std::string_view(text).substr(1), '/'))
      if (part.empty() || part == "." || part == "..")
        return unsafe("it has a part that is empty, '.' or '..'");
    constexpr std::array<std::string_view, 8> kNoPlaces = {"/proc/", "/sys/",     "/dev/",     "/run/",
                                                           "/tmp/",  "/var/tmp/", "/var/run/", "/var/lock/"};
    for (const std::string_view place : kNoPlaces)
      if ((text + '/').starts_with(place))
        return unsafe(fmt::format("{} is no place for files that stay", place));
    if (!paths_.insert(text).second) return unsafe("another entry writes the same file");
  }

  // ---- keys

  void private_key(const Node& node, const Option& option) {
    const auto text = block(node, option.path);
    if (!text) return;
    try {
      PrivateKey key = PrivateKey::parse(*text);
      if (option.type == Type::private_key) {
        key_.emplace(node, std::move(key));
        return;
      }
      if (!key.is_rsa()) {
        fail(node, fmt::format("{}: is no RSA key, and other ones opendkim does not sign with", option.path));
      } else if (key.bits() < kLeastRsaBits) {
        fail(node,
             fmt::format("{}: is an RSA key of {} bits, which receivers refuse", option.path, key.bits()),
             "make one of 2048");
      }
    } catch (const Error& error) {
      fail(node, option.path, error);
      broken_key_ |= option.type == Type::private_key;
    }
  }

  void certificate(const Node& node, std::string_view path) {
    const auto text = block(node, path);
    if (!text) return;
    try {
      Certificate certificate = Certificate::parse(*text);
      if (certificate.valid_until() < host_.now())
        fail(node, fmt::format("{}: has expired, on {}", path, day(certificate.valid_until())));
      else if (certificate.valid_from() > host_.now())
        fail(node, fmt::format("{}: is not valid before {}", path, day(certificate.valid_from())));
      certificate_.emplace(node, std::move(certificate));
    } catch (const Error& error) {
      fail(node, path, error);
      broken_certificate_ = true;
    }
  }

  // Both halves of ssl, once all of the file has been read.
  void pair() {
    if (key_ && certificate_ && !certificate_->second.belongs_to(key_->second)) {
      fail(key_->first, "appliance.ssl.key: does not belong to appliance.ssl.cert",
           "the first certificate has to be that of the key");
    } else if (key_ && !certificate_ && !broken_certificate_) {
      fail(key_->first, "appliance.ssl.key: needs appliance.ssl.cert beside it");
    } else if (certificate_ && !key_ && !broken_key_) {
      fail(certificate_->first, "appliance.ssl.cert: needs appliance.ssl.key beside it");
    }
  }

  // Null when there is no gpg: the other mistakes are worth telling.
  OpenPgp* openpgp() {
    try {
      if (!openpgp_ && !missing_) openpgp_.emplace(host_);
    } catch (const Error& error) {
      if (error.exit() != Exit::missing) throw;
      missing_ = error;
    }
    return openpgp_ ? &*openpgp_ : nullptr;
  }

  void openpgp(const Node& node, const Option& option) {
    const auto text = block(node, option.path);
    if (!text) return;
    const auto bad = [&](std::string what, std::string hint = {}) {
      fail(node, fmt::format("{}: {}", option.path, what), std::move(hint));
    };
    const std::string_view armored = base::trim(*text);
    const std::string_view end = armored.substr(armored.rfind('\n') + 1);
    const bool framed = armored.starts_with("-----BEGIN PGP P") && end.starts_with("-----END PGP P");
    std::size_t count = 0;
    bool whole = framed;
    try {
      if (framed)
        for (const ArmoredBlock& one : armored_blocks(armored)) count += one.keys;
    } catch (const Error&) {
      whole = false;
    }
    OpenPgp* const gpg = whole ? openpgp() : nullptr;
    if (whole && gpg == nullptr) return;
    const std::vector<OpenPgpKey> keys = whole ? gpg->keys_in(armored) : std::vector<OpenPgpKey>();
    if (keys.empty() || keys.size() != count)
      return bad(framed ? "is a broken OpenPGP key" : "is no armored OpenPGP key",
                 "put in all of it, from '-----BEGIN PGP' to '-----END PGP', by '|'");
    if (keys.size() > 1) return bad(fmt::format("holds {} OpenPGP keys", keys.size()), "put in one");
    const OpenPgpKey& key = keys.front();
    if (key.revoked) return bad("is a revoked OpenPGP key");
    if (key.expires != 0 && key.expires <= host_.now())
      return bad(fmt::format("is an OpenPGP key that has expired, on {}", day(key.expires)));
    if (key.secret && gpg->is_locked(armored))
      return bad("is an OpenPGP key with a passphrase, and no one is there to type it",
                 "take it off: gpg --change-passphrase " + key.fingerprint);
    const bool signs = option.type == Type::openpgp_secret;
    if (signs && !key.secret) return bad("is a public key, which cannot sign", "put in the secret key");
    if (!(signs ? key.can_sign : key.can_encrypt))
      bad(fmt::format("is an OpenPGP key that cannot {}", signs ? "sign" : "encrypt"));
  }

  // ---- text for Salt

  // The states put what is below `appliance` into YAML and Jinja texts of their own, and all keys into names.
  void ascii(const Node& node, const std::string& path) {
    for (const auto& [key, value] : node.entries()) {
      const std::string below = joined(path, key.scalar());
      if (!base::is_ascii(key.scalar()))
        fail(key, fmt::format("{}: a key that is not ASCII, at which Salt fails", path));
      // Read by Python and by whatever the file is for; a domain has its own words.
      const bool free = path.starts_with("ecs") || below == "appliance.domain" ||
                        (path == "appliance.extra.files" && key.scalar().starts_with("content"));
      value_ascii(value, below, free);
    }
  }

  void value_ascii(const Node& value, const std::string& path, bool free) {
    if (value.kind() == Node::Kind::map) {
      ascii(value, path);
    } else if (value.kind() == Node::Kind::list) {
      for (const Node& item : value.items()) value_ascii(item, path, free);
    } else if (!free && !base::is_ascii(value.scalar())) {
      fail(value, fmt::format("{}: has characters that are not ASCII, at which Salt fails", shown(path)));
    }
  }

  const host::Host& host_;
  const std::string& file_;
  std::vector<Error>& errors_;
  std::optional<OpenPgp> openpgp_;
  std::optional<Error> missing_;
  std::optional<std::pair<Node, PrivateKey>> key_;
  std::optional<std::pair<Node, Certificate>> certificate_;
  bool broken_key_ = false;
  bool broken_certificate_ = false;
  std::set<std::string> paths_;  // of extra.files
};

bool says_cloud_config(std::string_view text) {
  std::string_view line = text.substr(0, text.find('\n'));
  while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.remove_suffix(1);
  return line == "#cloud-config";
}

}  // namespace

std::vector<Error> check(const Source& source, const host::Host& host) {
  std::vector<Error> errors;
  if (source.text.starts_with("\xef\xbb\xbf")) {
    errors.push_back(Error("begins with a byte order mark, and cloud-init passes over the file", Exit::usage)
                         .at({source.name, 1, 1})
                         .hint("save it as UTF-8 without one"));
  } else if (!says_cloud_config(source.text)) {
    errors.push_back(
        Error("the first line has to be #cloud-config, or cloud-init passes over the file", Exit::usage)
            .at({source.name, 1, 1}));
  }
  const std::size_t before = errors.size();
  std::vector<Error> unreadable;
  const Node root = parse(source, unreadable);
  errors.insert(errors.end(), unreadable.begin(), unreadable.end());
  // A text that is no YAML has no keys to look at; one with a key twice has.
  std::optional<Error> missing;
  if (root.kind() == Node::Kind::map || errors.size() == before) {
    Checker checker(host, source.name, errors);
    checker.top(root);
    missing = checker.missing();
  }
  if (missing && errors.empty()) throw *missing;
  std::stable_sort(errors.begin(), errors.end(), [](const Error& a, const Error& b) {
    return std::pair(a.where().line, a.where().column) < std::pair(b.where().line, b.where().column);
  });
  return errors;
}

}  // namespace kiln::env
