#include "env/scan.hpp"

#include <memory>
#include <zbar.h>

#include "base/error.hpp"

namespace kiln::env {

using base::Error;

namespace {

constexpr unsigned long kGrey = zbar_fourcc('Y', '8', '0', '0');

struct Release {
  void operator()(zbar::zbar_image_scanner_t* scanner) const { zbar::zbar_image_scanner_destroy(scanner); }
  void operator()(zbar::zbar_image_t* image) const { zbar::zbar_image_destroy(image); }
};

}  // namespace

std::vector<std::string> scan(const Picture& picture) {
  const std::unique_ptr<zbar::zbar_image_scanner_t, Release> scanner(zbar::zbar_image_scanner_create());
  const std::unique_ptr<zbar::zbar_image_t, Release> image(zbar::zbar_image_create());
  if (!scanner || !image) throw Error("no memory to look for QR codes");
  zbar::zbar_image_scanner_set_config(scanner.get(), zbar::ZBAR_NONE, zbar::ZBAR_CFG_ENABLE, 0);
  zbar::zbar_image_scanner_set_config(scanner.get(), zbar::ZBAR_QRCODE, zbar::ZBAR_CFG_ENABLE, 1);
  zbar::zbar_image_set_format(image.get(), kGrey);
  zbar::zbar_image_set_size(image.get(), static_cast<unsigned>(picture.width),
                            static_cast<unsigned>(picture.height));
  zbar::zbar_image_set_data(image.get(), picture.grey.data(), picture.grey.size(), nullptr);
  zbar::zbar_scan_image(scanner.get(), image.get());
  std::vector<std::string> found;
  for (const auto* code = zbar::zbar_image_first_symbol(image.get()); code != nullptr;
       code = zbar::zbar_symbol_next(code)) {
    if (zbar::zbar_symbol_get_type(code) != zbar::ZBAR_QRCODE) continue;
    found.emplace_back(zbar::zbar_symbol_get_data(code), zbar::zbar_symbol_get_data_length(code));
  }
  return found;
}

}  // namespace kiln::env
