#include "env/name.hpp"

#include <algorithm>
#include <array>

namespace kiln::env {

namespace {

// Of bash, dash and other shells of Debian, of their line editors, and of the C library and its loader.
constexpr std::array kReserved = {"_",
                                  "AUTO_RESUME",
                                  "CDPATH",
                                  "CHILD_MAX",
                                  "COLUMNS",
                                  "COPROC",
                                  "DIRSTACK",
                                  "EDITOR",
                                  "EMACS",
                                  "ENV",
                                  "EPOCHREALTIME",
                                  "EPOCHSECONDS",
                                  "ERRNO",
                                  "EUID",
                                  "EXECIGNORE",
                                  "FCEDIT",
                                  "FIGNORE",
                                  "FPATH",
                                  "FUNCNAME",
                                  "FUNCNEST",
                                  "GCONV_PATH",
                                  "GETCONF_DIR",
                                  "GLIBC_TUNABLES",
                                  "GLOBIGNORE",
                                  "GLOBSORT",
                                  "GROUPS",
                                  "HOME",
                                  "HOSTALIASES",
                                  "HOSTFILE",
                                  "IFS",
                                  "IGNOREEOF",
                                  "INPUTRC",
                                  "INSIDE_EMACS",
                                  "LANG",
                                  "LANGUAGE",
                                  "LINENO",
                                  "LINES",
                                  "LOCALDOMAIN",
                                  "LOCPATH",
                                  "MAIL",
                                  "MAILCHECK",
                                  "MAILPATH",
                                  "MAPFILE",
                                  "NIS_PATH",
                                  "NLSPATH",
                                  "OLDPWD",
                                  "OPTARG",
                                  "OPTERR",
                                  "OPTIND",
                                  "PATH",
                                  "PIPESTATUS",
                                  "POSIXLY_CORRECT",
                                  "PPID",
                                  "PROMPT_COMMAND",
                                  "PROMPT_DIRTRIM",
                                  "PS0",
                                  "PS1",
                                  "PS2",
                                  "PS3",
                                  "PS4",
                                  "PWD",
                                  "RANDOM",
                                  "RES_OPTIONS",
                                  "RESOLV_HOST_CONF",
                                  "SECONDS",
                                  "SHELL",
                                  "SHELLOPTS",
                                  "SHLVL",
                                  "SRANDOM",
                                  "TERM",
                                  "TIMEFORMAT",
                                  "TMOUT",
                                  "TMPDIR",
                                  "TZ",
                                  "TZDIR",
                                  "UID",
                                  "VISUAL",
                                  "ZDOTDIR"};
// "BASH" also means BASHOPTS and BASHPID.
constexpr std::array kReservedBeginnings = {"BASH", "COMP_", "HIST", "LC_", "LD_", "MALLOC_", "READLINE_"};

bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

}  // namespace

bool is_name(std::string_view text) {
  return !text.empty() && is_letter(text.front()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_letter(c) || (c >= '0' && c <= '9'); });
}

bool is_reserved(std::string_view name) {
  return std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end() ||
         std::any_of(kReservedBeginnings.begin(), kReservedBeginnings.end(),
                     [&](std::string_view beginning) { return name.starts_with(beginning); });
}

}  // namespace kiln::env
