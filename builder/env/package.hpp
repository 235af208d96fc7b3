// An environment for print, boot and safe keeping.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "host/host.hpp"

namespace kiln::env {

// What a package holds.
struct Bundle {
  std::string text;  // the environment
  std::string domain;
  std::int64_t date = 0;                     // when it was last changed, seconds since 1970
  std::map<std::string, std::string> files;  // by name: PDF, env-cidata.iso, encrypted tarball
  std::string tarball;                       // its name; "" without a gpgkeys.txt
  std::size_t codes = 0;
  bool decrypted = false;  // the tarball was, with a secret key of the caller's
};
// The domain of `file`, when bundle() can be had of it as far as its text and the keys beside it tell. Throws
// base::Error, Exit::missing when there is no gpg.
std::string packable(const std::filesystem::path& file, const host::Host& host);
// Of `file`, and of what lies beside it: gpgkeys.txt and meta-data.custom. Each has been read back and
// compared. Writes nothing. Throws base::Error.
Bundle bundle(const std::filesystem::path& file, const host::Host& host);

struct Package {
  std::vector<std::filesystem::path> files;  // what was written
  std::size_t codes = 0;
  bool decrypted = false;           // the tarball was, with a secret key of the caller's
  std::vector<std::string> mailed;  // the addresses it went to
};

struct Mailing {
  std::string server = "smtp://localhost";
  std::string from;  // default: root at the appliance's domain
};

// Writes the bundle of `file` beside it, mode 0600. When emailto.txt is there, each of its lines is an
// address that the tarball is mailed to, after all files are written. Throws base::Error.
Package package(const std::filesystem::path& file, const host::Host& host, const Mailing& mailing = {});

}  // namespace kiln::env
