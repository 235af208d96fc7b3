#include "engine/report.hpp"

#include <cctype>
#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <regex>
#include <string>
#include <vector>

namespace kiln::engine {
namespace {

using testing::HasSubstr;
using testing::Not;
using How = Page::Step::How;

proof::CheckResult check(const std::string& name, bool passed, const std::string& detail, bool ran = true) {
  proof::CheckResult result;
  result.kind = "unit";
  result.name = name;
  result.passed = passed;
  result.ran = ran;
  result.detail = detail;
  return result;
}

Page::State state(const std::string& id, double seconds, bool failed = false, std::size_t changes = 0) {
  Page::State made;
  made.id = id;
  made.function = "pkg.installed";
  made.seconds = seconds;
  made.failed = failed;
  made.changes = changes;
  return made;
}

// All there can be, with `said` wherever a word of the outside is shown.
Page full(const std::string& said) {
  Page page;
  page.profile = page.description = page.kiln = page.accel_why = said;
  page.accel = "tcg";
  page.outcome = Page::Outcome::refuted;
  page.when = 1'700'000'000;
  page.seconds = 61;
  page.images = {{said, said, 400U << 20U, 4ULL << 30U}};
  page.steps = {{said, said, said, How::ran, said, 20, 0, 5},
                {said, said, said, How::reused, "", 30, 1'600'000'000, 6},
                {said, said, said, How::failed, said, 1, 0, 0},
                {said, said, said, How::waiting, "", 0, 0, 0}};
  Page::Proof proof;
  proof.verdict.firmware = said;
  proof.verdict.seconds = 10;
  proof.verdict.checks = {check(said, true, said), check(said, false, said), check(said, false, said, false)};
  proof.verdict.checks[0].kind = said;
  proof.console = said + "\n" + said;
  proof.screen = "picture";
  page.proofs = {proof};
  Page::State bad{said, said, said, said, said, true, 2, 3};
  page.highstates = {{said, true, true, {bad}, {said}}, {said, false, false, {}, {}}};
  page.packages = {{said, said, 7000}};
  page.sizes_recorded = true;
  page.paths = {{said, 9000, {{said, 8000, {}}}}};
  page.memory = 1ULL << 30U;
  page.cpus = 2;
  page.ports = {22, 443};
  page.failures = {{said, said, said, "picture"}};
  return page;
}

// The first mistake of a text that ought to be well-formed XML, as far as tags go; "" when there is none.
std::string mistake_in(const std::string& text) {
  std::vector<std::string> open;
  for (std::size_t at = text.find('<'); at != std::string::npos; at = text.find('<', at + 1)) {
    if (text.compare(at, 2, "<!") == 0) continue;
    const auto end = text.find('>', at);
    if (end == std::string::npos) return "no end of " + text.substr(at, 40);
    const auto tag = text.substr(at + 1, end - at - 1);
    if (tag.find('<') != std::string::npos) return "a < inside " + tag;
    std::size_t length = tag.starts_with('/') ? 1 : 0;
    while (length < tag.size() && std::isalnum(static_cast<unsigned char>(tag[length])) != 0) ++length;
    if (tag.starts_with('/')) {
      if (open.empty() || open.back() != tag.substr(1)) return "nothing is closed by " + tag;
      open.pop_back();
    } else if (length == 0) {
      return "a tag without a name: " + tag;
    } else if (!tag.ends_with('/')) {
      open.push_back(tag.substr(0, length));
    }
  }
  return open.empty() ? "" : "open to the end: " + open.back();
}

std::vector<std::string> all_of(const std::string& text, const std::string& pattern) {
  const std::regex expression(pattern);
  std::vector<std::string> found;
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at)
    found.push_back(at->str(1));
  return found;
}

std::size_t place_of(const std::string& text, const std::string& what) {
  EXPECT_THAT(text, HasSubstr(what));
  return text.find(what);
}

TEST(Report, IsWellFormedAndShowsForeignTextAsText) {
  const std::string hostile = "<script>alert(\"1\")</script> ' & ]]> --> </style> \x1b[31m\xff <img src=x>";
  const auto text = html(full(hostile));
  EXPECT_EQ(mistake_in(text), "");
  EXPECT_THAT(text, Not(HasSubstr("<script")));
  EXPECT_THAT(text, Not(HasSubstr("<img src=x")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &#39; &amp; ]]&gt;"));
  EXPECT_EQ(all_of(text, "(</style>)").size(), 1U);
  EXPECT_EQ(mistake_in(html({})), "") << "a build of which nothing is known";
}

TEST(Report, LeadsNowhereOutside) {
  const auto text = html(full("https://example.org/"));
  for (const auto& address : all_of(text, R"re((?:src|href)="([^"]*)")re"))
    EXPECT_TRUE(address.starts_with("#") || address.starts_with("data:")) << address;
  EXPECT_THAT(text, Not(HasSubstr("url(")));
  EXPECT_THAT(text, Not(HasSubstr("@import")));
  EXPECT_THAT(text, HasSubstr("default-src &#39;none&#39;"));
}

TEST(Report, CutsWhatIsLongBetweenCharacters) {
  std::string word;
  for (int i = 0; i < 1000; ++i) word += "ä";
  Page page;
  page.profile = "a" + word;
  const auto text = html(page);
  EXPECT_THAT(text, Not(HasSubstr(word)));
  EXPECT_THAT(text, HasSubstr("ä…</h1>"));
  EXPECT_LT(html(full(std::string(1U << 20U, 'x'))).size(), 300'000U);
}

TEST(Report, TellsTheVerdict) {
  const auto said = [](Page::Outcome outcome) {
    auto page = full("demo");
    page.outcome = outcome;
    return html(page);
  };
  EXPECT_THAT(said(Page::Outcome::proven), HasSubstr("badge good\">Proven<"));
  EXPECT_THAT(said(Page::Outcome::refuted), HasSubstr("badge bad\">Not proven<"));
  EXPECT_THAT(said(Page::Outcome::refuted), HasSubstr("2 of 3 checks did not pass"));
  EXPECT_THAT(said(Page::Outcome::unproven), HasSubstr("badge unknown\">Unproven<"));
  EXPECT_THAT(said(Page::Outcome::failed), HasSubstr("badge bad\">Failed<"));
}

TEST(Report, TellsWhatWasReusedAndWhyTheRestWasNot) {
  Page page;
  page.steps = {{"base", "base_debian", "Compose", How::reused, "", 30, 1'600'000'000, 100U << 20U},
                {"salt", "salt_highstate", "Apply", How::ran, "input changed: tree: top.sls", 10, 0, 0}};
  const auto text = html(page);
  EXPECT_THAT(text, HasSubstr("What ran took 10 s; what was reused saved 30 s."));
  EXPECT_THAT(text, HasSubstr("reused, made 2020-09-13 12:26 UTC · 100 MiB"));
  EXPECT_THAT(text, HasSubstr("ran: input changed: tree: top.sls"));
  EXPECT_THAT(text, HasSubstr("left:75.000%;width:25.000%")) << "each begins where the one before ends";
}

TEST(Report, ShowsFailedStatesFirstWithTheirComment) {
  Page page;
  page.highstates.resize(1);
  auto& highstate = page.highstates[0];
  highstate.step = "salt";
  highstate.states = {state("quick", 0.5), state("slow", 50, false, 4), state("broken", 0.1, true)};
  highstate.states[2].comment = "the reason why";
  const auto text = html(page);
  EXPECT_LT(place_of(text, "<b>broken</b>"), place_of(text, "<b>slow</b>"));
  EXPECT_LT(place_of(text, "<b>slow</b>"), place_of(text, "<b>quick</b>"));
  EXPECT_THAT(text, HasSubstr("the reason why"));
  EXPECT_THAT(text, HasSubstr("<td class=\"n changes\">4</td>"));
  EXPECT_THAT(text, HasSubstr("1 changed, 1 failed"));
}

TEST(Report, FoldsAwayTheQuickStatesButNoFailedOne) {
  Page page;
  page.highstates.resize(1);
  for (int i = 0; i < 40; ++i) page.highstates[0].states.push_back(state(fmt::format("bad-{}", i), 1, true));
  for (int i = 0; i < 40; ++i) page.highstates[0].states.push_back(state(fmt::format("good-{}", i), 1));
  const auto text = html(page);
  const auto fold = place_of(text, "<summary>40 more");
  EXPECT_LT(place_of(text, "<b>bad-39</b>"), fold);
  EXPECT_GT(place_of(text, "<b>good-0</b>"), fold);
}

TEST(Report, ShowsChecksThatDidNotPassFirst) {
  Page page;
  Page::Proof proof;
  proof.verdict.checks = {check("fine.service", true, "active"), check("never.service", false, "", false),
                          check("dead.service", false, "inactive")};
  page.proofs = {proof};
  const auto text = html(page);
  EXPECT_LT(place_of(text, "dead.service"), place_of(text, "fine.service"));
  EXPECT_LT(place_of(text, "never.service"), place_of(text, "fine.service"));
  EXPECT_THAT(text, HasSubstr("did not run"));
}

TEST(Report, CarriesThePicture) {
  for (const auto& [bytes, coded] :
       {std::pair("Man", "TWFu"), {"Ma", "TWE="}, {"M", "TQ=="}, {"\xff\xfe", "//4="}}) {
    Page page;
    page.proofs.resize(1);
    page.proofs[0].screen = bytes;
    EXPECT_THAT(html(page), HasSubstr(fmt::format("data:image/png;base64,{}\"", coded)));
  }
}

TEST(Report, ShowsAConsoleAsATerminalWould) {
  Page page;
  page.proofs.resize(1);
  page.proofs[0].console =
      "gone\rfirst\r\n[ * ] waits (1s)\r\n\x1bM\r\x1b[K[  *] waits (2s)\r\n\x1b[32mOK\x1b[0m it is up\r\n";
  EXPECT_THAT(html(page), HasSubstr("<pre>first\n[  *] waits (2s)\nOK it is up\n</pre>"));
  std::string many;
  for (int i = 0; i < 300; ++i) many += fmt::format("line {}\n", i);
  page.proofs[0].console = many;
  EXPECT_THAT(html(page), HasSubstr("line 299\n"));
  EXPECT_THAT(html(page), Not(HasSubstr("line 199\n"))) << "its end is enough";
}

TEST(Report, SaysWhatWasNotRecorded) {
  Page page;
  page.highstates = {{"salt", false, true, {}, {}}};
  page.packages = {{"adduser", "3.134", 0}};
  const auto text = html(page);
  EXPECT_THAT(text, HasSubstr("salt: not recorded with its layer"));
  EXPECT_THAT(text, HasSubstr("sizes were not recorded"));
}

TEST(Report, ShowsTheBiggestPackagesAndPaths) {
  Page page;
  page.sizes_recorded = true;
  page.packages = {{"small", "1", 1024}, {"big", "2", 5U << 20U}};
  page.paths = {{"/usr", 9U << 20U, {{"/usr/lib", 8U << 20U, {}}}}};
  const auto text = html(page);
  EXPECT_LT(place_of(text, ">big <"), place_of(text, ">small <"));
  EXPECT_LT(place_of(text, ">/usr<"), place_of(text, ">/usr/lib<"));
  EXPECT_THAT(text, HasSubstr("8 MiB"));
}

TEST(Report, GivesCommandsThatCanBePasted) {
  auto page = full("demo");
  EXPECT_THAT(html(page), Not(HasSubstr("kiln boot"))) << "a refuted image is not there";
  page.outcome = Page::Outcome::proven;
  page.images[0].name = "a b.qcow2";
  page.ports = {22};
  EXPECT_THAT(html(page), HasSubstr("kiln boot &#39;a b.qcow2&#39; --shell"));
  page.proofs[0].verdict.firmware = "bios";
  EXPECT_THAT(html(page), HasSubstr("hostfwd=tcp:127.0.0.1:10022-:22"));
}

}  // namespace
}  // namespace kiln::engine
