#include "engine/report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <ctime>
#include <fmt/format.h>
#include <string_view>
#include <utility>

#include "base/size.hpp"
#include "base/text.hpp"

namespace kiln::engine {
namespace {

using How = Page::Step::How;

constexpr std::size_t kWord = 200;      // bytes of a name
constexpr std::size_t kSentence = 600;  // of what was seen, or why
constexpr std::size_t kLine = 240;      // of a console
constexpr std::ptrdiff_t kConsoleLines = 80;
constexpr std::size_t kPassage = 12000;  // of an error
constexpr std::size_t kStates = 24;      // shown at once; the others are behind a fold
constexpr std::size_t kMostStates = 1000;
constexpr std::size_t kPackages = 24;

// ---- texts

std::string cut(std::string text, std::size_t most) {
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end) + "…";
}

constexpr std::array<std::pair<char, std::string_view>, 5> kMarkup = {
    {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}}};

// Foreign text as HTML's: nothing in it is markup, in an element or in an attribute.
std::string shown(std::string_view text, std::size_t most = kWord) {
  // Cut before it is looked at, too: a guest may say megabytes.
  return base::replace_each(cut(base::printable(text.substr(0, 4 * most)), most), kMarkup);
}

// Of a line that was written over by \r, what stood there last.
std::string_view last_written(std::string_view line) {
  while (line.ends_with('\r')) line.remove_suffix(1);
  const auto over = line.rfind('\r');
  return over == std::string_view::npos ? line : line.substr(over + 1);
}

// A console's text in a box that opens at its end.
std::string console(const std::string& text) {
  constexpr std::string_view kOverTheLineAbove = "\x1bM";  // systemd shows by it that a job still runs
  std::vector<std::string> shown_lines;
  for (const auto& line : base::lines(text)) {
    if (line.starts_with(kOverTheLineAbove) && !shown_lines.empty()) shown_lines.pop_back();
    shown_lines.push_back(shown(last_written(line), kLine));
  }
  if (std::ssize(shown_lines) > kConsoleLines)
    shown_lines.erase(shown_lines.begin(), shown_lines.end() - kConsoleLines);
  return fmt::format("<div class=\"console\"><pre>{}\n</pre></div>", base::join(shown_lines, "\n"));
}

