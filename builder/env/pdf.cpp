#include "env/pdf.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <hpdf.h>
#include <memory>
#include <span>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "base/text.hpp"
#include "env/qr.hpp"
#include "env/symbol.hpp"

namespace kiln::env {

using base::Error;
using base::Exit;

namespace {

// In points, 72 to the inch, from the lower left corner.
constexpr float kWidth = 595.276F;
constexpr float kHeight = 841.89F;
constexpr float kLeft = 50;
constexpr float kRight = kWidth - 42;
constexpr float kTop = kHeight - 48;
constexpr float kBottom = 62;  // above the foot
constexpr float kMillimetre = 72 / 25.4F;

// The text: 96 characters of 0.602 times the size beside a column of line numbers.
constexpr float kTextSize = 8;
constexpr float kTextStep = 9.8F;
constexpr float kNumbers = 30;
constexpr std::size_t kTextColumns = 95;
constexpr float kTextTop = kTop - 28;
constexpr std::size_t kTextLines = 69;

// A code of four, its quiet zone included. A square of the largest is then 3.8 points of a scan at 150 dpi:
// with 3.5, of which a scanner makes three and four in turn, zbar did not find two codes in a hundred.
constexpr float kCode = 95 * kMillimetre;
constexpr float kOneSide = 168 * kMillimetre;  // one that has the page for itself
constexpr std::size_t kQuiet = 4;              // squares
constexpr float kLabel = 20;

// The characters of `line`, those that cannot be seen replaced by some that can.
std::vector<std::string> characters(std::string_view line) {
  std::vector<std::string> result;
  for (std::size_t at = 0; at < line.size();) {
    const auto lead = static_cast<unsigned char>(line[at]);
    const std::size_t size = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    const std::string_view one = line.substr(at, size);
    at += size;
    if (one == "\t") {
      result.emplace_back("→");
    } else if (one == "\r") {
      result.emplace_back("␍");
    } else if (size == 4 || lead < 0x20 || lead == 0x7f) {  // libharu has no characters beyond U+FFFF
      result.emplace_back("�");
    } else {
      result.emplace_back(one);
    }
  }
  return result;
}

struct PrintedLine {
  std::size_t number = 0;  // 0: it continues the one above
  std::string text;
};

// Long lines broken: those that go on end with a mark.
std::vector<PrintedLine> printed_lines(const std::string& text) {
  std::vector<PrintedLine> result;
  std::size_t number = 0;
  for (const std::string& line : base::lines(text)) {
    PrintedLine printed = {++number, ""};
    std::size_t column = 0;
    for (const std::string& character : characters(line)) {
      if (column == kTextColumns) {
        printed.text += "↩";
        result.push_back(std::move(printed));
        printed = {0, ""};
        column = 0;
      }
      printed.text += character;
      ++column;
    }
    result.push_back(std::move(printed));
  }
  return result;
}

std::string with_commas(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

std::string pages_text(int first, int last) {
  return first == last ? fmt::format("page {}", first) : fmt::format("pages {} to {}", first, last);
}

enum class Align { left, middle, right };

// The pages as they grow. An error of libharu stays in its document: finished() tells it.
class Book {
 public:
  Book(const Paper& paper, int pages)
      : doc_(::HPDF_New(nullptr, nullptr), &::HPDF_Free), paper_(paper), pages_(pages) {
    if (!doc_) throw Error("no memory for a PDF");
    ::HPDF_UseUTFEncodings(doc_.get());
    ::HPDF_SetCompressionMode(doc_.get(), HPDF_COMP_ALL);
    sans_ = font("DejaVuSans.ttf");
    bold_ = font("DejaVuSans-Bold.ttf");
    mono_ = font("DejaVuSansMono.ttf");
    sha256_ = base::sha256(paper.text);
    describe();
  }

  [[nodiscard]] HPDF_Font sans() const { return sans_; }
  [[nodiscard]] HPDF_Font bold() const { return bold_; }
  [[nodiscard]] HPDF_Font mono() const { return mono_; }
  [[nodiscard]] const std::string& sha256() const { return sha256_; }

  // A page with its foot; those behind the first have a head.
  void begin_page(const std::string& head) {
    page_ = ::HPDF_AddPage(doc_.get());
    ::HPDF_Page_SetWidth(page_, kWidth);
    ::HPDF_Page_SetHeight(page_, kHeight);
    ++number_;
    if (!head.empty()) {
      write(kLeft, kTop, bold_, 11, head);
      write(kRight, kTop, sans_, 9, fitted(sans_, 9, "Environment of " + paper_.domain, 260), Align::right);
      line(kTop - 8);
    }
    line(kBottom - 14);
    write(kLeft, kBottom - 26, sans_, 8,
          fitted(sans_, 8, fmt::format("{}, as of {} UTC", paper_.domain, minute_text(paper_.date)), 400));
    write(kRight, kBottom - 26, sans_, 8, fmt::format("page {} of {}", number_, pages_), Align::right);
    write(kLeft, kBottom - 37, sans_, 6.5F, "SHA-256");
    write(kLeft + 38, kBottom - 37, mono_, 6.5F, sha256_);
  }

  void write(float x, float y, HPDF_Font font, float size, const std::string& text,
             Align align = Align::left) {
    ::HPDF_Page_SetFontAndSize(page_, font, size);
    const float width = align == Align::left ? 0 : ::HPDF_Page_TextWidth(page_, text.c_str());
    ::HPDF_Page_BeginText(page_);
    ::HPDF_Page_TextOut(page_, align == Align::middle ? x - width / 2 : x - width, y, text.c_str());
    ::HPDF_Page_EndText(page_);
  }

  // Words in lines from `x` to the right margin; returns where the next line would stand.
  float paragraph(float x, float y, HPDF_Font font, float size, const std::string& text) {
    std::string line;
    for (const std::string& word : base::words(text)) {
      const std::string longer = line.empty() ? word : fmt::format("{} {}", line, word);
      if (!line.empty() && width(font, size, longer) > kRight - x) {
        write(x, y, font, size, line);
        y -= size * 1.4F;
        line = word;
      } else {
        line = longer;
      }
    }
    write(x, y, font, size, line);
    return y - size * 1.4F;
  }

  void line(float y) {
    ::HPDF_Page_SetLineWidth(page_, 0.6F);
    ::HPDF_Page_MoveTo(page_, kLeft, y);
    ::HPDF_Page_LineTo(page_, kRight, y);
    ::HPDF_Page_Stroke(page_);
  }

  void upright(float x, float from, float to) {
    ::HPDF_Page_SetLineWidth(page_, 0.3F);
    ::HPDF_Page_MoveTo(page_, x, from);
    ::HPDF_Page_LineTo(page_, x, to);
    ::HPDF_Page_Stroke(page_);
  }

  void frame(float bottom, float top, float thickness) {
    ::HPDF_Page_SetLineWidth(page_, thickness);
    ::HPDF_Page_Rectangle(page_, kLeft, bottom, kRight - kLeft, top - bottom);
    ::HPDF_Page_Stroke(page_);
  }

  // `side` long, its quiet zone included. One path and one filling: seams between squares would show
  // otherwise.
  void draw(const Symbol& symbol, float left, float top, float side) {
    const float scale = side / static_cast<float>(symbol.size + 2 * kQuiet);
    ::HPDF_Page_GSave(page_);
    ::HPDF_Page_Concat(page_, scale, 0, 0, -scale, left + kQuiet * scale, top - kQuiet * scale);
    for (std::size_t y = 0; y < symbol.size; ++y) {
      for (std::size_t x = 0; x < symbol.size;) {
        std::size_t end = x;
        while (end < symbol.size && symbol.at(end, y)) ++end;
        if (end > x)
          ::HPDF_Page_Rectangle(page_, static_cast<float>(x), static_cast<float>(y),
                                static_cast<float>(end - x), 1);
        x = end + 1;
      }
    }
    ::HPDF_Page_Fill(page_);
    ::HPDF_Page_GRestore(page_);
  }

  // `text`, cut where it is wider than `most`.
  std::string fitted(HPDF_Font font, float size, const std::string& text, float most) {
    if (width(font, size, text) <= most) return text;
    std::vector<std::string> left = characters(text);
    while (!left.empty() && width(font, size, base::join(left, "") + "…") > most) left.pop_back();
    return base::join(left, "") + "…";
  }

  float width(HPDF_Font font, float size, const std::string& text) {
    ::HPDF_Page_SetFontAndSize(page_, font, size);
    return ::HPDF_Page_TextWidth(page_, text.c_str());
  }

  std::string finished() {
    ::HPDF_SaveToStream(doc_.get());
    std::string bytes(::HPDF_GetStreamSize(doc_.get()), '\0');
    auto size = static_cast<HPDF_UINT32>(bytes.size());
    if (size > 0) ::HPDF_ReadFromStream(doc_.get(), reinterpret_cast<HPDF_BYTE*>(bytes.data()), &size);
    // HPDF_STREAM_EOF says that all has been read.
    const HPDF_STATUS status = ::HPDF_GetError(doc_.get());
    if ((status != HPDF_OK && status != HPDF_STREAM_EOF) || size == 0 || size != bytes.size())
      throw Error(fmt::format("the PDF cannot be made: libharu says {:#06x}", status));
    return bytes;
  }

 private:
  HPDF_Font font(const char* file) {
    const std::string path = (paper_.fonts / file).string();
    std::error_code code;
    if (!std::filesystem::exists(path, code))
      throw Error(fmt::format("the font '{}' is missing, in which environments are printed", path),
                  Exit::missing)
          .hint("apt-get install fonts-dejavu-core");
    const char* const name = ::HPDF_LoadTTFontFromFile(doc_.get(), path.c_str(), HPDF_TRUE);
    return name == nullptr ? nullptr : ::HPDF_GetFont(doc_.get(), name, "UTF-8");
  }

  void describe() {
    const std::string title = "Environment of " + paper_.domain;
    ::HPDF_SetInfoAttr(doc_.get(), HPDF_INFO_TITLE, title.c_str());
    ::HPDF_SetInfoAttr(doc_.get(), HPDF_INFO_CREATOR, "kiln");
    const std::tm time = fmt::gmtime(static_cast<std::time_t>(paper_.date));
    ::HPDF_SetInfoDateAttr(doc_.get(), HPDF_INFO_CREATION_DATE,
                           {time.tm_year + 1900, time.tm_mon + 1, time.tm_mday, time.tm_hour, time.tm_min,
                            time.tm_sec, 'Z', 0, 0});
  }

  std::unique_ptr<std::remove_pointer_t<HPDF_Doc>, void (*)(HPDF_Doc)> doc_;
  const Paper& paper_;
  int pages_;
  int number_ = 0;
  HPDF_Page page_ = nullptr;
  HPDF_Font sans_ = nullptr;
  HPDF_Font bold_ = nullptr;
  HPDF_Font mono_ = nullptr;
  std::string sha256_;
};

float fact(Book& book, float y, const std::string& name, const std::string& value) {
  book.write(kLeft, y, book.bold(), 9.5F, name);
  book.write(kLeft + 78, y, book.sans(), 9.5F, book.fitted(book.sans(), 9.5F, value, kRight - kLeft - 78));
  return y - 15;
}

float command(Book& book, float y, const std::string& text) {
  book.write(kLeft + 34, y - 1, book.mono(), 9, text);
  return y - 17;
}

float step(Book& book, float y, int number, const std::string& text) {
  book.write(kLeft, y, book.bold(), 10, fmt::format("{}.", number));
  return book.paragraph(kLeft + 20, y, book.sans(), 10, text) - 3;
}

float listing(Book& book, float top, const std::string& program) {
  const std::vector<std::string> lines = base::lines(program);
  const float bottom = top - 14 - static_cast<float>(lines.size()) * 12;
  book.frame(bottom, top, 0.6F);
  float y = top - 16;
  for (const std::string& one : lines) {
    book.write(kLeft + 10, y, book.mono(), 8.5F, one);
    y -= 12;
  }
  return bottom - 22;
}

void first_page(Book& book, const Paper& paper, PageRange codes, PageRange text) {
  const std::size_t count = paper.codes.size();
  const bool numbered = count > 1;
  book.begin_page("");
  float y = kTop - 10;
  book.write(kLeft, y, book.bold(), 20, "Environment");
  y -= 24;
  book.write(kLeft, y, book.sans(), 14, book.fitted(book.sans(), 14, paper.domain, kRight - kLeft));
  y -= 18;
  book.frame(y - 36, y, 1.2F);
  book.write(kLeft + 10, y - 15, book.bold(), 10,
             "Secret: every key and password of the appliance is on these pages.");
  book.write(kLeft + 10, y - 29, book.sans(), 10,
             "Keep them under lock and key, and destroy them when newer ones are printed.");
  y -= 60;
  y = fact(
      book, y, "File",
      fmt::format("{}, {} bytes", base::join(characters(paper.name), ""), with_commas(paper.text.size())));
  y = fact(book, y, "Last change", minute_text(paper.date) + " UTC");
  book.write(kLeft + 78, y, book.mono(), 9, book.sha256());
  y = fact(book, y, "SHA-256", "");
  y = fact(book, y, "Codes",
           fmt::format("{}, on {}", numbered ? fmt::format("{}, from 00 to {:02}", count, count - 1) : "one",
                       pages_text(codes.first, codes.last)));
  y = fact(book, y, "Text", "on " + pages_text(text.first, text.last));
  y -= 16;
  book.write(kLeft, y, book.bold(), 13, "How to get the file back");
  y -= 20;
  y = step(book, y, 1,
           fmt::format("Scan {} flat and sharp, at 150 dpi or more. Grey will do; neither the order of the "
                       "pages nor which way up they are matters.",
                       pages_text(codes.first, codes.last)));
  y = step(book, y, 2,
           "With kiln, let it read them. PNG, JPEG, PNM and PDF will do, and it names what is missing:");
  y = command(book, y, "kiln env recover -o env.yml scan*.png");
  y = step(book, y, 3,
           "Without kiln, type the program below into a file restore.sh, on any Linux that has zbarimg (on "
           "Debian in the package zbar-tools), and run it. It takes pictures; of a scan that is a PDF "
           "'pdftoppm -r 150 -png scan.pdf scan' makes some:");
  y = command(book, y, "sh restore.sh scan*.png");
  y = step(book, y, 4, "Compare the checksum with the one above. It covers every byte:");
  y = command(book, y, "sha256sum env.yml");
  y = step(book, y, 5,
           fmt::format("Every code is needed. When one cannot be read any more, type the text on {}.",
                       pages_text(text.first, text.last)));
  y -= 14;
  book.write(kLeft, y, book.bold(), 13, "restore.sh");
  y = listing(book, y - 10, restore_program(numbered));
  book.paragraph(kLeft, y, book.sans(), 8.5F,
                 std::string("What the codes hold: the file, compressed by gzip, in base32 (RFC 4648), ") +
                     (numbered ? "cut into pieces of 2,100 characters, each behind its number and a space."
                               : "in one piece.") +
                     " They are QR codes of error level M.");
}

void code_page(Book& book, const Paper& paper, std::size_t first) {
  const std::size_t count = paper.codes.size();
  if (count == 1) {
    book.begin_page("The code");
    const float left = (kLeft + kRight - kOneSide) / 2;
    book.draw(symbol(paper.codes[0]), left, kTop - 90, kOneSide);
    return;
  }
  const std::size_t last = std::min(first + kCodesOnPage, count) - 1;
  book.begin_page(first == last ? fmt::format("Code {:02}, of {} in all", first, count)
                                : fmt::format("Codes {:02} to {:02}, of {} in all", first, last, count));
  for (std::size_t i = first; i <= last; ++i) {
    const bool right = (i - first) % 2 == 1;
    const bool below = (i - first) / 2 == 1;
    const float left = right ? kWidth / 2 : kWidth / 2 - kCode;
    const float top = kTop - 42 - (below ? kCode + kLabel + 12 : 0);
    book.write(left + kCode / 2, top - 8, book.bold(), 14, fmt::format("{:02}", i), Align::middle);
    book.draw(symbol(paper.codes[i]), left, top - kLabel + 8, kCode);
  }
}

void text_page(Book& book, std::span<const PrintedLine> lines, const std::string& head) {
  book.begin_page(head);
  float y = kTextTop;
  for (const auto& [number, text] : lines) {
    book.write(kLeft + kNumbers - 9, y, number == 0 ? book.mono() : book.sans(), number == 0 ? 7 : 6.5F,
               number == 0 ? "↪" : std::to_string(number), Align::right);
    if (!text.empty()) book.write(kLeft + kNumbers, y, book.mono(), kTextSize, text);
    y -= kTextStep;
  }
  book.upright(kLeft + kNumbers - 5, kTextTop + 8, y + kTextStep - 3);
}

}  // namespace

std::string minute_text(std::int64_t date) {
  return fmt::format("{:%Y-%m-%d %H:%M}", fmt::gmtime(static_cast<std::time_t>(date)));
}

std::string restore_program(bool numbered) {
  // No line may be wider than the page, at 8.5 points.
  const std::string begin =
      "#!/bin/sh\n"
      "# sh restore.sh SCAN... makes env.yml of scanned codes\n"
      "umask 077\n"
      "[ ! -e env.yml ] || { echo 'env.yml is there already' >&2; exit 1; }\n"
      "codes=$(zbarimg -q --raw -Sdisable -Sqrcode.enable \"$@\" | LC_ALL=C sort -u)\n";
  const std::string numbers =
      "echo \"codes read:\" $(printf '%s\\n' \"$codes\" | cut -c 1-2)\n"
      "codes=$(printf '%s\\n' \"$codes\" | cut -c 4-)\n";
  const std::string end =
      "printf '%s' \"$codes\" | tr -d '\\n' | base32 -d | gzip -dc > env.yml && exec sha256sum env.yml\n"
      "rm env.yml; echo 'codes are missing or were not read' >&2; exit 1\n";
  return begin + (numbered ? numbers : "") + end;
}

PageRange code_pages(std::size_t codes) {
  const std::size_t pages = (codes + kCodesOnPage - 1) / kCodesOnPage;
  return {2, static_cast<int>(1 + pages)};
}

std::string pdf(const Paper& paper) {
  const std::vector<PrintedLine> lines = printed_lines(paper.text);
  const PageRange codes = code_pages(paper.codes.size());
  const std::size_t text_pages = (lines.size() + kTextLines - 1) / kTextLines;
  const PageRange text = {codes.last + 1, static_cast<int>(codes.last + text_pages)};
  Book book(paper, text.last);
  first_page(book, paper, codes, text);
  for (std::size_t i = 0; i < paper.codes.size(); i += kCodesOnPage) code_page(book, paper, i);
  for (std::size_t i = 0; i < lines.size(); i += kTextLines) {
    const auto part = std::span(lines).subspan(i, std::min(kTextLines, lines.size() - i));
    text_page(book, part, "The text   (↩ ↪ a long line goes on; → a tab)");
  }
  return book.finished();
}

}  // namespace kiln::env
