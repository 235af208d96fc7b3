#include "env/check.hpp"

#include <filesystem>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "env/option.hpp"
#include "fakes/host.hpp"
#include "unit/env/sample.hpp"

namespace kiln::env {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class CheckTest : public testing::Test {
 protected:
  CheckTest() { world_.now = kNow; }
  std::vector<std::string> said(const std::string& text) {
    std::vector<std::string> result;
    for (const base::Error& error : check({text, "e.yml"}, world_.host())) {
      EXPECT_EQ(error.exit(), base::Exit::usage);
      result.emplace_back(error.what());
    }
    return result;
  }
  // Of a file with a domain and what else is below `appliance`.
  std::vector<std::string> appliance(const std::string& yaml) {
    return said("#cloud-config\nappliance:\n  domain: x.org\n" + yaml);
  }
  std::vector<std::string> ecs(const std::string& yaml) {
    return said("#cloud-config\nappliance: {domain: x.org}\necs:\n" + yaml);
  }
  std::vector<std::string> domain(const std::string& name) {
    return said("#cloud-config\nappliance: {domain: " + name + "}\n");
  }
  std::vector<std::string> file(const std::string& path) {
    return appliance("  extra: {files: [{path: " + path + "}]}\n");
  }
  fakes::World world_;
};

TEST_F(CheckTest, ARightFileHasNoMistake) {
  EXPECT_THAT(said(sample()), IsEmpty());
}

TEST_F(CheckTest, TheFallbackEnvironmentIsRight) {
  EXPECT_THAT(said(host::read_file(std::string(KILN_SOURCE_DIR) + "/overlays/ecs/pillar/default-env.sls")),
              IsEmpty());
}

TEST_F(CheckTest, TheFirstLineIsCloudInits) {
  EXPECT_THAT(said("appliance: {domain: x.org}\n"),
              ElementsAre(HasSubstr("e.yml:1:1: the first line has to be #cloud-config")));
  EXPECT_THAT(said("#cloud-config \r\nappliance: {domain: x.org}\n"), IsEmpty());
  EXPECT_THAT(said("#cloud-configs\nappliance: {domain: x.org}\n"), testing::SizeIs(1));
}

TEST_F(CheckTest, AllMistakesAreToldInTheOrderOfTheFile) {
  EXPECT_THAT(said("#cloud-config\ndisable_rot: true\nappliance:\n  standby: 1\n  domain: x_y\n  domain: "
                   "z\necs: [1]\nruncmd: anything\n"),
              ElementsAre("e.yml:2:1: unknown key 'disable_rot', did you mean 'disable_root'?",
                          "e.yml:4:12: appliance.standby: expected true or false, got a number",
                          HasSubstr("e.yml:5:11: appliance.domain: 'x_y' is no domain"),
                          HasSubstr("e.yml:6:3: key 'domain' is there twice"),
                          "e.yml:7:6: ecs: expected a mapping, got a list"));
}

TEST_F(CheckTest, AFileThatIsNoYamlSaysThatAlone) {
  EXPECT_THAT(said("#cloud-config\na: [1\n"), ElementsAre(HasSubstr("no valid YAML")));
  EXPECT_THAT(said("#cloud-config\n- a\n"), ElementsAre(HasSubstr("no mapping")));
}

TEST_F(CheckTest, TheDomainIsNeeded) {
  EXPECT_THAT(said("#cloud-config\n"), ElementsAre("e.yml: needs 'appliance'"));
  EXPECT_THAT(said(""), testing::SizeIs(2));
  EXPECT_THAT(said("#cloud-config\nappliance: {standby: true}\n"),
              ElementsAre("e.yml:2:12: appliance: needs 'domain'"));
  EXPECT_THAT(said("#cloud-config\nappliance:\n"), ElementsAre(HasSubstr("appliance: needs 'domain'")));
  EXPECT_THAT(said("#cloud-config\nappliance: {domain: }\n"),
              ElementsAre(HasSubstr("appliance: needs 'domain'")));
}

TEST_F(CheckTest, DomainsAreNamesOfTheDns) {
  for (const char* good : {"localhost", "ecs.example.org", "xn--mller-kva.at", "a-b.c", "3com.com", "X.ORG"})
    EXPECT_THAT(domain(good), IsEmpty()) << good;
  for (const char* bad :
       {"''", "a..b", ".a", "a.", "-a.b", "a-.b", "a_b.c", "a b", "a/b", "'a:80'", "10.0.0.1", "'*.a.b'"})
    EXPECT_THAT(domain(bad), ElementsAre(HasSubstr("is no domain"))) << bad;
  EXPECT_THAT(domain("müller.at"), ElementsAre(HasSubstr("write it as the DNS has it, with xn--")));
  EXPECT_THAT(domain(std::string(64, 'a') + ".at"), ElementsAre(HasSubstr("longer than 63")));
  EXPECT_THAT(domain(std::string(5000, 'a')), testing::SizeIs(1));
  EXPECT_THAT(domain("12345"), ElementsAre(HasSubstr("is a number to cloud-init and Salt")));
}

TEST_F(CheckTest, UnknownKeysGetAGuessOrAList) {
  EXPECT_THAT(appliance("  git: {brunch: x}\n"),
              ElementsAre("e.yml:4:9: appliance.git: unknown key 'brunch', did you mean 'branch'?"));
  EXPECT_THAT(appliance("  git: {zzz: x}\n"),
              ElementsAre("e.yml:4:9: appliance.git: unknown key 'zzz'; known are source, branch"));
  EXPECT_THAT(appliance("  ssl: {letsencrypt: {enable: true}}\n"),
              ElementsAre(HasSubstr("did you mean 'enabled'?")));
  EXPECT_THAT(said("#cloud-config\nappliance: {domain: x.org}\npackges: [x]\nwww: 1\n"),
              ElementsAre(HasSubstr("did you mean 'packages'?"),
                          HasSubstr("unknown key 'www'; known are ssh_authorized_keys,")));
}

TEST_F(CheckTest, WhatCloudInitAndSaltReadAsNoTextHasToBeQuoted) {
  EXPECT_THAT(
      ecs("  git: {commitid: 0123456}\n"),
      ElementsAre(
          "e.yml:4:19: ecs.git.commitid: is a number to cloud-init and Salt, not a text; put it in quotes"));
  EXPECT_THAT(ecs("  git: {branch: no}\n"), ElementsAre(HasSubstr("is true or false to cloud-init")));
  EXPECT_THAT(ecs("  git: {branch: 2020-01-01}\n"), ElementsAre(HasSubstr("is a date to cloud-init")));
  EXPECT_THAT(ecs("  git: {commitid: '0123456', branch: v1.2.3}\n"), IsEmpty());
}

TEST_F(CheckTest, TextsHaveTheirForm) {
  EXPECT_THAT(appliance("  git: {branch: '--upload-pack=x'}\n"),
              ElementsAre(HasSubstr("write letters, digits")));
  EXPECT_THAT(appliance("  backup: {url: somewhere}\n"),
              ElementsAre(HasSubstr("write an address with its scheme")));
  EXPECT_THAT(appliance("  extra: {packages: [vim, -o=x, 'a;b']}\n"), testing::SizeIs(2));
  EXPECT_THAT(appliance("  backup: {options: \"a\\nb\"}\n"), ElementsAre(HasSubstr("expected one line")));
  EXPECT_THAT(appliance("  backup: {options: \"a\\eb\"}\n"), ElementsAre(HasSubstr("control characters")));
  EXPECT_THAT(appliance("  allowed_hosts: ['*', .x.org]\n"), IsEmpty());
}

TEST_F(CheckTest, AByteOrderMarkIsCalledOne) {
  EXPECT_THAT(said("\xef\xbb\xbf#cloud-config\nappliance: {domain: x.org}\n"),
              ElementsAre(HasSubstr("begins with a byte order mark")));
}

TEST_F(CheckTest, SshKeysArePublicOnes) {
  const auto key = [&](const std::string& text) {
    return said("#cloud-config\nappliance: {domain: x.org}\nssh_authorized_keys: [" + text + "]\n");
  };
  const std::string rsa =
      "AAAAB3NzaC1yc2EAAAADAQABAAAAQQAluboPRa5awHFR+rMXmkqFC/1I8tYOAVUfxT+Ci7gFmD8/"
      "WGRsDMHlZzXGrFas3ay6uBkBfnPK7nywX8mkEOXs";
  EXPECT_THAT(key("'from=\"10.*\" ssh-rsa " + rsa + " me'"), IsEmpty());
  EXPECT_THAT(key("ecdsa-sha2-nistp256 "
                  "AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBCW5ug9FrlrAcVH6sxeaSoUL"
                  "/Ujy1g4BVR/FP4KLuAWYPz9YZGwMweVnNcasVqzdrLq4GQF+c8rufLBfyaQQ5ew="),
              IsEmpty());
  // Cut short, one kind called by another's name, or nothing of a key: sshd passes over each without a word.
  for (const std::string& bad :
       {rsa.substr(0, 60), "AAAB" + rsa.substr(4), std::string("AAAA"), std::string("===="), rsa + "AAAA"})
    EXPECT_THAT(key("ssh-rsa " + bad + " me"), ElementsAre(HasSubstr("or not all of one"))) << bad;
  EXPECT_THAT(key("ssh-ed25519 " + rsa), ElementsAre(HasSubstr("is no public key of ssh")));
  EXPECT_THAT(key("ssh-rsa"), ElementsAre(HasSubstr("is no public key of ssh")));
  EXPECT_THAT(key("AAAAB3Nz"), ElementsAre(HasSubstr("is no public key of ssh")));
  EXPECT_THAT(key("\"ssh-rsa AAAAB3Nz\\nssh-rsa AAAAB3Nz\""),
              ElementsAre(HasSubstr("is no public key of ssh")));
  EXPECT_THAT(key("'-----BEGIN OPENSSH PRIVATE KEY-----'"), ElementsAre(HasSubstr("is a private key")));
}

TEST_F(CheckTest, UnsafePathsAreRefused) {
  for (const char* good : {"/etc/motd", "/app/etc/hooks/prepare-ecs.early/x.sh", "/runner", "/etc/.x@y"})
    EXPECT_THAT(file(good), IsEmpty()) << good;
  for (const char* bad : {"etc/motd", "../etc", "/etc/../shadow", "/etc/./x", "/etc//x", "/etc/", "/", "''",
                          "/proc/sys/x", "/sys/x", "/dev/sda", "/run/active-env.yml", "/tmp/x",
                          "'/etc/{{ x }}'", "'/a b'", "'/a:b'", "\"/a\\\\b\"", "'/a$b'", "'~/x'"})
    EXPECT_THAT(file(bad), ElementsAre(HasSubstr("is unsafe"))) << bad;
  EXPECT_THAT(file("\"/a\\nb\""), testing::Contains(HasSubstr("is unsafe")));
  EXPECT_THAT(file("/größe"), ElementsAre(HasSubstr("not ASCII")));
  EXPECT_THAT(file("/a}, {path: /a"), ElementsAre(HasSubstr("another entry writes the same file")));
  EXPECT_THAT(file("/" + std::string(100'000, 'a')), testing::SizeIs(1));
}

TEST_F(CheckTest, EntriesOfFilesHaveTheirKeys) {
  EXPECT_THAT(
      appliance(
          "  extra: {files: [x, {content: y}, {path: /a, contnt: z}, {path: /b, permissions: 0600}]}\n"),
      ElementsAre(
          HasSubstr("expected a mapping, got a text"), HasSubstr("needs 'path'"),
          HasSubstr("unknown key 'contnt', did you mean 'content'?"),
          HasSubstr("permissions: is a number to cloud-init and Salt, not a text; put it in quotes")));
  EXPECT_THAT(
      appliance(
          "  extra: {files: [{path: /a, content: x, contents: y, permissions: '0999', owner: 'a b'}]}\n"),
      testing::SizeIs(3));
}

TEST_F(CheckTest, TheKeyBelongsToTheCertificate) {
  const std::string key = "    key: " + block(key_file("tls.key"), 6);
  const std::string cert = "    cert: " + block(key_file("tls.crt"), 6);
  EXPECT_THAT(appliance("  ssl:\n" + key + cert), IsEmpty());
  EXPECT_THAT(appliance("  ssl:\n    key: " + block(PrivateKey::make_rsa(2048).pem(), 6) + cert),
              ElementsAre(HasSubstr("e.yml:5:10: appliance.ssl.key: does not belong to appliance.ssl.cert")));
  EXPECT_THAT(appliance("  ssl:\n" + key), ElementsAre(HasSubstr("needs appliance.ssl.cert")));
  EXPECT_THAT(appliance("  ssl:\n" + key + "    cert: x\n"),
              ElementsAre(HasSubstr("appliance.ssl.cert: is no certificate in PEM")));
  EXPECT_THAT(appliance("  ssl:\n" + cert), ElementsAre(HasSubstr("needs appliance.ssl.key")));
  EXPECT_THAT(appliance("  ssl:\n    key: x\n" + cert),
              ElementsAre(HasSubstr("appliance.ssl.key: is no private key")));
  std::string chain = key_file("tls.crt");
  chain += chain.substr(0, 600) + "\n-----END CERTIFICATE-----\n";
  EXPECT_THAT(appliance("  ssl:\n" + key + "    cert: " + block(chain, 6)),
              ElementsAre(HasSubstr("behind the first one is broken")));
}

TEST_F(CheckTest, CertificatesHaveTheirTime) {
  const std::string ssl =
      "  ssl:\n    key: " + block(key_file("tls.key"), 6) + "    cert: " + block(key_file("tls.crt"), 6);
  world_.now = 1'700'000'000;
  EXPECT_THAT(appliance(ssl), ElementsAre(HasSubstr("appliance.ssl.cert: is not valid before 2026-11-26")));
  world_.now = 1'900'000'000;
  EXPECT_THAT(appliance(ssl), ElementsAre(HasSubstr("appliance.ssl.cert: has expired, on 2027-12-31")));
}

TEST_F(CheckTest, DkimKeysAreRsaInPem) {
  const auto dkim = [&](const std::string& key) { return appliance("  dkim:\n    key: " + block(key, 6)); };
  const std::string whole = PrivateKey::make_rsa(2048).pem();
  EXPECT_THAT(dkim(whole), IsEmpty());
  EXPECT_THAT(dkim(whole.substr(0, 800)),
              ElementsAre(HasSubstr("appliance.dkim.key: is no private key in PEM")));
  std::string broken = whole;
  broken.erase(200, 70);
  EXPECT_THAT(dkim(broken), ElementsAre(HasSubstr("appliance.dkim.key: is no private key in PEM")));
  EXPECT_THAT(dkim(PrivateKey::make_rsa(512).pem()), ElementsAre(HasSubstr("RSA key of 512 bits")));
  EXPECT_THAT(dkim("-----BEGIN PRIVATE "
                   "KEY-----\nMC4CAQAwBQYDK2VwBCIEIHBcBzP5U9FWkSm/gq6HMrVLOBWqkYBVTLTRLrbZK7Oc\n-----END "
                   "PRIVATE KEY-----"),
              ElementsAre(HasSubstr("is no RSA key")));
  EXPECT_THAT(dkim("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: "
                   "AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END RSA PRIVATE KEY-----"),
              ElementsAre(HasSubstr("is encrypted, and no one is there to type its passphrase")));
}

TEST_F(CheckTest, OpenPgpKeysAreWholeInForceAndOfUse) {
  const auto backup = [&](const std::string& key) {
    return appliance("  backup:\n    encrypt: " + block(key, 6));
  };
  const auto sign = [&](const std::string& key) { return ecs("  vault_sign: " + block(key, 4)); };
  EXPECT_THAT(backup(key_file("secret.asc")), IsEmpty());
  EXPECT_THAT(backup(key_file("public.asc")), IsEmpty());
  EXPECT_THAT(sign(key_file("secret.asc")), IsEmpty());
  for (const auto& use : {std::function(backup), std::function(sign)})
    EXPECT_THAT(use(key_file("locked.asc")), ElementsAre(HasSubstr("is an OpenPGP key with a passphrase")));
  EXPECT_THAT(sign(key_file("public.asc")),
              ElementsAre(HasSubstr("ecs.vault_sign: is a public key, which cannot sign")));
  EXPECT_THAT(backup(key_file("signing.asc")),
              ElementsAre(HasSubstr("appliance.backup.encrypt: is an OpenPGP key that cannot encrypt")));
  EXPECT_THAT(backup(key_file("revoked.asc")), ElementsAre(HasSubstr("is a revoked OpenPGP key")));
  EXPECT_THAT(backup(key_file("expired.asc")),
              ElementsAre(HasSubstr("is an OpenPGP key that has expired, on 2020-12-31")));
  EXPECT_THAT(backup("hello"), ElementsAre(HasSubstr("is no armored OpenPGP key")));
  std::string broken = key_file("secret.asc");
  broken.erase(120, 65);
  EXPECT_THAT(backup(broken), ElementsAre(HasSubstr("is a broken OpenPGP key")));
  EXPECT_THAT(backup(key_file("secret.asc") + key_file("public.asc")), testing::SizeIs(1));
  EXPECT_THAT(backup(key_file("secret.asc") + broken), ElementsAre(HasSubstr("is a broken OpenPGP key")));
}

TEST_F(CheckTest, NothingOfGnuPgStaysBehind) {
  const std::string ours = "kiln-gpg-" + std::to_string(::getpid()) + "-";
  const auto homes = [&] {
    int count = 0;
    for (const char* place : {"/dev/shm", "/tmp"})
      for (const auto& entry : std::filesystem::directory_iterator(place))
        count += entry.path().filename().string().starts_with(ours) ? 1 : 0;
    return count;
  };
  EXPECT_THAT(said(sample()), IsEmpty());
  EXPECT_EQ(homes(), 0);
}

TEST_F(CheckTest, NonAsciiIsRefusedWhereSaltFails) {
  EXPECT_THAT(
      appliance("  backup: {options: größe}\n"),
      ElementsAre(
          "e.yml:4:21: appliance.backup.options: has characters that are not ASCII, at which Salt fails"));
  EXPECT_THAT(appliance("  storage: {setup: {größe: [1, ä]}}\n"), testing::SizeIs(2));
  EXPECT_THAT(appliance("  extra: {states: ü, files: [{path: /a, content: ü}]}\n"),
              ElementsAre(HasSubstr("appliance.extra.states")));
  EXPECT_THAT(ecs("  settings: ü\n"), IsEmpty());
  EXPECT_THAT(said("#cloud-config\n# größe\nappliance: {domain: x.org}\nruncmd: [ü]\n"), IsEmpty());
}

// Whatever is wrong with a value, it is not told. A domain and a path are: they are no secrets.
TEST_F(CheckTest, NoErrorTellsASecret) {
  for (const Option& option : options()) {
    if (option.type == Type::domain || option.type == Type::anything) continue;
    for (const char* wrong :
         {"canary", "[canary, [canary]]", "{path: {canary: 1}}", "987654321", "\"canary\\e\"", "cänary",
          "'canary", "\"-----BEGIN PRIVATE KEY-----\\ncanary\"", "\"canary\\ncanary\"", "987654321.5",
          "\"-----BEGIN PGP PRIVATE KEY BLOCK-----\\ncanary\\n-----END PGP PRIVATE KEY BLOCK-----\""}) {
      std::string yaml = "#cloud-config\n";
      std::string indent;
      for (const std::string& key : base::split(option.path, '.')) {
        yaml += indent + key + ":\n";
        indent += ' ';
      }
      for (const std::string& what : said(yaml + indent + wrong + "\n"))
        EXPECT_THAT(what, AllOf(Not(HasSubstr("canary")), Not(HasSubstr("987654321"))))
            << option.path << wrong;
    }
  }
}

TEST_F(CheckTest, WithoutGpgKeysCannotBeLookedAt) {
  EXPECT_THAT(appliance("  backup: {encrypt: nothing}\n"), testing::SizeIs(1))
      << "what is no key needs no gpg";
}

TEST(OptionTest, EveryOptionIsFoundByItsPathAndListedBelowItsMapping) {
  for (const Option& option : options()) {
    EXPECT_EQ(find_option(option.path), &option);
    const std::size_t dot = option.path.rfind('.');
    const auto keys = keys_below(dot == std::string_view::npos ? "" : option.path.substr(0, dot));
    EXPECT_THAT(keys, testing::Contains(option.path.substr(dot == std::string_view::npos ? 0 : dot + 1)));
    EXPECT_THAT(std::string(option.doc), testing::EndsWith("."));
  }
  EXPECT_EQ(find_option("appliance"), nullptr);
  EXPECT_THAT(keys_below("appliance.storage"), ElementsAre("setup", "ignore"));
}

}  // namespace
}  // namespace kiln::env
