#include "proof/inside.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fmt/format.h>

#include "base/size.hpp"
#include "base/text.hpp"
#include "proof/checks.hpp"

namespace kiln::proof {
namespace {

using Words = std::vector<std::string>;

constexpr std::string_view head = R"sh(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
HOME=/root
export PATH LC_ALL HOME
exec </dev/null
pack() { base64 -w0; }
say() {
  key=$1
  shift
  line="kiln-answer $key"
  for word; do line="$line =$(printf %s "$word" | pack)"; done
  printf '%s\n' "$line"
}
if command -v cloud-init >/dev/null; then
  text=$(timeout "$limit" cloud-init status --wait --long 2>&1)
  say cloud-init "$?" "$text"
fi
end=$(( $(date +%s) + limit ))
while :; do
  state=$(systemctl is-system-running 2>/dev/null)
  jobs=$(systemctl list-jobs --no-legend 2>/dev/null | grep -v '^No jobs')
  case $state in
    starting | initializing | '') ;;
    *) [ -z "$jobs" ] && break ;;
  esac
  [ "$(date +%s)" -ge "$end" ] && break
  sleep 2
done
say settled "$state" "$jobs"
say failed "$(systemctl list-units --state=failed --all --no-legend --plain)"
root=$(findmnt -no SOURCE /)
device=${root##*/}
disk=$(readlink -f "/sys/class/block/$device/..")
if [ -e "/sys/class/block/$device/partition" ]; then
  ends=0
  for part in "$disk"/*/partition; do
    folder=${part%/partition}
    stop=$(( $(cat "$folder/start") + $(cat "$folder/size") ))
    [ "$stop" -gt "$ends" ] && ends=$stop
  done
  say growth "$(cat "$disk/size")" "$ends" "$(cat "/sys/class/block/$device/size")" "$(stat -f -c '%b %S' /)"
fi
look_at_file() {
  if [ -e "$2" ] || [ -L "$2" ]; then
    say "$1" "$(stat -c %F -- "$2")" "$(readlink -- "$2")" "$(stat -L -c %F -- "$2" 2>/dev/null)" \
      "$(stat -L -c %a -- "$2" 2>/dev/null)" "$(stat -L -c %U -- "$2" 2>/dev/null)"
  else
    say "$1" absent
  fi
}
look_into_file() { printf 'kiln-answer %s =%s\n' "$1" "$(head -c 1048576 -- "$2" 2>/dev/null | pack)"; }
errors=$(mktemp)
try_command() {
  name=$1
  shift
  words=$(timeout -k 5 120 "$@" 2>"$errors")
  say "$name" "$?" "$words" "$(tail -n 5 "$errors")"
}
)sh";

std::string decoded(std::string_view text) {
  static constexpr std::string_view digits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    const auto value = digits.find(c);
    if (value == std::string_view::npos) break;
    bits = (bits << 6) | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8) {
      count -= 8;
      out += static_cast<char>(bits >> count);
    }
  }
  return out;
}

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  text = base::trim(text);
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

unsigned octal(std::string_view text) {
  unsigned value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 8);
  return value;
}

std::string short_text(std::string_view text) {
  std::string line = base::printable(base::trim(text));
  std::replace(line.begin(), line.end(), '\n', ' ');
  if (line.size() > 160) line = line.substr(0, 160) + " ...";
  return line;
}

class Judge {
 public:
  Judge(const std::map<std::string, Words>& answers, std::string missing)
      : answers_(answers), missing_(std::move(missing)) {}

  // Adds a check; `look` gets the words of the answer and sets `passed` and `detail`.
  template <typename Look>
  void check(const std::string& kind, const std::string& name, const std::string& key, std::size_t words,
             Look look) {
    CheckResult result;
    result.kind = kind;
    result.name = name;
    const auto at = answers_.find(key);
    if (at == answers_.end() || at->second.size() < words) {
      result.ran = false;
      result.detail = missing_;
    } else {
      look(at->second, result);
    }
    results.push_back(std::move(result));
  }
  [[nodiscard]] bool has(const std::string& key) const { return answers_.count(key) != 0; }

  std::vector<CheckResult> results;

 private:
  const std::map<std::string, Words>& answers_;
  std::string missing_;
};

void judge_growth(const Words& words, CheckResult& result) {
  constexpr std::uint64_t sector = 512;
  const std::uint64_t disk = number(words[0]) * sector;
  const std::uint64_t used = number(words[1]) * sector;
  const std::uint64_t partition = number(words[2]) * sector;
  const auto blocks = base::split(words[3], ' ');
  const std::uint64_t system = blocks.size() == 2 ? number(blocks[0]) * number(blocks[1]) : 0;
  result.detail = fmt::format("disk {}, root partition {}, root file system {}", base::human_size(disk),
                              base::human_size(partition), base::human_size(system));
  // The disk is 1 GiB larger than the image. A partition table keeps some sectors at the end; ext4 keeps up
  // to a tenth of a small partition for itself.
  constexpr std::uint64_t spare = 64ULL << 20;
  const std::uint64_t unused = disk > used ? disk - used : 0;
  result.passed = disk > 0 && unused <= spare && system >= partition / 10 * 9;
  if (unused > spare) {
    result.detail += fmt::format("; the last {} of the disk are unused", base::human_size(unused));
  } else if (!result.passed) {
    result.detail += "; the file system does not fill its partition";
  }
}

void judge_file(const profile::FileCheck& check, const Words& words, CheckResult& result) {
  if (words.size() < 5) {
    result.passed = check.kind == "absent";
    result.detail = "absent";
    return;
  }
  const std::string &kind = words[0], &target = words[1], &kind_behind = words[2], &mode = words[3],
                    &owner = words[4];
  const bool is_link = kind == "symbolic link";
  result.detail = is_link ? "a link to " + base::printable(target) : kind;
  std::vector<std::string> wrong;
  if (check.kind == "absent") wrong.emplace_back("expected nothing there");
  if (check.kind == "link" && !is_link) {
    wrong.emplace_back("expected a link");
  } else if (check.kind == "link" && !check.target.empty() && target != check.target) {
    wrong.push_back("expected a link to " + check.target);
  }
  // Kind, mode and owner are those of what a link leads to.
  if (kind_behind.empty()) {
    const bool looks_behind =
        check.kind == "file" || check.kind == "directory" || !check.mode.empty() || !check.owner.empty();
    if (looks_behind) wrong.emplace_back("it leads nowhere");
  } else {
    result.detail += fmt::format(", mode {}, owner {}", mode, base::printable(owner));
    if (check.kind == "directory" && kind_behind != "directory") wrong.emplace_back("expected a directory");
    if (check.kind == "file" && kind_behind.rfind("regular", 0) != 0) wrong.emplace_back("expected a file");
    if (!check.mode.empty() && octal(check.mode) != octal(mode))
      wrong.push_back("expected mode " + check.mode);
    if (!check.owner.empty() && check.owner != owner) wrong.push_back("expected owner " + check.owner);
  }
  result.passed = wrong.empty();
  if (!wrong.empty()) result.detail += "; " + base::join(wrong, ", ");
}

void judge_command(const profile::CommandCheck& check, const Words& words, CheckResult& result) {
  const auto status = static_cast<int>(number(words[0]));
  const bool late = status != check.status && (status == 124 || status == 137);
  result.detail = late ? "did not end within 120 s" : fmt::format("exit status {}", status);
  const bool status_fits = status == check.status;
  const bool output_fits = check.output.empty() || found(check.output, words[1]);
  result.passed = status_fits && output_fits;
  if (!status_fits) result.detail += fmt::format("; expected {}", check.status);
  if (!output_fits) result.detail += fmt::format("; '{}' is not in its output", check.output);
  if (const auto out = short_text(words[1]); !out.empty()) result.detail += "; output: " + out;
  if (const auto err = short_text(words[2]); !err.empty() && !result.passed)
    result.detail += "; errors: " + err;
}

}  // namespace

std::string port_name(const profile::PortCheck& check) {
  const bool web = check.protocol == "http" || check.protocol == "https";
  return fmt::format("port {} {}{}", check.port, check.protocol,
                     web && check.path != "/" ? " " + check.path : "");
}

bool has_inside_checks(const profile::Proof& proof) {
  return !proof.units.empty() || !proof.files.empty() || !proof.commands.empty();
}

std::string inside_script(const profile::Proof& proof, long limit) {
  std::string script = fmt::format("limit={}\n", limit);
  script += head;
  for (std::size_t i = 0; i < proof.units.size(); ++i) {
    script += fmt::format(
        "say 'unit-{}' \"$(systemctl show -p LoadState -p ActiveState -p SubState -p Result -- {})\"\n", i,
        base::shell_quoted(proof.units[i]));
  }
  for (std::size_t i = 0; i < proof.files.size(); ++i) {
    script += fmt::format("look_at_file 'file-{}' {}\n", i, base::shell_quoted(proof.files[i].path));
    if (!proof.files[i].content.empty())
      script += fmt::format("look_into_file 'content-{}' {}\n", i, base::shell_quoted(proof.files[i].path));
  }
  for (std::size_t i = 0; i < proof.commands.size(); ++i) {
    script += fmt::format("try_command 'command-{}'", i);
    for (const auto& word : proof.commands[i].run) script += " " + base::shell_quoted(word);
    script += "\n";
  }
  return script + "rm -f \"$errors\"\nsay end\n";
}

std::map<std::string, Words> read_answers(const std::string& output) {
  std::map<std::string, Words> answers;
  for (const auto& line : base::lines(output)) {
    const auto words = base::split(base::trim(line), ' ');
    if (words.size() < 2 || words[0] != "kiln-answer") continue;
    Words values;
    for (std::size_t i = 2; i < words.size(); ++i) {
      if (words[i].empty() || words[i][0] != '=') break;
      values.push_back(decoded(std::string_view(words[i]).substr(1)));
    }
    answers[words[1]] = std::move(values);
  }
  return answers;
}

std::vector<CheckResult> judge(const profile::Proof& proof, const std::map<std::string, Words>& answers,
                               const std::string& missing) {
  Judge judge(answers, missing);
  if (judge.has("cloud-init")) {
    judge.check("boot", "cloud-init has finished", "cloud-init", 2,
                [](const Words& words, CheckResult& result) {
                  // Status 2 tells of recoverable errors; what counts is that it came to its end.
                  result.passed = words[1].find("status: done") != std::string::npos;
                  // Dots come first, one for each moment of waiting.
                  const std::size_t said = words[1].find("status:");
                  result.detail = short_text(said == std::string::npos ? words[1] : words[1].substr(said));
                });
    // A root that is no partition (a mapped device) is not grown by cloud-init.
    if (judge.has("growth") || !judge.has("end")) {
      judge.check("boot", "root file system has grown", "growth", 4, judge_growth);
    }
  }
  judge.check("boot", "system has settled", "settled", 1, [](const Words& words, CheckResult& result) {
    const std::string jobs = words.size() > 1 ? words[1] : "";
    result.passed = (words[0] == "running" || words[0] == "degraded") && base::trim(jobs).empty();
    result.detail = words[0] + (base::trim(jobs).empty() ? "" : "; still queued: " + short_text(jobs));
  });
  judge.check("unit", "no failed unit", "failed", 1, [&](const Words& words, CheckResult& result) {
    std::vector<std::string> failed;
    std::vector<std::string> excused;
    for (const auto& line : base::lines(words[0])) {
      const std::string unit = base::split(base::trim(line), ' ').front();
      if (unit.empty()) continue;
      const bool may = std::find(proof.may_fail.begin(), proof.may_fail.end(), unit) != proof.may_fail.end();
      (may ? excused : failed).push_back(unit);
    }
    result.passed = failed.empty();
    result.detail = failed.empty() ? "none failed" : "failed: " + base::join(failed, ", ");
    if (!excused.empty()) result.detail += "; failed, as the profile allows: " + base::join(excused, ", ");
  });
  for (std::size_t i = 0; i < proof.units.size(); ++i) {
    judge.check(
        "unit", proof.units[i], fmt::format("unit-{}", i), 1, [](const Words& words, CheckResult& result) {
          std::map<std::string, std::string> properties;
          for (const auto& line : base::lines(words[0])) {
            if (const auto at = line.find('='); at != std::string::npos)
              properties[line.substr(0, at)] = line.substr(at + 1);
          }
          result.passed = properties["ActiveState"] == "active";
          result.detail = properties["LoadState"] == "not-found"
                              ? "there is no such unit"
                              : fmt::format("{} ({})", properties["ActiveState"], properties["SubState"]);
          const auto& outcome = properties["Result"];
          if (!result.passed && !outcome.empty() && outcome != "success") result.detail += ", " + outcome;
        });
  }
  for (std::size_t i = 0; i < proof.files.size(); ++i) {
    const auto& check = proof.files[i];
    judge.check("file", check.path, fmt::format("file-{}", i), 1,
                [&](const Words& words, CheckResult& result) {
                  judge_file(check, words, result);
                  if (check.content.empty() || !result.passed) return;
                  const auto text = answers.find(fmt::format("content-{}", i));
                  result.passed =
                      text != answers.end() && !text->second.empty() && found(check.content, text->second[0]);
                  if (!result.passed) result.detail += fmt::format("; '{}' is not in it", check.content);
                });
  }
  for (std::size_t i = 0; i < proof.commands.size(); ++i) {
    const auto& check = proof.commands[i];
    judge.check("command", base::shell_line(check.run), fmt::format("command-{}", i), 3,
                [&](const Words& words, CheckResult& result) { judge_command(check, words, result); });
  }
  return judge.results;
}

}  // namespace kiln::proof
