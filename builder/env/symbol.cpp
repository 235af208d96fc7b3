#include "env/symbol.hpp"

#include <memory>
#include <qrencode.h>

#include "base/error.hpp"

namespace kiln::env {

using base::Error;

namespace {

struct Release {
  void operator()(QRinput* input) const { ::QRinput_free(input); }
  void operator()(QRcode* code) const { ::QRcode_free(code); }
};

void append(QRinput* input, QRencodeMode mode, std::string_view text) {
  if (text.empty()) return;
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  if (::QRinput_append(input, mode, static_cast<int>(text.size()), bytes) != 0)
    throw Error("a QR code cannot hold the text that was given for it");
}

}  // namespace

Symbol symbol(std::string_view code) {
  const std::unique_ptr<QRinput, Release> input(::QRinput_new2(0, QR_ECLEVEL_M));
  if (!input) throw Error("no memory for a QR code");
  // The alphabet in which two characters take 11 bits has all of base32 but its padding.
  const std::size_t padding = std::min(code.find('='), code.size());
  append(input.get(), QR_MODE_AN, code.substr(0, padding));
  append(input.get(), QR_MODE_8, code.substr(padding));
  const std::unique_ptr<QRcode, Release> made(::QRcode_encodeInput(input.get()));
  if (!made) throw Error("a QR code cannot hold the text that was given for it");
  Symbol symbol = {static_cast<std::size_t>(made->width), {}};
  symbol.dark.reserve(symbol.size * symbol.size);
  for (std::size_t i = 0; i < symbol.size * symbol.size; ++i)
    symbol.dark.push_back((made->data[i] & 1U) != 0);
  return symbol;
}

}  // namespace kiln::env