std::string utc(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  std::array<char, 32> text{};
  return {text.data(), std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M UTC", &parts)};
}

std::string counted(std::size_t count, std::string_view one, std::string_view many) {
  return fmt::format("{} {}", count, count == 1 ? one : many);
}

std::string percent(double part, double whole) {
  return fmt::format("{:.3f}%", whole > 0 ? std::clamp(part / whole, 0.0, 1.0) * 100 : 0.0);
}

std::string short_seconds(double seconds) {
  return seconds > 0 && seconds < 0.95 ? fmt::format("{:.2f} s", seconds) : base::human_seconds(seconds);
}

std::string firmware(const proof::Verdict& verdict) {
  return verdict.firmware == "uefi" ? "UEFI" : "BIOS";
}

std::size_t passed(const proof::Verdict& verdict) {
  return static_cast<std::size_t>(std::count_if(verdict.checks.begin(), verdict.checks.end(),
                                                [](const auto& check) { return check.ran && check.passed; }));
}

// ---- the head

std::string_view verdict_word(Page::Outcome outcome) {
  switch (outcome) {
    case Page::Outcome::proven:
      return "Proven";
    case Page::Outcome::refuted:
      return "Not proven";
    case Page::Outcome::failed:
      return "Failed";
    case Page::Outcome::unproven:
      break;
  }
  return "Unproven";
}

std::string_view verdict_class(Page::Outcome outcome) {
  switch (outcome) {
    case Page::Outcome::proven:
      return "good";
    case Page::Outcome::unproven:
      return "unknown";
    case Page::Outcome::refuted:
    case Page::Outcome::failed:
      break;
  }
  return "bad";
}

std::string verdict_sentence(const Page& page) {
  if (page.outcome == Page::Outcome::failed)
    return page.failures.empty() ? std::string("A step failed.")
                                 : fmt::format("The step {} failed.", shown(page.failures.front().step));
  if (page.outcome == Page::Outcome::unproven) return "The image was not booted.";
  std::size_t good = 0;
  std::size_t all = 0;
  std::string by;
  for (const auto& proof : page.proofs) {
    good += passed(proof.verdict);
    all += proof.verdict.checks.size();
    by += (by.empty() ? "" : " and ") + firmware(proof.verdict);
  }
  if (page.outcome == Page::Outcome::proven)
    return fmt::format("Booted cold by {}: all {} checks passed.", by, all);
  return fmt::format("Booted cold by {}: {} of {} checks did not pass. The image is not published.", by,
                     all - good, all);
}

std::string fact(std::string_view name, const std::string& value) {
  return fmt::format("<div><dt>{}</dt><dd>{}</dd></div>\n", name, value);
}

std::string head(const Page& page) {
  std::string out = fmt::format(
      "<header>\n<p class=\"kiln\">kiln {}</p>\n<div class=\"title\"><h1>{}</h1>"
      "<p class=\"badge {}\">{}</p></div>\n",
      shown(page.kiln), shown(page.profile), verdict_class(page.outcome), verdict_word(page.outcome));
  if (!page.description.empty())
    out += fmt::format("<p class=\"lead\">{}</p>\n", shown(page.description, kSentence));
  out += fmt::format("<p class=\"said\">{}</p>\n<dl class=\"facts\">\n", verdict_sentence(page));
  out += fact("Built", fmt::format("{}, in {}", utc(page.when), base::human_seconds(page.seconds)));
  for (const auto& image : page.images) {
    std::string size = base::human_size(image.size);
    if (image.virtual_size > 0) size += fmt::format(", a disk of {}", base::human_size(image.virtual_size));
    out += fact("Image", fmt::format("{} <span class=\"dim\">{}</span>", shown(image.name), size));
  }
  if (!page.accel.empty())
    out += fact("Guests ran by",
                fmt::format("{}{}", page.accel == "kvm" ? "KVM" : "TCG",
                            page.accel_why.empty() ? std::string()
                                                   : fmt::format(" <span class=\"dim\">{}</span>",
                                                                 shown(page.accel_why, kSentence))));
  for (const auto& image : page.images)
    out += fmt::format("<div class=\"wide\"><dt>sha256</dt><dd><code>{}</code></dd></div>\n",
                       shown(image.sha256));
  return out + "</dl>\n</header>\n";
}

// ---- tiles: each part in one line

std::string tile(std::string_view to, std::string_view name, const std::string& value,
                 const std::string& more) {
  return fmt::format("<a class=\"tile\" href=\"#{}\"><span>{}</span><b>{}</b><small>{}</small></a>\n", to,
                     name, value, more);
}

struct Spent {
  double now = 0, saved = 0;
  std::size_t ran = 0, reused = 0;
};

Spent spent(const Page& page) {
  Spent sum;
  const auto add = [&](bool reused, double seconds) {
    (reused ? sum.saved : sum.now) += seconds;
    ++(reused ? sum.reused : sum.ran);
  };
  for (const auto& step : page.steps)
    if (step.how != How::waiting) add(step.how == How::reused, step.seconds);
  for (const auto& proof : page.proofs) add(proof.reused, proof.verdict.seconds);
  return sum;
}

std::string tiles(const Page& page) {
  std::string out = "<nav class=\"tiles\">\n";
  const auto sum = spent(page);
  out += tile("steps", "Steps", fmt::format("{} of {}", sum.reused, sum.reused + sum.ran),
              sum.reused > 0 ? fmt::format("reused, {} saved", base::human_seconds(sum.saved))
                             : std::string("reused"));
  if (!page.proofs.empty()) {
    std::size_t good = 0;
    std::size_t all = 0;
    double seconds = 0;
    for (const auto& proof : page.proofs) {
      good += passed(proof.verdict);
      all += proof.verdict.checks.size();
      seconds += proof.verdict.seconds;
    }
    out += tile("proof", "Proof", fmt::format("{} of {}", good, all),
                fmt::format("checks passed, {}", base::human_seconds(seconds)));
  }
  std::size_t states = 0;
  std::size_t failed = 0;
  std::size_t changed = 0;
  for (const auto& highstate : page.highstates)
    for (const auto& state : highstate.states) {
      ++states;
      failed += state.failed ? 1 : 0;
      changed += state.changes > 0 ? 1 : 0;
    }
  if (!page.highstates.empty())
    out += tile("salt", "Salt", counted(states, "state", "states"),
                fmt::format("{} changed, {} failed", changed, failed));
  if (!page.packages.empty() || page.sizes_recorded) {
    std::uint64_t bytes = 0;
    for (const auto& path : page.paths) bytes += path.bytes;
    out += tile("sizes", "Content", page.sizes_recorded ? base::human_size(bytes) : std::string("–"),
                counted(page.packages.size(), "package", "packages"));
  }
  return out + "</nav>\n";
}

// ---- the timeline

struct Bar {
  std::string id, text, note;
  How how;
  double seconds;
};

std::vector<Bar> bars(const Page& page) {
  std::vector<Bar> all;
  for (const auto& step : page.steps) {
    std::string note;
    switch (step.how) {
      case How::reused:
        note = step.made > 0 ? fmt::format("reused, made {}", utc(step.made)) : "reused";
        break;
      case How::ran:
        note = step.why.empty() ? "ran" : fmt::format("ran: {}", shown(step.why, kSentence));
        break;
      case How::failed:
        note = step.why.empty() ? "failed" : fmt::format("ran: {}, and failed", shown(step.why, kSentence));
        break;
      case How::waiting:
        note = "not reached";
        break;
    }
    if (step.size > 0) note += fmt::format(" · {}", base::human_size(step.size));
    all.push_back({shown(step.id), shown(step.text, kSentence), std::move(note), step.how, step.seconds});
  }
  for (const auto& proof : page.proofs) {
    const auto& verdict = proof.verdict;
    std::string note = "booted";
    if (proof.reused)
      note = proof.when > 0 ? fmt::format("reused, booted {}", utc(proof.when))
                            : std::string("reused: this very file was proven before");
    all.push_back({fmt::format("proof-{}", shown(verdict.firmware)),
                   fmt::format("Boot it cold by {} and check it", firmware(verdict)), std::move(note),
                   proof.reused     ? How::reused
                   : verdict.proven ? How::ran
                                    : How::failed,
                   verdict.seconds});
  }
  return all;
}

std::string_view how_class(How how) {
  switch (how) {
    case How::ran:
      return "ran";
    case How::reused:
      return "reused";
    case How::failed:
      return "failed";
    case How::waiting:
      break;
  }
  return "waiting";
}

// Seconds between two marks of the scale, so that there are at most six.
double mark_distance(double whole) {
  for (const double distance :
       {0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0})
    if (whole / distance <= 6) return distance;
  return std::ceil(whole / 6 / 3600) * 3600;
}

std::string timeline(const Page& page) {
  const auto all = bars(page);
  const auto sum = spent(page);
  const double whole = sum.now + sum.saved;
  std::string said;
  if (sum.ran == 0)
    said = fmt::format("Everything was reused. From nothing it takes {}.", base::human_seconds(whole));
  else if (sum.reused == 0)
    said = fmt::format("Nothing was reused: {}.", base::human_seconds(whole));
  else
    said = fmt::format("What ran took {}; what was reused saved {}.", base::human_seconds(sum.now),
                       base::human_seconds(sum.saved));
  std::string out = fmt::format(
      "<section id=\"steps\">\n<h2>Steps</h2>\n<p class=\"sub\">{}</p>\n"
      "<p class=\"legend\"><i class=\"ran\"></i> ran in this build <i class=\"reused\"></i> reused, "
      "with the time it saved</p>\n",
      said);
  std::string marks;
  const double distance = mark_distance(whole);
  if (whole > 0) {
    for (int n = 0; n * distance <= whole; ++n) {
      const double at = n * distance;
      const auto place = percent(at, whole);
      // The last one must not stand out on the right.
      const std::string_view side = at > whole * 0.93 ? " class=\"left\"" : "";
      marks += fmt::format("<span{} style=\"left:{}\">{}</span>", side, place,
                           n == 0 ? "0" : base::human_seconds(at));
    }
  }
  out += fmt::format(
      "<div class=\"timeline\" style=\"--step:{}\">\n<div class=\"scale\"><div>{}</div></div>\n<ol>\n",
      percent(distance, whole), marks);
  double begun = 0;
  for (const auto& bar : all) {
    out += fmt::format(
        "<li class=\"{}\"><div class=\"who\"><b>{}</b> <span>{}</span><small>{}</small></div>"
        "<div class=\"track\"><i style=\"left:{};width:{}\"></i></div><div class=\"took\">{}</div></li>\n",
        how_class(bar.how), bar.id, bar.text, bar.note, percent(begun, whole), percent(bar.seconds, whole),
        bar.how == How::waiting ? std::string("–") : short_seconds(bar.seconds));
    if (bar.how != How::waiting) begun += bar.seconds;
  }
  return out + "</ol>\n</div>\n</section>\n";
}

// ---- what failed

std::string picture(const std::string& png, std::string_view what) {
  return fmt::format(
      "<figure><img alt=\"{}\" src=\"data:image/png;base64,{}\"/><figcaption>{}</figcaption></figure>\n",
      what, base::base64(png), what);
}

std::string failures(const Page& page) {
  std::string out;
  for (const auto& failure : page.failures) {
    out += fmt::format(
        "<section id=\"failure\">\n<h2>Failure</h2>\n<p class=\"sub\">of the step {}</p>\n"
        "<pre class=\"error\">{}</pre>\n",
        shown(failure.step), shown(failure.error, kPassage));
    if (!failure.log.empty())
      out += fmt::format("<h3>End of the step’s log</h3>\n{}\n", console(failure.log));
    if (!failure.screen.empty()) out += picture(failure.screen, "The display of the guest");
    out += "</section>\n";
  }
  return out;
}

// ---- the proof

std::string_view mark(bool ran, bool good) {
  if (!ran) return "<td class=\"mark unknown\">did not run</td>";
  return good ? "<td class=\"mark good\">passed</td>" : "<td class=\"mark bad\">failed</td>";
}

std::string check_name(const proof::CheckResult& check) {
  const auto name = shown(check.name, kSentence);
  return check.kind == "file" || check.kind == "command" ? fmt::format("<code>{}</code>", name) : name;
}

std::string proofs(const Page& page) {
  if (page.proofs.empty()) return {};
  std::string out = "<section id=\"proof\">\n<h2>Boot proof</h2>\n";
  for (const auto& proof : page.proofs) {
    const auto& verdict = proof.verdict;
    out += fmt::format(
        "<p class=\"sub\">The exported file itself, booted cold by {} on {}: ssh after {}, all of it "
        "{}.{}</p>\n",
        firmware(verdict), verdict.accel == "kvm" ? "KVM" : "TCG", base::human_seconds(verdict.boot_seconds),
        base::human_seconds(verdict.seconds),
        proof.reused ? " This very file was proven before, so it was not booted again." : "");
    if (!verdict.inside) out += "<p class=\"sub\">Looked at from outside only.</p>\n";
    out +=
        "<div class=\"scroll\"><table "
        "class=\"checks\">\n<thead><tr><th>result</th><th>kind</th><th>check</th>"
        "<th>seen</th><th class=\"n\">time</th></tr></thead>\n<tbody>\n";
    auto checks = verdict.checks;
    std::stable_partition(checks.begin(), checks.end(),
                          [](const auto& check) { return !(check.ran && check.passed); });
    for (const auto& check : checks)
      out += fmt::format(
          "<tr>{}<td class=\"dim\">{}</td><td class=\"name\">{}</td><td class=\"seen\">{}</td>"
          "<td class=\"n\">{}</td></tr>\n",
          mark(check.ran, check.passed), shown(check.kind), check_name(check),
          shown(check.detail, check.ran && check.passed ? kWord : kPassage),
          check.seconds > 0 ? short_seconds(check.seconds) : std::string());
    out += "</tbody>\n</table></div>\n<div class=\"seen-outside\">\n";
    if (!proof.screen.empty()) out += picture(proof.screen, "What the machine’s display showed at the end");
    if (!proof.console.empty())
      out += fmt::format(
          "<figure>{}<figcaption>End of its serial console"
          "</figcaption></figure>\n",
          console(proof.console));
    out += "</div>\n";
  }
  return out + "</section>\n";
}

// ---- Salt

std::string state_row(const Page::State& state, double longest) {
  std::string what = fmt::format("<b>{}</b>", shown(state.id));
  if (!state.name.empty() && state.name != state.id)
    what += fmt::format(" <span class=\"dim\">{}</span>", shown(state.name));
  if (state.failed && !state.comment.empty())
    what += fmt::format("<pre class=\"comment\">{}</pre>", shown(state.comment, kPassage));
  return fmt::format(
      "<tr>{}<td class=\"fn\">{}</td><td class=\"name\">{}</td><td class=\"dim file\">{}</td>"
      "<td class=\"n changes\">{}</td>"
      "<td class=\"bar\"><i style=\"width:{}\"></i></td><td class=\"n took\">{}</td></tr>\n",
      state.failed        ? "<td class=\"mark bad\">failed</td>"
      : state.changes > 0 ? "<td class=\"mark good\">changed</td>"
                          : "<td class=\"mark same\">as it was</td>",
      shown(state.function), what, shown(state.sls),
      state.changes > 0 ? fmt::format("{}", state.changes) : std::string(), percent(state.seconds, longest),
      short_seconds(state.seconds));
}

constexpr std::string_view kStateHead =
    "<div class=\"scroll\"><table "
    "class=\"states\">\n<thead><tr><th>result</th><th>function</th><th>state</th>"
    "<th>file</th><th class=\"n\">changes</th><th></th><th class=\"n\">time</th></tr></thead>\n<tbody>\n";

std::string salt(const Page& page) {
  if (page.highstates.empty()) return {};
  std::string out = "<section id=\"salt\">\n<h2>Salt states</h2>\n";
  for (const auto& highstate : page.highstates) {
    if (!highstate.recorded) {
      out += fmt::format("<p class=\"sub\">{}: not recorded with its layer.</p>\n", shown(highstate.step));
      continue;
    }
    auto states = highstate.states;
    std::stable_sort(states.begin(), states.end(), [](const auto& a, const auto& b) {
      return a.failed != b.failed ? a.failed : a.seconds > b.seconds;
    });
    double sum = 0;
    double longest = 0;
    for (const auto& state : states) {
      sum += state.seconds;
      longest = std::max(longest, state.seconds);
    }
    out +=
        fmt::format("<p class=\"sub\">{}: {} took {}{}; failed ones first, then the slowest.</p>\n",
                    shown(highstate.step), counted(states.size(), "state", "states"),
                    base::human_seconds(sum), highstate.reused ? ", in the build that made the layer" : "");
    for (const auto& problem : highstate.problems)
      out += fmt::format("<pre class=\"error\">{}</pre>\n", shown(problem, kPassage));
    if (states.empty()) continue;
    const auto failed = static_cast<std::size_t>(
        std::count_if(states.begin(), states.end(), [](const auto& state) { return state.failed; }));
    const std::size_t most = std::min(states.size(), kMostStates);
    const std::size_t first = std::min(most, std::max(kStates, failed));
    out += kStateHead;
    for (std::size_t i = 0; i < first; ++i) out += state_row(states[i], longest);
    out += "</tbody>\n</table></div>\n";
    if (first == most) continue;
    out += fmt::format("<details><summary>{} more, none over {}</summary>\n", states.size() - first,
                       short_seconds(states[first].seconds));
    out += kStateHead;
    for (std::size_t i = first; i < most; ++i) out += state_row(states[i], longest);
    out += "</tbody>\n</table></div>\n</details>\n";
  }
  return out + "</section>\n";
}

// ---- sizes

std::string size_row(std::string_view kind, const std::string& name, std::uint64_t bytes,
                     std::uint64_t biggest) {
  return fmt::format(
      "<li class=\"{}\"><span class=\"name\">{}</span><span class=\"track\"><i style=\"width:{}\"></i></span>"
      "<span class=\"n\">{}</span></li>\n",
      kind, name, percent(static_cast<double>(bytes), static_cast<double>(biggest)), base::human_size(bytes));
}

std::string paths(const Page& page) {
  std::uint64_t sum = 0;
  std::uint64_t biggest = 0;
  for (const auto& path : page.paths) {
    sum += path.bytes;
    biggest = std::max(biggest, path.bytes);
  }
  std::string out = fmt::format(
      "<div>\n<h3>By path</h3>\n<p class=\"sub\">{} on the root file system</p>\n<ul class=\"sizes\">\n",
      base::human_size(sum));
  for (const auto& path : page.paths) {
    out += size_row("top", shown(path.path), path.bytes, biggest);
    for (const auto& inner : path.below) out += size_row("below", shown(inner.path), inner.bytes, biggest);
  }
  return out + "</ul>\n</div>\n";
}

std::string packages(const Page& page) {
  auto all = page.packages;
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.size > b.size; });
  std::uint64_t sum = 0;
  std::uint64_t rest = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    sum += all[i].size;
    if (i >= kPackages) rest += all[i].size;
  }
  std::string out = fmt::format(
      "<div>\n<h3>By package</h3>\n<p class=\"sub\">{}, {} as their makers say</p>\n<ul class=\"sizes\">\n",
      counted(all.size(), "package", "packages"), base::human_size(sum));
  for (std::size_t i = 0; i < std::min(all.size(), kPackages); ++i)
    out += size_row(
        "top", fmt::format("{} <span class=\"dim\">{}</span>", shown(all[i].name), shown(all[i].version)),
        all[i].size, all.front().size);
  if (all.size() > kPackages)
    out += fmt::format(
        "<li class=\"rest\"><span class=\"name\">{} more</span><span></span>"
        "<span class=\"n\">{}</span></li>\n",
        all.size() - kPackages, base::human_size(rest));
  return out + "</ul>\n</div>\n";
}

