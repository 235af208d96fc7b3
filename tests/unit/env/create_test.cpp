#include "env/create.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/text.hpp"
#include "env/check.hpp"
#include "env/openpgp.hpp"
#include "env/pem.hpp"
#include "env/template.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

namespace kiln::env {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class CreateTest : public testing::Test {
 protected:
  CreateTest() { wishes_.target = tree_ / "env.yml"; }
  yaml::Node made() {
    std::vector<base::Error> errors;
    yaml::Node root = parse(read_source(wishes_.target), errors);
    EXPECT_THAT(errors, IsEmpty());
    return root;
  }
  std::string text() { return host::read_file(wishes_.target); }
  std::string failure() {
    try {
      create(wishes_, world_.host());
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  static std::string value(const yaml::Node& root, const std::string& path) {
    yaml::Node node = root;
    for (const std::string& key : base::split(path, '.')) node = node.find(key).value_or(yaml::Node());
    return node.scalar();
  }
  // The strings of the DKIM record as one.
  static std::string published_key(const std::vector<DnsRecord>& records) {
    std::string text;
    for (const std::string& part : base::split(records.at(4).value, '"'))
      if (part != " ") text += part;
    return text;
  }
  fakes::World world_;
  fakes::TempTree tree_;
  Wishes wishes_ = {.domain = "ecs.example.org", .target = {}, .form = {}, .extra = {}};
};

TEST_F(CreateTest, WhatItMakesIsRightAndItsOwnersAlone) {
  create(wishes_, world_.host());
  const auto source = read_source(wishes_.target);
  for (const auto& error : check(source, world_.host())) ADD_FAILURE() << error.what();
  struct stat status{};
  ASSERT_EQ(::stat(wishes_.target.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 1) << "something was left beside it";
}

TEST_F(CreateTest, SecretsAreThoseOfTheSpecification) {
  const auto records = create(wishes_, world_.host());
  const yaml::Node root = made();
  EXPECT_EQ(value(root, "appliance.domain"), "ecs.example.org");
  const PrivateKey dkim = PrivateKey::parse(value(root, "appliance.dkim.key"));
  EXPECT_TRUE(dkim.is_rsa());
  EXPECT_EQ(dkim.bits(), 2048);
  OpenPgp openpgp(world_.host());
  for (const char* path : {"appliance.backup.encrypt", "ecs.vault_encrypt", "ecs.vault_sign"}) {
    const auto keys = openpgp.keys_in(value(root, path));
    ASSERT_EQ(keys.size(), 1U) << path;
    EXPECT_TRUE(keys[0].secret && keys[0].can_encrypt && keys[0].can_sign) << path;
    EXPECT_EQ(keys[0].expires, 0) << path;
  }
  const std::string settings = value(root, "ecs.settings");
  for (const char* name : {"SECRET_KEY", "REGISTRATION_SECRET", "PASSWORD_RESET_SECRET"})
    EXPECT_THAT(settings, testing::ContainsRegex(std::string(name) + " = '[A-Za-z0-9+/]{52}'\n")) << name;
  EXPECT_EQ(published_key(records), "v=DKIM1; k=rsa; p=" + dkim.public_base64());
  for (const std::string& line : base::lines(zone_text(records)))
    EXPECT_THAT(text(), HasSubstr("#   " + line + "\n"));
}

TEST_F(CreateTest, EachHasSecretsOfItsOwn) {
  create(wishes_, world_.host());
  const yaml::Node one = made();
  wishes_.target = tree_ / "other.yml";
  create(wishes_, world_.host());
  const yaml::Node other = made();
  for (const char* path : {"appliance.dkim.key", "appliance.backup.encrypt", "ecs.vault_encrypt",
                           "ecs.vault_sign", "ecs.settings"})
    EXPECT_NE(value(one, path), value(other, path)) << path;
  EXPECT_NE(value(one, "ecs.vault_encrypt"), value(one, "ecs.vault_sign"));
}

TEST_F(CreateTest, AnExistingTargetIsKeptUnlessForced) {
  tree_.file("env.yml", "old");
  EXPECT_THAT(failure(), HasSubstr("env.yml: is there already"));
  EXPECT_EQ(text(), "old");
  wishes_.force = true;
  EXPECT_EQ(failure(), "");
  EXPECT_THAT(text(), HasSubstr("#cloud-config\n"));
  wishes_.force = false;
  wishes_.target = tree_.link("link", "nowhere");
  EXPECT_THAT(failure(), HasSubstr("is there already"));
}

TEST_F(CreateTest, WhatIsNoDomainIsRefused) {
  for (const char* bad : {"", "a b", "x'y", "a\nb", "{{dns}}"}) {
    wishes_.domain = bad;
    EXPECT_THAT(failure(), HasSubstr("is no domain")) << bad;
    EXPECT_FALSE(fs::exists(wishes_.target));
  }
}

TEST_F(CreateTest, ExtraValuesGoIntoThoseOfTheTemplate) {
  wishes_.extra = tree_.file("extra.yml",
                             "timezone: Europe/Vienna\nssh_authorized_keys: [ssh-ed25519 "
                             "AAAAC3NzaC1lZDI1NTE5AAAAIM3+mtWLRiJtY+syLazTX096w4CWGAyHJYwULkvKmjz1 me]\n"
                             "appliance:\n  ssl: {letsencrypt: {enabled: false}}\n  git: {branch: '0123'}\n");
  create(wishes_, world_.host());
  const yaml::Node root = made();
  EXPECT_THAT(check(read_source(wishes_.target), world_.host()), IsEmpty());
  EXPECT_EQ(value(root, "timezone"), "Europe/Vienna");
  EXPECT_EQ(value(root, "appliance.ssl.letsencrypt.enabled"), "false");
  EXPECT_EQ(value(root, "appliance.ssl.client_certs_mandatory"), "false");
  EXPECT_EQ(value(root, "appliance.git.branch"), "0123");
  EXPECT_EQ(root.find("ssh_authorized_keys")->size(), 1U);
  EXPECT_THAT(text(), HasSubstr("#   _dmarc.ecs.example.org."));
  EXPECT_EQ(text().rfind("#cloud-config\n", 0), 0U);
}

TEST_F(CreateTest, WhatHasMistakesIsNotWritten) {
  wishes_.extra = tree_.file("extra.yml", "appliance: {standby: maybe}\n");
  EXPECT_THAT(failure(), HasSubstr("extra.yml:1:22: appliance.standby: expected true or false"));
  wishes_.extra =
      tree_.file("extra.yml", "timezone: UTC\nappliance:\n  domian: x\nssh_authorized_keys: [a, b]\n");
  EXPECT_THAT(failure(), testing::AllOf(HasSubstr("extra.yml:3:3: appliance: unknown key 'domian'"),
                                        HasSubstr("extra.yml:4:23: ssh_authorized_keys: is no public key"),
                                        HasSubstr("extra.yml:4:26: ssh_authorized_keys: is no public key")));
  wishes_.extra = tree_.file("extra.yml", "a: [\n");
  EXPECT_THAT(failure(), HasSubstr("extra.yml:"));
  wishes_.extra.clear();
  wishes_.form = tree_.file("form", "#cloud-config\nappliance: {domian: '{{domain}}'}\n");
  EXPECT_THAT(failure(),
              HasSubstr("form, filled in:2:13: appliance: unknown key 'domian', did you mean 'domain'?"));
  EXPECT_FALSE(fs::exists(wishes_.target));
}

TEST_F(CreateTest, RecordsAreThoseOfTheKeyThatIsInTheFile) {
  const PrivateKey own = PrivateKey::make_rsa(2048);
  std::string indented;
  for (const std::string& line : base::lines(own.pem())) indented += "      " + line + "\n";
  wishes_.extra = tree_.file("extra.yml", "appliance:\n  dkim:\n    key: |\n" + indented);
  const auto records = create(wishes_, world_.host());
  EXPECT_EQ(base::words(value(made(), "appliance.dkim.key")), base::words(own.pem()));
  EXPECT_EQ(published_key(records), "v=DKIM1; k=rsa; p=" + own.public_base64());
  for (const std::string& line : base::lines(zone_text(records)))
    EXPECT_THAT(text(), HasSubstr("#   " + line + "\n"));
  wishes_.force = true;
  wishes_.extra = tree_.file("extra.yml", "appliance: {dkim: null}\n");
  for (const DnsRecord& record : create(wishes_, world_.host()))
    EXPECT_THAT(record.name, testing::Not(HasSubstr("_domainkey")));
  EXPECT_THAT(text(), testing::Not(HasSubstr("_domainkey")));
}

TEST_F(CreateTest, ExtraTakesNeitherDomainNorSecretsAwayWithoutAWord) {
  wishes_.extra = tree_.file("extra.yml", "appliance: {domain: other.example.org}\n");
  EXPECT_THAT(failure(),
              HasSubstr("extra.yml:1:21: appliance.domain: 'other.example.org' is not the domain"));
  wishes_.extra = tree_.file("extra.yml", "ecs: {settings: \"LANGUAGE_CODE = 'de'\\nSECRET_KEY = 'x'\"}\n");
  EXPECT_THAT(failure(), testing::AllOf(HasSubstr("extra.yml:1:17: ecs.settings: takes the place"),
                                        HasSubstr("has no REGISTRATION_SECRET, PASSWORD_RESET_SECRET;")));
  EXPECT_FALSE(fs::exists(wishes_.target));
}

TEST_F(CreateTest, ATemplateOfOnesOwnGetsTheValues) {
  wishes_.form = tree_.file("form",
                            "#cloud-config\nappliance:\n  domain: {{domain}}\n  dkim:\n    key: "
                            "|\n{{#indent6}}{{dkim_key}}{{/indent6}}\n");
  create(wishes_, world_.host());
  EXPECT_NO_THROW(PrivateKey::parse(value(made(), "appliance.dkim.key")));
}

// ---- templates

std::string rendered(const std::string& text) {
  return render_template(text, "t", {{"one", "a&b<c>\"'"}, {"key", "x\n\ny\n"}});
}

TEST(TemplateTest, ValuesStandAsTheyAre) {
  EXPECT_EQ(rendered("{{one}} {{{one}}} {{&one}}"), "a&b<c>\"' a&b<c>\"' a&b<c>\"'");
}

TEST(TemplateTest, LinesAreIndentedAndEmptyOnesStayEmpty) {
  EXPECT_EQ(rendered("k: |\n{{#indent4}}{{key}}{{/indent4}}\nend"), "k: |\n    x\n\n    y\nend");
}

TEST(TemplateTest, WhatItDoesNotKnowIsAnError) {
  const auto failure = [](const std::string& text) -> std::string {
    try {
      rendered(text);
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(failure("a\n  {{kee}}"),
            "t:2:3: unknown variable 'kee', did you mean 'key'?; known are key, one");
  EXPECT_THAT(failure("{{{ zzz }}}"), HasSubstr("unknown variable 'zzz'"));
  EXPECT_THAT(failure("{{#indent4}}x"), HasSubstr("no valid template"));
  EXPECT_THAT(failure("{{key"), HasSubstr("no valid template"));
  // Mustache makes something empty of all of these.
  for (const char* tag :
       {"#indnet4", "#indent25", "#indent04", "#indent", "#key", "^key", "> key", "=<% %>="})
    EXPECT_THAT(failure(std::string("\n a {{") + tag + "}}{{key}}{{/key}}"), HasSubstr("t:2:4: unknown "))
        << tag;
  EXPECT_THAT(failure("{{! a\n\n}} {{ & kye }}"), HasSubstr("t:3:4: unknown "));
  EXPECT_THAT(failure("{{" + std::string(200'000, 'x') + "}}"), HasSubstr("unknown variable"));
  EXPECT_EQ(rendered("{{!no}}{{ one }}{{{one}}}{{&one}}"), "a&b<c>\"'a&b<c>\"'a&b<c>\"'");
}

TEST(TemplateTest, AValueIsNoTemplate) {
  EXPECT_EQ(render_template("{{a}}", "t", {{"a", "{{b}}"}, {"b", "secret"}}), "{{b}}");
}

// ---- DNS

TEST(DomainTest, RecordsAreThoseOfTheSpecification) {
  const auto records = dns_records("x.org", std::string(400, 'k'));
  std::vector<std::string> shown;
  shown.reserve(records.size());
  for (const auto& [name, type, value] : records) shown.push_back(fmt::format("{} {} {}", name, type, value));
  EXPECT_THAT(shown, ElementsAre("x.org. A 192.0.2.1", "x.org. MX 10 x.org.", "x.org. TXT \"v=spf1 mx -all\"",
                                 "_dmarc.x.org. TXT \"v=DMARC1; p=quarantine; rua=mailto:postmaster@x.org\"",
                                 "default._domainkey.x.org. TXT \"v=DKIM1; k=rsa; p=" +
                                     std::string(232, 'k') + "\" \"" + std::string(168, 'k') + "\"",
                                 "1.2.0.192.in-addr.arpa. PTR x.org."));
}

TEST(PemTest, RandomSecretsAreOfTheirSize) {
  EXPECT_EQ(random_base64(39).size(), 52U);
  EXPECT_NE(random_base64(39), random_base64(39));
  EXPECT_EQ(random_base64(1).size(), 4U);
}

}  // namespace
}  // namespace kiln::env
