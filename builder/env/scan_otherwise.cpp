// Apart from scan.cpp: ZXing has a macro UnsupportedError, and zbar's headers a class of that name.
#include <set>

#include "env/scan.hpp"

// Texts in UTF-8 and not in wide characters, as from ZXing 2 on.
#define ZX_USE_UTF8
#include <ZXing/ReadBarcode.h>

namespace kiln::env {

std::vector<std::string> scan_otherwise(const Picture& picture) {
  const ZXing::ImageView image(picture.grey.data(), static_cast<int>(picture.width),
                               static_cast<int>(picture.height), ZXing::ImageFormat::Lum);
  ZXing::DecodeHints hints;
  hints.setFormats(ZXing::BarcodeFormat::QRCode).setTryDownscale(false);
  std::set<std::string> found;
  // One threshold for each neighbourhood, as a shadow on the paper asks for; then one for the whole picture,
  // which does not take noise for an edge.
  for (const auto threshold : {ZXing::Binarizer::LocalAverage, ZXing::Binarizer::GlobalHistogram}) {
    for (const ZXing::Result& code : ZXing::ReadBarcodes(image, hints.setBinarizer(threshold)))
      found.insert(code.text());
  }
  return {found.begin(), found.end()};
}

}  // namespace kiln::env