std::string sizes(const Page& page) {
  if (!page.sizes_recorded && page.packages.empty()) return {};
  std::string out = "<section id=\"sizes\">\n<h2>Sizes</h2>\n";
  if (!page.sizes_recorded)
    out += fmt::format(
        "<p class=\"sub\">{} installed. Their sizes were not recorded when this image was "
        "exported; they are when it is exported anew.</p>\n",
        counted(page.packages.size(), "package is", "packages are"));
  else
    out += "<div class=\"two\">\n" + paths(page) + packages(page) + "</div>\n";
  return out + "</section>\n";
}

// ---- what to do with it

std::string command(std::string_view what, const std::vector<std::string>& words) {
  return fmt::format("<div><dt>{}</dt><dd><pre>{}</pre></dd></div>\n", what,
                     shown(base::shell_line(words), kPassage));
}

std::string uses(const Page& page) {
  // What was refuted is not published.
  if (page.outcome == Page::Outcome::refuted || page.outcome == Page::Outcome::failed) return {};
  std::string out;
  for (const auto& image : page.images) {
    if (image.virtual_size == 0) continue;
    out += command("The checks again, on a throw-away copy", {"kiln", "boot", image.name});
    out += command("A shell of root in such a copy", {"kiln", "boot", image.name, "--shell"});
    std::vector<std::string> qemu = {"qemu-system-x86_64", "-accel", "kvm", "-accel", "tcg"};
    if (page.memory > 0) qemu.insert(qemu.end(), {"-m", fmt::format("{}M", page.memory >> 20U)});
    if (page.cpus > 0) qemu.insert(qemu.end(), {"-smp", fmt::format("{}", page.cpus)});
    std::string network = "user";
    for (const int port : page.ports)
      network += fmt::format(",hostfwd=tcp:127.0.0.1:{}-:{}", 10000 + port, port);
    qemu.insert(qemu.end(), {"-snapshot", "-nographic", "-drive",
                             fmt::format("file={},if=virtio", image.name), "-nic", network});
    const bool bios = page.proofs.empty() ||
                      std::any_of(page.proofs.begin(), page.proofs.end(),
                                  [](const auto& proof) { return proof.verdict.firmware == "bios"; });
    if (bios) out += command("Without kiln; nothing is written", qemu);
    out +=
        fmt::format("<div><dt>Is it the file of this report?</dt><dd><pre>{}</pre></dd></div>\n",
                    shown(fmt::format("echo '{}  {}' | sha256sum -c", image.sha256, image.name), kPassage));
  }
  if (out.empty()) return {};
  return "<section id=\"use\">\n<h2>Use it</h2>\n<p class=\"sub\">In the folder of this report:</p>\n<dl "
         "class=\"commands\">\n" +
         out + "</dl>\n</section>\n";
}

