#include "env/sources.hpp"

#include <array>
#include <fmt/format.h>
#include <fstream>
#include <vector>

#include "base/error.hpp"
#include "base/text.hpp"
#include "env/flatten.hpp"
#include "env/gzip.hpp"
#include "env/read.hpp"
#include "env/scalar.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/download.hpp"

namespace kiln::env {

namespace fs = std::filesystem;
using base::Error;

namespace {

Error broken(const std::string& source, std::string_view why) {
  return Error(fmt::format("the environment in {}: {}", source, why))
      .hint("mend it; the one that is in force stays until then");
}

std::string bounded(std::string text, const std::string& source) {
  if (text.size() > kLongest) throw broken(source, "it has more than 1 MiB");
  return text;
}

std::optional<Found> in_file(const fs::path& file) {
  if (!host::has_name(file)) return std::nullopt;
  std::error_code code;
  if (!fs::is_regular_file(file, code)) throw broken(file.string(), code ? code.message() : "it is no file");
  return Found{bounded(host::read_file(file, kLongest + 1), file.string()), file.string()};
}

// ---- drives

// ECMA-119, 8.4: "CD001" in the first volume descriptor, behind sixteen sectors and its type.
bool is_iso(const fs::path& drive) {
  constexpr std::streamoff kIdentifier = 16 * 2048 + 1;
  std::array<char, 5> found{};
  std::ifstream in(drive, std::ios::binary);
  in.seekg(kIdentifier);
  in.read(found.data(), found.size());
  return in && std::string_view(found.data(), found.size()) == "CD001";
}

// By mtools, which reads FAT without a mount.
std::optional<std::string> from_fat(const fs::path& drive, const std::string& path, const host::Host& host) {
  const auto mtools = [&](const char* program, std::vector<std::string> words) {
    host::Command command;
    command.argv = {program, "-i", drive.string()};
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    // As Linux reads it: an old drive may say less of itself than mtools asks for.
    command.env["MTOOLS_SKIP_CHECK"] = "1";
    return host.runner->run(command);
  };
  if (const auto listed = mtools("mdir", {"-b", "::/"}); !listed.ok())
    throw Error(fmt::format("it has neither ISO 9660 nor FAT on it: {}",
                            base::printable(base::last_lines(listed.err, 1))));
  if (!mtools("mdir", {"-b", "::/" + path}).ok()) return std::nullopt;
  const auto typed = mtools("mtype", {"::/" + path});
  if (!typed.ok()) throw Error(base::printable(base::last_lines(typed.err, 1)));
  return typed.out;
}

std::optional<Found> on_drive(const fs::path& labels, const std::string& label, const std::string& path,
                              const host::Host& host) {
  std::error_code code;
  // FAT knows only upper case; cloud-init takes either.
  for (const std::string& name : {label, base::upper(label)}) {
    const fs::path drive = fs::canonical(labels / name, code);
    if (code) continue;
    const std::string source = fmt::format("{} on the drive labelled {}", path, label);
    try {
      auto content = is_iso(drive) ? from_iso(drive, path) : from_fat(drive, path, host);
      if (!content) return std::nullopt;
      return Found{bounded(*std::move(content), source), source};
    } catch (const Error& error) {
      throw broken(source, error.message());
    }
  }
  return std::nullopt;
}

// ---- clouds

std::string dmi(const Surroundings& places, const char* name) {
  std::error_code code;
  const fs::path file = places.dmi / name;
  if (!fs::is_regular_file(file, code)) return {};
  try {
    return std::string(base::trim(host::read_file(file, 256)));
  } catch (const Error&) {
    return {};  // product_uuid is root's
  }
}

host::Answer ask(const Surroundings& places, const host::Request& request, const std::string& source) {
  try {
    return host::ask(request, kLongest, places.patience);
  } catch (const Error& error) {
    throw broken(source, error.message());
  }
}

std::optional<Found> answered(const host::Answer& answer, const std::string& source) {
  if (answer.status == 404) return std::nullopt;
  if (answer.status != 200)
    throw broken(source, fmt::format("it answers with HTTP status {}", answer.status));
  return Found{answer.content, source};
}

// EC2's own machines say "Amazon EC2"; its older ones are Xen's, with a UUID that begins with ec2 and is the
// serial number as well. One UUID in 4096 of anybody's machines begins so.
bool is_ec2(const Surroundings& places) {
  if (dmi(places, "sys_vendor") == "Amazon EC2") return true;
  const std::string uuid = base::upper(dmi(places, "product_uuid"));
  return uuid.starts_with("EC2") && uuid == base::upper(dmi(places, "product_serial"));
}

std::optional<Found> of_ec2(const Surroundings& places) {
  if (!is_ec2(places)) return std::nullopt;
  const std::string source = "the metadata of EC2";
  host::Request request{places.metadata + "/latest/user-data", "GET", {}};
  const auto token = ask(
      places, {places.metadata + "/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds: 60"}},
      source);
  if (token.status == 200) request.headers = {"X-aws-ec2-metadata-token: " + token.content};
  return answered(ask(places, request, source), source);
}

std::optional<Found> of_gce(const Surroundings& places) {
  if (dmi(places, "product_name") != "Google Compute Engine") return std::nullopt;
  const std::string source = "the metadata of GCE";
  const std::string flavor = "Metadata-Flavor: Google";
  const auto answer =
      ask(places, {places.metadata + "/computeMetadata/v1/instance/attributes/user-data", "GET", {flavor}},
          source);
  const auto said = answer.headers.find("metadata-flavor");
  if (said == answer.headers.end() || said->second != "Google")
    throw broken(source, "what answers is not Google's server");
  return answered(answer, source);
}

// ---- what was found

// cloud-init takes user data that is gzip as well: EC2 has room for 16 KiB.
Found unpacked(Found found) {
  if (!found.text.starts_with("\x1f\x8b")) return found;
  std::optional<std::string> text;
  try {
    text = gunzip(found.text, kLongest);
  } catch (const Error& error) {
    throw broken(found.source, error.message());
  }
  if (!text) throw broken(found.source, "it is gzip and ends too early");
  return {*std::move(text), std::move(found.source)};
}

// As shells get it: what they cannot take is found now, and not by the first service.
void convert(const Found& found) {
  std::vector<Error> errors;
  const yaml::Node root = parse({found.text, found.source}, errors);
  if (!errors.empty()) throw base::Errors(std::move(errors));
  const auto appliance = root.find("appliance");
  if (!appliance || appliance->kind() != yaml::Node::Kind::map)
    throw broken(found.source, "there is no mapping 'appliance' in it");
  Flat flat = flatten(root, root.find("ecs") ? "ecs,appliance" : "appliance", {});
  if (!flat.errors.empty()) throw base::Errors(std::move(flat.errors));
}

}  // namespace

