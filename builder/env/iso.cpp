#include "env/iso.hpp"

#include <fmt/format.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/atomic_file.hpp"
#include "host/secret_dir.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

constexpr std::size_t kBlock = 2048;

// What stands in for the content of a file: of its size, and found nowhere else.
std::string stand_in(const std::string& name, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; text.size() < size; ++i) text += base::sha256(fmt::format("{} {}", i, name));
  text.resize(size);
  return text;
}

// Puts `content` where `iso` has `stand_in`, which fills blocks of its own up with zeros.
void put_in(std::string& iso, std::string stand_in, std::string_view content) {
  if (content.empty()) return;
  stand_in.resize((stand_in.size() + kBlock - 1) / kBlock * kBlock);
  std::size_t at = 0;
  while (at < iso.size() && iso.compare(at, stand_in.size(), stand_in) != 0) at += kBlock;
  if (at >= iso.size())
    throw Error("the seed disk lacks what was put into it").hint("report it with the version of xorriso");
  iso.replace(at, content.size(), content);
}

}  // namespace

std::string seed_iso(const std::map<std::string, std::string>& files, std::int64_t date,
                     const host::Host& host) {
  if (!host.runner->find_program("xorriso"))
    throw Error("xorriso is missing, which makes the seed disk", Exit::missing)
        .hint("apt-get install xorriso");
  const host::SecretDir folder(host, "iso");
  const std::filesystem::path tree = folder.path() / "tree";
  const std::filesystem::path iso = folder.path() / "iso";
  std::filesystem::create_directory(tree);
  for (const auto& [name, content] : files)
    host::write_new_file(tree / name, stand_in(name, content.size()), 0600);
  host::Command command = {"xorriso", "-as", "mkisofs", "-quiet", "-V", "cidata", "-J", "-R"};
  command.add({"-uid", "0", "-gid", "0", "-file-mode", "0400", "-dir-mode", "0500"});
  command.add({"--set_all_file_dates", fmt::format("={}", date), "-o", iso.string(), tree.string()});
  command.env["SOURCE_DATE_EPOCH"] = std::to_string(date);
  command.purpose = "making the seed disk";
  host::require(*host.runner, command);
  std::string bytes = host::read_file(iso);
  for (const auto& [name, content] : files) put_in(bytes, stand_in(name, content.size()), content);
  return bytes;
}

}  // namespace kiln::env