constexpr std::string_view kStyle = R"(
:root {
  --paper: #fcfbf9; --card: #ffffff; --ink: #1f1d1a; --dim: #6b665e; --line: #e4e0d9; --faint: #f3f0ea;
  --fire: #b3502a; --ash: #c9b7a8; --good: #2f7d4f; --bad: #b3261e; --unknown: #8a6a12;
  --good-back: #e5f2ea; --bad-back: #fbe6e3; --unknown-back: #f7eed4;
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "Segoe UI Mono", "Roboto Mono", Menlo, Consolas,
    "DejaVu Sans Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #171614; --card: #1e1d1a; --ink: #ebe7e0; --dim: #a19a8f; --line: #34312c; --faint: #24221f;
    --fire: #e0805a; --ash: #6f5f53; --good: #74c493; --bad: #f08a80; --unknown: #d9b450;
    --good-back: #1c3226; --bad-back: #43211e; --unknown-back: #3a3016;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", "DejaVu Sans",
    sans-serif;
  font-variant-numeric: tabular-nums;
}
main { max-width: 68rem; margin: 0 auto; padding: 2.5rem 1.5rem 5rem; }
h1, h2, h3, p, dl, dd, ol, ul, figure, pre { margin: 0; padding: 0; }
h1 { font-size: 2.1rem; line-height: 1.15; font-weight: 650; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; line-height: 1.3; font-weight: 650; letter-spacing: -0.01em; }
h3 { font-size: 1rem; font-weight: 650; margin-bottom: 0.1rem; }
pre + h3 { margin: 1.25rem 0 0.4rem; }
code, pre { font-family: var(--mono); font-size: 0.82em; }
small, .dim, .sub { color: var(--dim); }
section { margin-top: 3.25rem; scroll-margin-top: 1rem; }
.sub { margin: 0.15rem 0 0.9rem; max-width: 54rem; }
.n { text-align: right; white-space: nowrap; }

