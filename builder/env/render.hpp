// Pages of a PDF as pictures, by pdftoppm.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "env/picture.hpp"
#include "host/host.hpp"

namespace kiln::env {

inline constexpr int kDpi = 150;  // what a plain scanner gives

// Pages `first` to `last`, counted from 1, in grey; none when the PDF has fewer pages. No page is written to
// a disk. Throws base::Error, Exit::missing when there is no pdftoppm.
std::vector<Picture> render(const std::string& pdf, int first, int last, int dpi, const host::Host& host);

// Calls `each` with the pages `first` to `last`, as far as the PDF has them, until it says that it has
// enough; a few are in memory at once.
void each_page(const std::string& pdf, int first, int last, int dpi, const host::Host& host,
               const std::function<bool(const Picture&)>& each);

}  // namespace kiln::env
