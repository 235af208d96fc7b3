// An environment on paper, by libharu, which lives only here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiln::env {

struct Paper {
  std::string text;  // of the environment
  std::string name;  // of its file
  std::string domain;
  std::int64_t date = 0;           // of its last change, seconds since 1970
  std::vector<std::string> codes;  // codes_of(text)
  std::filesystem::path fonts = "/usr/share/fonts/truetype/dejavu";
};

// A PDF of A4 pages, the same bytes for the same paper: how to recover, the codes, the text. Throws
// base::Error, Exit::missing when its fonts are.
std::string pdf(const Paper& paper);
// The pages of it that have codes, counted from 1.
struct PageRange {
  int first = 0;
  int last = 0;
};
PageRange code_pages(std::size_t codes);
// The program on the first page, a script for sh that makes the file env.yml of scanned pages.
std::string restore_program(bool numbered);
// "2027-01-15 08:00"
std::string minute_text(std::int64_t date);

}  // namespace kiln::env