header .kiln { color: var(--fire); font-weight: 600; font-size: 0.85rem; letter-spacing: 0.02em; }
.title { display: flex; flex-wrap: wrap; align-items: center; gap: 0.4rem 1rem; margin-top: 0.25rem; }
.badge { padding: 0.15rem 0.75rem; border-radius: 1rem; font-weight: 650; font-size: 0.9rem; }
.badge.good { color: var(--good); background: var(--good-back); }
.badge.bad { color: var(--bad); background: var(--bad-back); }
.badge.unknown { color: var(--unknown); background: var(--unknown-back); }
.lead { font-size: 1.1rem; color: var(--dim); margin-top: 0.35rem; max-width: 46rem; }
.said { margin-top: 0.9rem; font-weight: 550; }
.facts {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: 0.9rem 2rem;
  margin-top: 1.25rem; padding-top: 1.25rem; border-top: 1px solid var(--line);
}
.facts .wide { grid-column: 1 / -1; }
dt { color: var(--dim); font-size: 0.8rem; }
dd { overflow-wrap: anywhere; }

.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: 0.75rem; margin-top: 1.75rem; }
.tile {
  display: block; padding: 0.8rem 1rem 0.85rem; border: 1px solid var(--line); border-radius: 0.6rem;
  background: var(--card); color: inherit; text-decoration: none;
}
.tile:hover { border-color: var(--fire); }
.tile:focus-visible, summary:focus-visible { outline: 2px solid var(--fire); outline-offset: 2px; }
.tile span, .tile small { display: block; font-size: 0.8rem; color: var(--dim); }
.tile b { display: block; font-size: 1.3rem; line-height: 1.35; font-weight: 650; letter-spacing: -0.01em; }

