#include "env/recover.hpp"

#include <algorithm>
#include <fmt/format.h>
#include <functional>
#include <map>
#include <optional>
#include <utility>

#include "base/error.hpp"
#include "env/openpgp.hpp"
#include "env/picture.hpp"
#include "env/qr.hpp"
#include "env/read.hpp"
#include "env/render.hpp"
#include "env/scan.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"

namespace kiln::env {

namespace fs = std::filesystem;
using base::Error;
using base::Exit;

namespace {

constexpr std::size_t kMostFile = std::size_t{256} << 20U;
constexpr int kMostPages = 1000;
constexpr std::size_t kWorthDoubling = 20'000'000;  // points: a finer scan gains nothing

bool is_pdf(std::string_view bytes) {
  return bytes.starts_with("%PDF-");
}

// Calls `each` with the pages of a file until it says that it has enough.
void each_page_of(const std::string& bytes, bool closer, const host::Host& host,
                  const std::function<bool(const Picture&)>& each) {
  if (!is_pdf(bytes)) {
    const Picture picture = read_picture(bytes);
    if (!closer) {
      each(picture);
    } else {
      each(picture.grey.size() <= kWorthDoubling ? doubled(picture) : picture);
    }
    return;
  }
  each_page(bytes, 1, kMostPages, closer ? 2 * kDpi : kDpi, host, each);
}

// A code of each page, by file and page; "" where none was seen.
using Seen = std::map<std::pair<std::size_t, std::size_t>, std::string>;

// A page may show a code that was not read when others that are printed with it were, or when none of it was
// and that is no text page for all one knows.
bool may_show_more(const std::string& seen, const Assembly& assembly) {
  return seen.empty() ? assembly.lacks_a_page() : assembly.lacks_one_beside(seen);
}

// Takes the codes that are read from a page. True when nothing is missing any more.
bool take(const Picture& page, std::string& shown, Assembly& assembly) {
  for (const auto& reader : {scan, scan_otherwise}) {
    // Others may lie on the same table: what is on a parcel ends nothing.
    for (const std::string& code : reader(page))
      if (assembly.add(code)) shown = code;
    if (assembly.text()) return true;
    if (!may_show_more(shown, assembly)) return false;
  }
  return false;
}

// A square of a code is hardly four points wide at 150 dpi: where its edges fall decides whether it is read,
// and on a page that is turned a little they fall elsewhere. True when nothing is missing any more.
bool take_turned(const Picture& page, std::string& shown, Assembly& assembly) {
  for (const double turn : {0.5, -0.5, 1.0, -1.0, 2.0, -2.0})
    if (may_show_more(shown, assembly) && take(straightened(page, turn), shown, assembly)) return true;
  return false;
}

enum class Look { plain, soft, closer, turned };

bool take(const Picture& page, Look how, std::string& shown, Assembly& assembly) {
  // A page that shows all of its codes is looked at once.
  if (how != Look::plain && !may_show_more(shown, assembly)) return false;
  if (how == Look::turned) return take_turned(page, shown, assembly);
  if (how == Look::soft) return take(softened(page), shown, assembly);
  return take(page, shown, assembly);
}

using Doing = std::function<void(const std::string&)>;

std::string_view text_of(Look how) {
  switch (how) {
    case Look::plain:
      return "looking at";
    case Look::soft:
      return "softened, looking at";
    case Look::closer:
      return "larger, looking at";
    case Look::turned:
      return "turned, looking at";
  }
  return "";
}

// One look at the files; true when nothing is missing any more.
bool look(const std::vector<fs::path>& files, Look how, Assembly& assembly, Seen& seen,
          const host::Host& host, const Doing& doing) {
  for (std::size_t number = 0; number < files.size(); ++number) {
    const fs::path& file = files[number];
    bool done = false;
    std::size_t count = 0;
    try {
      const bool closer = how == Look::closer || how == Look::turned;
      const std::string bytes = host::read_file(file, kMostFile);
      each_page_of(bytes, closer, host, [&](const Picture& page) {
        host::check_interrupt();
        if (doing) doing(fmt::format("{} {}, page {}", text_of(how), file.filename().string(), count + 1));
        done = take(page, how, seen[{number, count++}], assembly);
        return done;
      });
    } catch (const Error& error) {
      if (error.exit() != Exit::failed) throw;
      throw Error(error.message())
          .at({file.string(), 0, 0})
          .hint(error.hint_text())
          .detail(error.detail_text());
    }
    // Each file is looked at once: pages of another environment among them shall not go unseen.
    if (done && how != Look::plain) return true;
  }
  return assembly.text().has_value();
}

// The environment in a tarball that package() made: the member that is neither PDF nor ISO.
std::string from_tarball(const fs::path& file, const std::string& bytes, const host::Host& host) {
  std::optional<std::string> tar;
  try {
    tar = decrypt(bytes, true, host);
  } catch (const Error& error) {
    if (error.exit() != Exit::failed) throw;
    throw Error("is neither PDF, PNG, JPEG nor PNM, and as an encrypted tarball " + error.message())
        .at({file.string(), 0, 0})
        .hint("save scans as PNG or PDF; of a tarball take another copy");
  }
  if (!tar)
    throw Error("is neither PDF, PNG, JPEG nor PNM, and no secret key at hand decrypts it")
        .at({file.string(), 0, 0})
        .hint("add the secret key with 'gpg --import', or scan the pages as PNG or PDF");
  std::optional<std::string> text;
  host::read_archive_in(*tar, file.string(), [&](const host::Member& member, const auto& read) {
    const bool other = member.path.ends_with(".pdf") || member.path.ends_with(".iso");
    if (member.kind == 'f' && !other && member.size <= kLongest) text = read();
  });
  if (!text) throw Error("holds no environment").at({file.string(), 0, 0});
  return *text;
}

}  // namespace

std::string recover(const std::vector<fs::path>& files, const host::Host& host, const Doing& doing) {
  for (const fs::path& file : files) {
    const std::string head = host::read_file(file, 16);
    if (is_pdf(head) || is_picture(head)) continue;
    if (files.size() == 1) return from_tarball(file, host::read_file(file, kMostFile), host);
    throw Error("is neither PDF, PNG, JPEG nor PNM", Exit::usage)
        .at({file.string(), 0, 0})
        .hint("save scans as PNG or PDF; an encrypted tarball is given alone");
  }
  Assembly assembly;
  Seen seen;
  for (const Look how : {Look::plain, Look::soft, Look::closer, Look::turned}) {
    const bool worth_it = how == Look::plain || std::any_of(seen.begin(), seen.end(), [&](const auto& page) {
                            return may_show_more(page.second, assembly);
                          });
    if (worth_it && look(files, how, assembly, seen, host, doing)) return assembly.text().value_or("");
  }
  throw assembly.missing();
}

}  // namespace kiln::env