std::optional<std::string> from_iso(const fs::path& drive, const std::string& path) {
  std::optional<std::string> content;
  host::read_archive(drive, [&](const host::Member& member, const host::Content& read) {
    if (member.path != path || member.kind != 'f') return;
    if (member.size > kLongest) throw Error("it has more than 1 MiB");
    content = read();
  });
  return content;
}

namespace {

std::optional<Found> first_found(const Surroundings& places, const host::Host& host) {
  if (const auto named = host.env("ENV_YML"); named && !named->empty())
    if (auto found = in_file(*named)) return found;
  if (auto found = in_file(places.file)) return found;
  if (auto found = on_drive(places.labels, "cidata", "user-data", host)) return found;
  if (auto found = on_drive(places.labels, "config-2", "openstack/latest/user_data", host)) return found;
  if (auto found = of_ec2(places)) return found;
  return of_gce(places);
}

}  // namespace

std::optional<Found> find_environment(const Surroundings& places, const host::Host& host) {
  std::optional<Found> found = first_found(places, host);
  if (!found) return std::nullopt;
  return unpacked(*std::move(found));
}

std::string update(const Surroundings& places, const fs::path& active, const host::Host& host) {
  const auto found = find_environment(places, host);
  if (!found)
    throw Error("there is no environment: not in $ENV_YML, " + places.file.string() +
                ", on a drive labelled cidata or config-2, or in the metadata of EC2 or GCE")
        .hint("put one into " + places.file.string() + "; `create` makes one");
  convert(*found);
  host::write_file(active, found->text, 0600);
  return found->source;
}

}  // namespace kiln::env