.legend { color: var(--dim); font-size: 0.8rem; margin-bottom: 0.9rem; }
.legend i { display: inline-block; width: 1.6rem; height: 0.65rem; border-radius: 2px; margin: 0 0.3rem 0 0; }
.legend i.reused { margin-left: 1rem; }
i.ran, .ran .track i { background: var(--fire); }
i.reused, .reused .track i {
  background: repeating-linear-gradient(135deg, var(--ash) 0 2px, transparent 2px 5px);
  box-shadow: inset 0 0 0 1px var(--ash);
}
.failed .track i { background: var(--bad); }
.timeline ol { list-style: none; }
.timeline li, .scale {
  display: grid; grid-template-columns: minmax(14rem, 24rem) minmax(0, 1fr) 5.5rem; column-gap: 1rem;
}
.timeline li { border-top: 1px solid var(--line); }
.timeline li:last-child { border-bottom: 1px solid var(--line); }
.who { padding: 0.5rem 0; min-width: 0; overflow-wrap: anywhere; line-height: 1.35; }
.who b { font-weight: 600; }
.who span { color: var(--dim); }
.who small { display: block; font-size: 0.8rem; }
.ran .who small { color: var(--fire); }
.failed .who small, .failed .took { color: var(--bad); }
.waiting { opacity: 0.6; }
.timeline .track {
  position: relative; min-height: 2.4rem;
  background: repeating-linear-gradient(90deg, var(--line) 0 1px, transparent 1px var(--step, 100%));
}
.timeline .track i {
  position: absolute; top: 50%; height: 1rem; margin-top: -0.5rem; min-width: 3px; border-radius: 2px;
}
.took { align-self: center; text-align: right; white-space: nowrap; }
.scale div { grid-column: 2; position: relative; height: 1.3rem; font-size: 0.75rem; color: var(--dim); }
.scale span { position: absolute; white-space: nowrap; padding-left: 1px; }
.scale span.left { transform: translateX(-100%); }

