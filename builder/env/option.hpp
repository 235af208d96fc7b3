// What may stand in an environment: from one list come the check, the JSON Schema and its texts.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kiln::env {

enum class Type {
  text,            // one line
  block,           // a text of any number of lines
  flag,            // true or false
  text_or_texts,   // one line, or a list of them
  block_or_texts,  // a text of any number of lines, or a list of one-line texts
  anything,        // whatever its reader takes
  domain,          // a name of the DNS
  packages,        // names of Debian packages
  files,           // list of {path, content, owner, permissions}
  ssh_keys,        // list of public keys as in authorized_keys
  private_key,     // PEM
  certificate,     // PEM, one's own first, then the chain
  dkim_key,        // PEM, RSA
  openpgp_key,     // armored, public or secret
  openpgp_secret,  // armored, secret
};

struct Option {
  std::string_view path;  // the keys from the top, with dots between them
  Type type = Type::text;
  std::string_view doc;  // one sentence
  bool required = false;
  // ECMAScript regular expression that a text matches whole, and the same for people, behind "write".
  // NOLINTBEGIN(readability-redundant-member-init): a row may leave them out
  std::string_view pattern = {};
  std::string_view write = {};
  // NOLINTEND(readability-redundant-member-init)
};

// In the order of the specification.
std::span<const Option> options();
// The option of that path; nullptr when there is none, or when it is a mapping of options.
const Option* find_option(std::string_view path);
// The keys below `path` ("" is the top), in table order; empty when it is no mapping of options.
std::vector<std::string> keys_below(std::string_view path);
// Top keys that cloud-init's own schema knows: they pass as they are.
std::span<const std::string_view> cloud_init_keys();
// Keys of an entry of a list of files, `path` first.
std::span<const Option> file_options();

// profiles/env.schema.json: JSON Schema (draft 2020-12) of an environment.
std::string schema();

}  // namespace kiln::env
