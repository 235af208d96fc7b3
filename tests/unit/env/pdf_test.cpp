#include "env/pdf.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/digest.hpp"
#include "env/qr.hpp"
#include "env/render.hpp"
#include "env/scan.hpp"
#include "host/atomic_file.hpp"
#include "host/runner.hpp"
#include "host/temp_dir.hpp"
#include "noise.hpp"
#include "paper.hpp"
#include "sample.hpp"

namespace kiln::env {
namespace {

using testing::HasSubstr;

Paper paper(const std::string& text) {
  return {text, "env.yml", "ecs.example.org", kNow, codes_of(text)};
}

std::vector<Picture> pages(const std::string& bytes, int first, int last) {
  return render(bytes, first, last, 150, host::Host::system());
}

std::string words_of(const std::string& bytes) {
  host::Command command = {"pdftotext", "-layout", "-", "-"};
  command.input = bytes;
  return host::require(*host::system_runner(), command).out;
}

TEST(PdfTest, TwoRunsGiveTheSameBytes) {
  EXPECT_EQ(pdf(paper(noise(6000))), pdf(paper(noise(6000))));
}

TEST(PdfTest, TheCodesOnItsPagesAreRead) {
  for (const std::size_t size : {100U, 30'000U}) {
    const Paper printed = paper(noise(size));
    const PageRange range = code_pages(printed.codes.size());
    Assembly assembly;
    for (const Picture& page : pages(pdf(printed), range.first, range.last)) {
      for (const std::string& code : scan(page)) assembly.add(code);
    }
    EXPECT_EQ(assembly.size(), printed.codes.size());
    EXPECT_EQ(assembly.text(), printed.text);
  }
}

TEST(PdfTest, SaysWhatItIsAndHoldsTheText) {
  const std::string text = "#cloud-config\nname: Grüße\n" + std::string(150, 'x') + "\n\tb\n";
  const std::string words = words_of(pdf(paper(text)));
  for (const std::string& part :
       {std::string("ecs.example.org"), std::string("2027-01-15 08:00 UTC"), base::sha256(text),
        std::string("page 3 of 3"), std::string("name: Grüße"), std::string(95, 'x') + "↩", std::string("→b"),
        std::string("kiln env recover -o env.yml")})
    EXPECT_THAT(words, HasSubstr(part));
}

TEST(PdfTest, EveryLineOfTheTextIsOnOneOfItsPages) {
  std::string text;
  for (int i = 0; i < 200; ++i) text += "line" + std::to_string(i) + "\n";
  const std::string words = words_of(pdf(paper(text)));
  for (int i = 0; i < 200; ++i) EXPECT_THAT(words, HasSubstr("line" + std::to_string(i) + "\n"));
  EXPECT_THAT(words, HasSubstr("page 5 of 5"));
}

TEST(PdfTest, TheRangesOfPagesCoverAllCodes) {
  EXPECT_EQ(code_pages(1).last, 2);
  EXPECT_EQ(code_pages(4).last, 2);
  EXPECT_EQ(code_pages(5).last, 3);
  EXPECT_EQ(code_pages(100).last, 26);
}

// What is printed is what is run: the listing is taken off the page.
TEST(PdfTest, ThePrintedProgramMakesTheFileOfScans) {
  for (const std::size_t size : {100U, 30'000U}) {
    const Paper printed = paper(noise(size));
    const std::string bytes = pdf(printed);
    const host::TempDir folder;
    host::Command first_page = {"pdftotext", "-raw", "-l", "1", "-", "-"};
    first_page.input = bytes;
    const std::string words = host::require(*host::system_runner(), first_page).out;
    const std::size_t begin = words.find("#!/bin/sh");
    const std::size_t end = words.find("What the codes hold");
    ASSERT_LT(begin, end);
    host::write_file(folder.path() / "restore.sh", words.substr(begin, end - begin));
    host::Command command = {"sh", "restore.sh"};
    command.cwd = folder.path();
    const PageRange range = code_pages(printed.codes.size());
    const std::vector<Picture> scans = pages(bytes, range.first, range.last);
    for (std::size_t i = scans.size(); i-- > 0;) {
      const std::string name = std::to_string(scans.size() - i) + ".png";
      host::write_file(folder.path() / name, as_png(scans[i]));
      command.add({name});
    }
    const host::Finished done = host::system_runner()->run(command);
    EXPECT_EQ(done.exit, 0) << done.err;
    EXPECT_THAT(done.out, HasSubstr(base::sha256(printed.text) + "  env.yml"));
    EXPECT_EQ(host::read_file(folder.path() / "env.yml"), printed.text) << words;
    if (size == 100) continue;
    command.argv.pop_back();
    EXPECT_NE(host::system_runner()->run(command).exit, 0);
    EXPECT_EQ(host::read_file(folder.path() / "env.yml"), printed.text) << "a file that is there stays";
    std::filesystem::remove(folder.path() / "env.yml");
    const host::Finished torn = host::system_runner()->run(command);
    EXPECT_THAT(torn.err, HasSubstr("codes are missing"));
    EXPECT_EQ(torn.exit, 1);
  }
}

TEST(RenderTest, PagesThatAreNotThereAreNone) {
  const std::string bytes = pdf(paper("a"));
  EXPECT_EQ(pages(bytes, 1, 9).size(), 3U);
  EXPECT_EQ(pages(bytes, 4, 9).size(), 0U);
  EXPECT_THROW(pages("no PDF", 1, 1), base::Error);
}

}  // namespace
}  // namespace kiln::env