.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; font-weight: 500; font-size: 0.8rem; color: var(--dim); padding: 0 1rem 0.35rem 0; }
th.n { text-align: right; }
td { border-top: 1px solid var(--line); padding: 0.38rem 1rem 0.38rem 0; vertical-align: baseline; }
tbody tr:last-child td { border-bottom: 1px solid var(--line); }
th:last-child, td:last-child { padding-right: 0; }
td.name { overflow-wrap: anywhere; min-width: 11rem; }
td.name b { font-weight: 600; }
td.name small { display: block; font-size: 0.8rem; }
.checks td.name { width: 38%; }
td.seen { color: var(--dim); overflow-wrap: anywhere; white-space: pre-line; min-width: 11rem; }
td.fn { font-family: var(--mono); font-size: 0.82em; white-space: nowrap; }
td.mark { white-space: nowrap; font-size: 0.85rem; width: 6.2rem; }
td.mark::before {
  content: ""; display: inline-block; width: 0.55rem; height: 0.55rem; border-radius: 50%;
  margin-right: 0.45rem; background: currentColor;
}
td.good { color: var(--good); }
td.bad { color: var(--bad); font-weight: 650; }
td.unknown { color: var(--unknown); }
td.same { color: var(--dim); }
td.bar { width: 8rem; vertical-align: middle; }
td.bar i { display: block; height: 0.6rem; min-width: 1px; background: var(--ash); border-radius: 2px; }
td.took { width: 4.5rem; }
td.file { font-size: 0.87rem; overflow-wrap: break-word; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.5; }
pre.comment, pre.error, .console, .commands pre { border-radius: 0.5rem; padding: 0.7rem 0.9rem; }
pre.comment, pre.error { background: var(--bad-back); margin: 0.4rem 0; }
.console {
  display: flex; flex-direction: column-reverse; max-height: 24.3rem; overflow: auto; background: #16150f;
  color: #d8d4c8; border: 1px solid var(--line);
}
.console pre { font-size: 0.72rem; line-height: 1.45; }
.seen-outside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.25rem; margin-top: 1.5rem; align-items: start; }
figure { min-width: 0; }
figcaption { color: var(--dim); font-size: 0.8rem; margin-top: 0.4rem; }
img { display: block; max-width: 100%; height: auto; border-radius: 0.5rem; border: 1px solid var(--line); background: #000; }
details { margin-top: 0.75rem; }
summary { cursor: pointer; color: var(--dim); margin-bottom: 0.75rem; }

.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 2rem 3rem; margin-top: 0.9rem; }
.two > div { min-width: 0; }
.sizes { list-style: none; }
.sizes li {
  display: grid; grid-template-columns: minmax(0, 1fr) 6rem 4.5rem; column-gap: 0.75rem; align-items: center;
  padding: 0.2rem 0; border-top: 1px solid var(--line);
}
.sizes .name { white-space: nowrap; overflow: hidden; text-overflow: ellipsis; }
.sizes .track { height: 0.6rem; }
.sizes .track i { display: block; height: 100%; min-width: 1px; border-radius: 2px; background: var(--fire); }
.sizes .below { border-top: 0; }
.sizes .below .name { padding-left: 1.1rem; color: var(--dim); }
.sizes .below .track i { background: var(--ash); }
.sizes .below .n, .sizes .rest { color: var(--dim); }
.commands > div + div { margin-top: 0.9rem; }
.commands pre { background: var(--faint); margin-top: 0.25rem; }

