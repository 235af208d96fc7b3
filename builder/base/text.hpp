// Small helpers on text that the standard library lacks.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kiln::base {

// Splits at each `separator`; an empty text gives one empty piece.
std::vector<std::string> split(std::string_view text, char separator);
// The words of `text`, between spaces and tabs; none is empty.
std::vector<std::string> words(std::string_view text);
// Lines without their newline; a final newline makes no empty last line.
std::vector<std::string> lines(std::string_view text);
std::string join(std::span<const std::string> parts, std::string_view separator);
// ASCII's letters alone.
std::string upper(std::string_view text);
std::string lower(std::string_view text);
bool is_ascii(std::string_view text);
std::string_view trim(std::string_view text);
// The last `count` lines of `text`, newline-separated.
std::string last_lines(std::string_view text, std::size_t count);
// Of nothing that means something to a POSIX shell: such a word needs no quotes.
bool is_plain_word(std::string_view text);
// `text` in single quotes, between which nothing means anything to a POSIX shell: one word of its command
// line.
std::string shell_quoted(std::string_view text);
// `text` as one POSIX shell word; words that need no quotes stay as they are. For showing commands to people
// only.
std::string shell_word(std::string_view text);
// An argv as one copy-pasteable shell line.
std::string shell_line(std::span<const std::string> argv);
bool is_utf8(std::string_view text);
// For foreign output, which must not drive a terminal: colour and cursor sequences and the \r of \r\n are
// dropped; control characters (but \n and \t), marks that turn the reading direction and invalid UTF-8 become
// U+FFFD.
std::string printable(std::string_view text);
// The same on one line of a terminal, cut to `width` characters.
std::string one_line(std::string_view text, std::size_t width);
// Each character of `text` that a pair begins with, replaced by what the pair ends with.
std::string replace_each(std::string_view text, std::span<const std::pair<char, std::string_view>> pairs);
// The nearest of `known` to `word` when it is near enough to be a slip of the keyboard, else "".
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

// `bytes` in base64 (RFC 4648, with padding), on one line.
std::string base64(std::string_view bytes);

}  // namespace kiln::base
