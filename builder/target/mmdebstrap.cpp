#include "target/mmdebstrap.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"
#include "host/archive.hpp"
#include "host/download.hpp"
#include "target/exec.hpp"

namespace kiln::target {
namespace {

namespace fs = std::filesystem;

// How apt begins to say that it could not fetch a URL.
constexpr std::string_view not_fetched = "E: Failed to fetch ";

// "nano_7.2-1_amd64.deb" of "http://HOST/pool/n/nano/nano_7.2-1_amd64.deb  why".
std::string file_of(std::string_view line) {
  const std::string_view url = line.substr(0, line.find(' '));
  return std::string(url.substr(url.rfind('/') + 1));
}

// A tar of the files of `from` that `wanted` wants, in `folder` of it; the same for the same files.
void write_files(const fs::path& tar, const fs::path& from, const std::string& folder,
                 const std::function<bool(const fs::directory_entry&)>& wanted) {
  std::vector<fs::path> all;
  for (const auto& entry : fs::directory_iterator(from))
    if (wanted(entry)) all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  std::vector<host::Member> members;
  for (std::size_t slash = folder.find('/'); slash != std::string::npos;
       slash = folder.find('/', slash + 1)) {
    host::Member above;
    above.path = folder.substr(0, slash);
    above.kind = 'd';
    above.mode = 0755;
    members.push_back(std::move(above));
  }
  for (const fs::path& file : all) {
    host::Member member;
    member.path = folder + file.filename().string();
    member.source = file;
    members.push_back(std::move(member));
  }
  host::write_archive(tar, host::Format::tar, members);
}

}  // namespace

std::string mmdebstrap_hook(std::string_view when, const std::vector<std::string>& words) {
  return fmt::format("--{}-hook={}", when, base::shell_line(words));
}

Mmdebstrap::Mmdebstrap(Source source, const fs::path& debs, fs::path lists, fs::path scratch)
    : source_(std::move(source)),
      scratch_(std::move(scratch)),
      debs_(debs, scratch_ / "debs"),
      kept_(std::move(lists)) {}

std::string Mmdebstrap::sources() const {
  return fmt::format("mmdebstrap {} '{}' {}", source_.suite, source_.mirror,
                     base::join(source_.components, ","));
}

std::int64_t Mmdebstrap::keep_offline(const fs::path& folder) {
  const fs::path tar = scratch_ / "kept.tar";
  const auto when = kept_.take(sources(), tar);
  if (!when) throw host::not_kept(fmt::format("the package lists of {}", source_.suite));
  image::serve_lists(tar, folder);
  methods_ = folder / "methods";
  return *when;
}

void Mmdebstrap::run(const host::Host& host, host::Command command, const fs::path& to, const Told& on_line,
                     const Told& log) {
  const fs::path packages = scratch_ / "packages.tar";
  write_files(packages, debs_.folder(), "var/cache/apt/archives/", [](const auto&) { return true; });
  fs::create_directories(lists());
  std::vector<std::string> own = {
      "--variant=" + source_.variant, "--components=" + base::join(source_.components, ","),
      // Packages that were fetched before are offered to apt, which leaves them there.
      "--skip=download/empty,essential/unlink", mmdebstrap_hook("setup", {"tar-in", packages.string(), "/"}),
      mmdebstrap_hook("customize", {"sync-out", "/var/cache/apt/archives", debs_.folder().string()}),
      mmdebstrap_hook("customize", {"sync-out", "/var/lib/apt/lists", lists().string()})};
  if (!source_.keyring.empty()) own.push_back("--keyring=" + source_.keyring.string());
  if (!methods_.empty())
    own.insert(own.end(),
               {fmt::format("--aptopt=Dir::Bin::Methods \"{}/\"", methods_.string()),
                "--aptopt=Acquire::Check-Valid-Until \"false\"", "--aptopt=Acquire::Retries \"0\""});
  command.argv.insert(command.argv.begin() + 1, own.begin(), own.end());
  command.add({source_.suite, to.string()});
  if (!source_.mirror.empty()) command.add({source_.mirror});
  command.env["LC_ALL"] = "C.UTF-8";

  log(fmt::format("$ {}\n", command.text()));
  std::vector<std::string> missing;
  Lines lines([&](std::string_view line) {
    on_line(line);
    if (line.starts_with(not_fetched)) missing.push_back(file_of(line.substr(not_fetched.size())));
  });
  try {
    host::require(*host.runner, command, [&](host::Stream, std::string_view piece) {
      log(piece);
      lines.add(piece);
    });
  } catch (const base::Error& error) {
    lines.finish();
    if (methods_.empty() || missing.empty()) throw;
    throw host::not_kept(host::some_of(missing)).detail(error.detail_text());
  }
  lines.finish();
  fs::remove(packages);
  debs_.keep_new();
}

void Mmdebstrap::keep_lists(std::string_view releases, std::int64_t now) const {
  const fs::path tar = scratch_ / "lists.tar";
  write_files(tar, lists(), "", [](const fs::directory_entry& entry) {
    return entry.is_regular_file() && image::is_kept_list(entry.path().filename().string());
  });
  kept_.keep(sources(), releases, tar, now);
}

}  // namespace kiln::target