@media screen and (max-width: 46rem) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.7rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .timeline li { grid-template-columns: minmax(0, 1fr) auto; padding-bottom: 0.55rem; }
  .timeline li .track { grid-row: 2; grid-column: 1 / -1; min-height: 1.1rem; }
  .took { align-self: start; padding-top: 0.5rem; }
  .scale { grid-template-columns: minmax(0, 1fr); }
  .scale div { grid-column: 1; }
  .checks thead, .states thead { display: none; }
  .checks tr, .states tr { display: flex; flex-wrap: wrap; gap: 0 0.75rem; padding: 0.5rem 0; border-top: 1px solid var(--line); }
  .checks tbody td, .states tbody td { border: 0; padding: 0; width: auto; min-width: 0; }
  .checks td.name, .checks td.seen, .states td.name { flex: 1 0 100%; }
  .states td.bar { display: none; }
  .checks td.n, .states td.took { margin-left: auto; order: 1; }
  .checks td.name, .checks td.seen, .states td.name { order: 2; }
  .states td.file, .states td.changes { order: 3; }
  .changes:empty { display: none; }
  .changes:not(:empty)::before { content: "changes: "; color: var(--dim); }
  .sizes li { grid-template-columns: minmax(0, 1fr) 4.5rem 4.3rem; }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --dim: #555; --line: #ccc; --faint: #f4f4f4; }
  html { font-size: 11px; }
  body { font-size: 0.95rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .scroll { overflow: visible; }
  main { max-width: none; padding: 0; }
  section { margin-top: 1.6rem; }
  h2, h3, .sub { break-after: avoid; }
  li, tr, figure, .tile { break-inside: avoid; }
  .console { max-height: none; background: #f4f4f4; color: #000; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
)";

}  // namespace

std::string html(const Page& page) {
  std::string out =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src &#39;none&#39;; "
      "style-src &#39;unsafe-inline&#39;; img-src data:; base-uri &#39;none&#39;; form-action "
      "&#39;none&#39;\"/>\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
      "<meta name=\"color-scheme\" content=\"light dark\"/>\n"
      "<link rel=\"icon\" href=\"data:,\"/>\n";
  out += fmt::format("<title>{}: {}</title>\n<style>{}</style>\n</head>\n<body>\n<main>\n",
                     shown(page.profile), verdict_word(page.outcome), kStyle);
  out += head(page) + tiles(page) + failures(page) + timeline(page) + proofs(page) + salt(page) +
         sizes(page) + uses(page);
  return out + "</main>\n</body>\n</html>\n";
}

}  // namespace kiln::engine
