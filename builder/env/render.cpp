#include "env/render.hpp"

#include <algorithm>
#include <fmt/format.h>

#include "base/error.hpp"
#include "base/text.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

constexpr std::chrono::seconds kPatience{120};
constexpr int kPagesAtOnce = 8;  // two megabytes each at 150 dpi
constexpr int kNoSuchPage = 99;  // pdftoppm's exit status

}  // namespace

std::vector<Picture> render(const std::string& pdf, int first, int last, int dpi, const host::Host& host) {
  if (!host.runner->find_program("pdftoppm"))
    throw Error("pdftoppm is missing, without which no PDF can be looked at", Exit::missing)
        .hint("apt-get install poppler-utils");
  host::Command command = {"pdftoppm", "-q", "-gray"};
  command.add({"-r", std::to_string(dpi), "-f", std::to_string(first), "-l", std::to_string(last), "-"});
  command.input = pdf;
  command.timeout = kPatience;
  command.purpose = "rendering the pages of a PDF";
  std::string shown;
  const host::Finished done = host.runner->run(command, [&](host::Stream stream, std::string_view bytes) {
    if (stream == host::Stream::out) shown += bytes;
  });
  if (done.exit == kNoSuchPage) return {};
  if (!done.ok())
    throw Error(fmt::format("cannot be shown: pdftoppm ended with {}", done.how()))
        .detail(base::printable(base::last_lines(done.err, 5)));
  std::vector<Picture> pages;
  for (std::string_view rest = shown; !rest.empty();) pages.push_back(take_pnm(rest));
  return pages;
}

void each_page(const std::string& pdf, int first, int last, int dpi, const host::Host& host,
               const std::function<bool(const Picture&)>& each) {
  for (int begin = first; begin <= last; begin += kPagesAtOnce) {
    const int end = std::min(begin + kPagesAtOnce - 1, last);
    const std::vector<Picture> pages = render(pdf, begin, end, dpi, host);
    for (const Picture& page : pages) {
      if (each(page)) return;
    }
    if (static_cast<int>(pages.size()) <= end - begin) return;
  }
}

}  // namespace kiln::env
