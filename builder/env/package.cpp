#include "env/package.hpp"

#include <chrono>
#include <fmt/format.h>
#include <map>
#include <optional>
#include <sys/stat.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "env/check.hpp"
#include "env/gzip.hpp"
#include "env/iso.hpp"
#include "env/openpgp.hpp"
#include "env/pdf.hpp"
#include "env/qr.hpp"
#include "env/read.hpp"
#include "env/render.hpp"
#include "env/scalar.hpp"
#include "env/scan.hpp"
#include "env/sources.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/mail.hpp"

namespace kiln::env {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;

namespace {

using Files = std::map<std::string, std::string>;

constexpr const char* kKeys = "gpgkeys.txt";
constexpr const char* kReceivers = "emailto.txt";
constexpr const char* kMetaData = "meta-data.custom";
constexpr const char* kSeedDisk = "env-cidata.iso";
constexpr std::size_t kSmall = std::size_t{1} << 20U;  // of gpgkeys.txt and the like
constexpr std::chrono::seconds kMailTime{300};

std::optional<std::string> beside(const fs::path& file, const char* name) {
  const fs::path path = fs::path(file).replace_filename(name);
  if (!host::has_name(path)) return std::nullopt;
  std::string text = host::read_file(path, kSmall + 1);
  if (text.size() > kSmall)
    throw Error("has more than 1 MiB", Exit::usage)
        .at({path.string(), 0, 0})
        .hint("put in what is asked for and nothing else");
  return text;
}

std::int64_t changed(const fs::path& file) {
  struct stat status{};
  if (::stat(file.c_str(), &status) != 0) throw Error("cannot be looked at").at({file.string(), 0, 0});
  return status.st_mtime;
}

std::string domain_of(const Source& source) {
  std::vector<Error> ignored;
  const auto domain = value_at(parse(source, ignored), {"appliance", "domain"});
  if (!domain)
    throw Error("appliance.domain is missing, after which the package is called", Exit::usage)
        .at({source.name, 0, 0});
  return domain->scalar();
}

// What cloud-init is told of the machine: as the user says, else after the domain. It is read as YAML, and
// without an instance-id the disk is passed over.
std::string meta_data(const fs::path& file, const std::string& domain) {
  const auto custom = beside(file, kMetaData);
  if (!custom) return fmt::format("instance-id: {0}\nlocal-hostname: {0}\n", domain);
  const Source source = {*custom, fs::path(file).replace_filename(kMetaData).string()};
  const auto id = value_at(values_of(source), {"instance-id"});
  if (!id || id->kind() != yaml::Node::Kind::scalar || id->scalar().empty())
    throw Error("has no instance-id, without which cloud-init passes over the disk", Exit::usage)
        .at({source.name, 0, 0})
        .hint(fmt::format("write a line as in: instance-id: {}", domain));
  return *custom;
}

// The seed disk has one name whatever it is of: that of another environment is nothing to replace.
void require_own_seed_disk(const fs::path& disk, const std::string& domain) {
  if (!host::has_name(disk)) return;
  std::string other;
  try {
    const auto text = from_iso(disk, "user-data");
    if (text) other = domain_of({*text, disk.string()});
  } catch (const Error& error) {
    if (error.exit() == Exit::interrupted || error.exit() == Exit::terminated) throw;
    return;  // no seed disk, or not all of one
  }
  if (other.empty() || other == domain) return;
  throw Error(fmt::format("is the seed disk of {}: that of {} would take its place", shown(other), domain))
      .at({disk.string(), 0, 0})
      .hint("keep each environment in a folder of its own, or move this disk away");
}

Error unlike(const std::string& what) {
  return Error(what + " does not give back what was put into it; nothing was written")
      .hint("this is a bug of kiln or of a tool it uses: report it");
}

// With zbar first, which the printed program uses, and closer where it misses a code; then with the other
// reader of recover(), for what zbar never reads would never be packed.
void verify_codes(const std::string& pdf, const Paper& paper, const host::Host& host) {
  Assembly assembly;
  const PageRange pages = code_pages(paper.codes.size());
  for (const auto& reader : {scan, scan_otherwise}) {
    for (const int dpi : {kDpi, 2 * kDpi}) {
      each_page(pdf, pages.first, pages.last, dpi, host, [&](const Picture& page) {
        for (const std::string& code : reader(page)) assembly.add(code);
        return assembly.text().has_value();
      });
      if (assembly.text() == paper.text) return;
    }
  }
  throw unlike("the PDF");
}

// The files of an archive.
Files unpacked(const std::string& bytes, const std::string& name) {
  Files files;
  host::read_archive_in(bytes, name, [&](const host::Member& member, const auto& read) {
    if (member.kind == 'f') files[member.path] = read();
  });
  return files;
}

std::string tarball(const Files& files, std::int64_t date) {
  std::vector<host::Member> members;
  for (const auto& [name, content] : files) {
    host::Member member;
    member.path = name;
    member.mode = 0600;
    member.mtime = date;
    member.content = content;
    members.push_back(std::move(member));
  }
  return gzip(host::tar_in_memory(members));
}

// `from` is the file of `keys`, which errors are of.
std::string encrypted(const std::string& tar, const std::string& keys, const fs::path& from,
                      const host::Host& host) {
  try {
    return OpenPgp(host).encrypt(tar, keys);
  } catch (Error& error) {
    throw error.at({from.string(), error.where().line, error.where().column});
  }
}

// The addresses in emailto.txt beside `file`, one to a line; none when it is not there.
std::vector<std::string> receivers(const fs::path& file) {
  std::vector<std::string> addresses;
  const auto text = beside(file, kReceivers);
  if (!text) return addresses;
  const fs::path from = fs::path(file).replace_filename(kReceivers);
  if (!beside(file, kKeys))
    throw Error("there is nothing to mail without a gpgkeys.txt beside it", Exit::usage)
        .at({from.string(), 0, 0})
        .hint("put the OpenPGP keys to encrypt to into gpgkeys.txt");
  std::size_t number = 0;
  for (const std::string& line : base::lines(*text)) {
    ++number;
    const std::string address(base::trim(line));
    if (address.empty() || address.front() == '#') continue;
    if (!host::is_mail_address(address))
      throw Error(fmt::format("'{}' is no mail address", base::printable(address)), Exit::usage)
          .at({from.string(), static_cast<int>(number), 1})
          .hint("write one address to a line, as in: safe@example.org");
    addresses.push_back(address);
  }
  if (addresses.empty())
    throw Error("names nobody", Exit::usage)
        .at({from.string(), 0, 0})
        .hint("write one address to a line, or remove the file");
  return addresses;
}

void mail(const Mailing& mailing, const std::vector<std::string>& to, const fs::path& file,
          const Bundle& bundle, const host::Host& host) {
  host::Mail mail;
  mail.from = mailing.from.empty() ? "root@" + bundle.domain : mailing.from;
  mail.to = to;
  mail.subject = fmt::format("Environment of {}, as of {} UTC", bundle.domain, minute_text(bundle.date));
  mail.file = bundle.files.at(bundle.tarball);
  mail.id = fmt::format("{}@{}", base::sha256(mail.file), bundle.domain);
  mail.date = host.now();
  mail.file_name = bundle.tarball;
  mail.text = fmt::format(
      "The environment of {0}, with every key and password of it, is attached, encrypted to the OpenPGP "
      "keys\n"
      "of those who may have it. Keep it until a newer one comes. To get the file back:\n\n"
      "  kiln env recover -o {1} {2}\n\n"
      "or without kiln:\n\n"
      "  gpg --decrypt {2} | tar -xz\n",
      bundle.domain, file.filename().string(), mail.file_name);
  try {
    host::send_mail(mailing.server, mail, kMailTime);
  } catch (Error& error) {
    if (error.exit() != Exit::failed) throw;
    throw error.hint(
        fmt::format("all files are written; name another server with --smtp, or mail {} yourself",
                    base::printable(fs::path(file).replace_filename(bundle.tarball).string())));
  }
}

}  // namespace

namespace {

// What a package is made of, read and found right.
struct Draft {
  Source source;
  Paper paper;
  std::optional<std::string> keys;
  std::string meta_data;
};

Draft draft_of(const fs::path& file, const host::Host& host) {
  host::forbid_core_files();
  Draft draft = {read_source(file), {}, beside(file, kKeys), {}};
  std::vector<Error> errors = check(draft.source, host);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  draft.paper = {draft.source.text, file.filename().string(), domain_of(draft.source), changed(file), {}};
  draft.meta_data = meta_data(file, draft.paper.domain);
  try {
    draft.paper.codes = codes_of(draft.source.text);
  } catch (const Error& error) {
    throw Error(error.message()).at({file.string(), 0, 0}).hint(error.hint_text());
  }
  return draft;
}

}  // namespace

std::string packable(const fs::path& file, const host::Host& host) {
  const Draft draft = draft_of(file, host);
  if (draft.keys) encrypted({}, *draft.keys, fs::path(file).replace_filename(kKeys), host);
  return draft.paper.domain;
}

Bundle bundle(const fs::path& file, const host::Host& host) {
  auto [source, paper, keys, meta] = draft_of(file, host);
  if (const auto fonts = host.env("KILN_ENV_FONTS"); fonts && !fonts->empty()) paper.fonts = *fonts;
  const std::string pdf_name = paper.name + ".pdf";
  const std::string pdf_bytes = pdf(paper);
  verify_codes(pdf_bytes, paper, host);

  const Files seed = {{"user-data", source.text}, {"meta-data", meta}, {pdf_name, pdf_bytes}};
  const std::string iso = seed_iso(seed, paper.date, host);
  if (unpacked(iso, kSeedDisk) != seed) throw unlike(kSeedDisk);

  Bundle made;
  made.text = source.text;
  made.domain = paper.domain;
  made.date = paper.date;
  made.codes = paper.codes.size();
  made.files = {{pdf_name, pdf_bytes}, {kSeedDisk, iso}};
  if (keys) {
    const Files all = {{paper.name, source.text}, {pdf_name, pdf_bytes}, {kSeedDisk, iso}};
    const std::string tar = tarball(all, paper.date);
    if (unpacked(tar, "the tarball") != all) throw unlike("the tarball");
    const std::string secret = encrypted(tar, *keys, fs::path(file).replace_filename(kKeys), host);
    if (const auto plain = decrypt(secret, false, host)) {
      if (*plain != tar) throw unlike("the encrypted tarball");
      made.decrypted = true;
    }
    std::string minute = minute_text(paper.date);
    for (char& c : minute) c = c == ' ' ? '_' : c == ':' ? '.' : c;
    made.tarball = fmt::format("{}.env.{}.tar.gz.gpg", paper.domain, minute);
    made.files[made.tarball] = secret;
  }
  return made;
}

Package package(const fs::path& file, const host::Host& host, const Mailing& mailing) {
  host::check_mail_server(mailing.server);
  if (!mailing.from.empty() && !host::is_mail_address(mailing.from))
    throw Error(fmt::format("--from: '{}' is no mail address", base::printable(mailing.from)), Exit::usage)
        .hint("write one as in: root@ecs.example.org");
  const std::vector<std::string> to = receivers(file);
  const Bundle all = bundle(file, host);
  require_own_seed_disk(fs::path(file).replace_filename(kSeedDisk), all.domain);
  Package made;
  made.codes = all.codes;
  made.decrypted = all.decrypted;
  for (const auto& [name, bytes] : all.files) {
    made.files.push_back(fs::path(file).replace_filename(name));
    host::write_file(made.files.back(), bytes, 0600);
  }
  if (!to.empty()) {
    mail(mailing, to, file, all, host);
    made.mailed = to;
  }
  return made;
}

}  // namespace kiln::env
