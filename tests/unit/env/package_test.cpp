#include "env/package.hpp"

#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <sys/stat.h>
#include <utility>

#include "base/scope_exit.hpp"
#include "env/pdf.hpp"
#include "env/pgp_key.hpp"
#include "env/qr.hpp"
#include "env/recover.hpp"
#include "env/render.hpp"
#include "fakes/host.hpp"
#include "fakes/mail_server.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "noise.hpp"
#include "paper.hpp"
#include "sample.hpp"

namespace kiln::env {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class PackageTest : public testing::Test {
 protected:
  PackageTest() {
    host_.now = [] { return kNow; };
    host_.env = [this](const std::string& name) -> std::optional<std::string> {
      if (name == "GNUPGHOME") return keyring_.string();
      if (name == "KILN_ENV_FONTS" && !fonts_.empty()) return fonts_.string();
      return std::nullopt;
    };
  }
  fs::path write(const std::string& text) { return tree_.file("env.yml", text, 0600); }
  std::string made(const std::string& name) { return host::read_file(tree_ / name); }
  std::string failure(const std::function<void()>& what) {
    try {
      what();
    } catch (const base::Error& error) {
      return error.what();
    }
    return "";
  }
  std::vector<Picture> pages() {
    const PageRange range = code_pages(codes_of(made("env.yml")).size());
    return render(made("env.yml.pdf"), range.first, range.last, 150, host_);
  }
  std::string gpg(std::vector<std::string> words) {
    host::Command command = {"gpg", "--homedir", keyring_.string(), "--batch", "--quiet"};
    command.argv.insert(command.argv.end(), words.begin(), words.end());
    return host::require(*host_.runner, command).out;
  }
  // Of a key of keys/, by GnuPG.
  std::string public_half(const std::string& name) {
    const fakes::TempTree home;
    const fs::path before = std::exchange(keyring_, home.path());
    fs::permissions(keyring_, fs::perms::owner_all);
    const base::ScopeExit end([&] {
      host_.runner->run({"gpgconf", "--homedir", keyring_.string(), "--kill", "all"});
      keyring_ = before;
    });
    gpg({"--import", tree_.file("half", key_file(name), 0600)});
    return gpg({"--armor", "--export"});
  }
  host::Host host_ = host::Host::system();
  fakes::TempTree tree_;
  fs::path keyring_ = tree_ / "no-keyring";
  fs::path fonts_;
};

TEST_F(PackageTest, WritesItsFilesForTheOwnerAloneAndTheSameAgain) {
  const fs::path file = write(sample());
  EXPECT_EQ(package(file, host_).files.size(), 2U);
  for (const char* name : {"env.yml.pdf", "env-cidata.iso"}) {
    struct stat status{};
    ASSERT_EQ(::stat((tree_ / name).c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777U, 0600U) << name;
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 3) << "something was left beside it";
  const std::string pdf = made("env.yml.pdf");
  const std::string iso = made("env-cidata.iso");
  package(file, host_);
  EXPECT_EQ(made("env.yml.pdf"), pdf);
  EXPECT_EQ(made("env-cidata.iso"), iso);
}

TEST_F(PackageTest, FontsMayLieElsewhere) {
  const fs::path file = write(sample());
  const fakes::TempTree elsewhere;
  fonts_ = elsewhere.path();
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr((fonts_ / "DejaVuSans.ttf").string()));
  for (const char* font : {"DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"})
    fs::copy_file(fs::path("/usr/share/fonts/truetype/dejavu") / font, fonts_ / font);
  EXPECT_EQ(package(file, host_).files.size(), 2U);
}

TEST_F(PackageTest, TheSeedDiskIsOneOfCloudInit) {
  package(write(sample()), host_);
  std::map<std::string, std::string> files;
  host::read_archive(tree_ / "env-cidata.iso",
                     [&](const host::Member& member, const auto& read) { files[member.path] = read(); });
  EXPECT_EQ(files["user-data"], sample());
  EXPECT_EQ(files["meta-data"], "instance-id: ecs.example.org\nlocal-hostname: ecs.example.org\n");
  EXPECT_EQ(files["env.yml.pdf"], made("env.yml.pdf"));
  EXPECT_EQ(made("env-cidata.iso").substr(0x8028, 7), "cidata ");
  tree_.file("meta-data.custom", "instance-id: mine\n");
  package(tree_ / "env.yml", host_);
  host::read_archive(tree_ / "env-cidata.iso",
                     [&](const host::Member& member, const auto& read) { files[member.path] = read(); });
  EXPECT_EQ(files["meta-data"], "instance-id: mine\n");
}

TEST_F(PackageTest, MetaDataThatCloudInitWouldPassOverIsRefused) {
  const fs::path file = write(sample());
  tree_.file("meta-data.custom", "x: [\n");
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("meta-data.custom:2:1: "));
  tree_.file("meta-data.custom", "hostname: h\n");
  EXPECT_THAT(failure([&] { packable(file, host_); }), HasSubstr("meta-data.custom: has no instance-id"));
  EXPECT_FALSE(fs::exists(tree_ / "env-cidata.iso"));
}

TEST_F(PackageTest, TheSeedDiskOfAnotherEnvironmentIsNotReplaced) {
  package(write(sample()), host_);
  const std::string iso = made("env-cidata.iso");
  std::string other = sample();
  for (std::size_t at = 0; (at = other.find("ecs.example.org", at)) != std::string::npos;)
    other.replace(at, 3, "two");
  const fs::path second = tree_.file("two.yml", other);
  EXPECT_THAT(
      failure([&] { package(second, host_); }),
      HasSubstr("env-cidata.iso: is the seed disk of ecs.example.org: that of two.example.org would"));
  EXPECT_EQ(made("env-cidata.iso"), iso);
  EXPECT_FALSE(fs::exists(tree_ / "two.yml.pdf"));
  tree_.file("env-cidata.iso", iso.substr(0, 40'000));
  package(second, host_);
  EXPECT_NE(made("env-cidata.iso"), iso);
}

TEST_F(PackageTest, TheTarballIsForEveryKeyAndComesBack) {
  const fs::path file = write(sample());
  tree_.file("gpgkeys.txt", key_file("public.asc"));
  const Package done = package(file, host_);
  EXPECT_FALSE(done.decrypted);
  ASSERT_EQ(done.files.size(), 3U);
  const fs::path tarball = done.files.at(0);
  EXPECT_THAT(tarball.filename().string(),
              testing::MatchesRegex("ecs\\.example\\.org\\.env\\.[0-9-]+_[0-9]+\\.[0-9]+\\.tar\\.gz\\.gpg"));
  EXPECT_THAT(host::read_file(tarball), testing::Not(HasSubstr("canary")));
  EXPECT_THAT(failure([&] { recover({tarball}, host_); }), HasSubstr("no secret key at hand decrypts it"));
  for (const char* bad : {"expired.asc", "revoked.asc", "signing.asc"}) {
    tree_.file("gpgkeys.txt", key_file("public.asc") + public_half(bad));
    EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("gpgkeys.txt: nothing can be encrypted"))
        << bad;
  }
  tree_.file("gpgkeys.txt", "# nobody yet\n");
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("gpgkeys.txt: there is no OpenPGP key"));
  // GnuPG passes over all of these, and their owners could not decrypt.
  const std::string whole = key_file("public.asc");
  const auto lines = static_cast<std::size_t>(std::count(whole.begin(), whole.end(), '\n'));
  tree_.file("gpgkeys.txt", whole + whole.substr(0, whole.size() / 2));
  EXPECT_THAT(
      failure([&] { package(file, host_); }),
      HasSubstr(fmt::format("gpgkeys.txt:{}:1: an OpenPGP block begins here and does not end", lines + 1)));
  tree_.file("gpgkeys.txt", whole + std::string(1U << 20U, '\n'));
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("gpgkeys.txt: has more than 1 MiB"));
  tree_.file("gpgkeys.txt", whole + whole.substr(whole.find('\n') + 1));
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("stands outside of an OpenPGP block"));
  fs::remove(tree_ / "gpgkeys.txt");
  tree_.link("gpgkeys.txt", "nowhere");
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("gpgkeys.txt"))
      << "no package without its tarball";
}

TEST_F(PackageTest, TheTarballComesBackWhereTheSecretKeyIs) {
  const fakes::TempTree home;
  keyring_ = home.path();
  fs::permissions(keyring_, fs::perms::owner_all);
  const base::ScopeExit end(
      [&] { host_.runner->run({"gpgconf", "--homedir", keyring_.string(), "--kill", "all"}); });
  gpg({"--passphrase", "", "--quick-gen-key", "safe@example.org", "default", "default", "never"});
  tree_.file("gpgkeys.txt", gpg({"--armor", "--export"}));
  const Package done = package(write(sample()), host_);
  EXPECT_TRUE(done.decrypted);
  EXPECT_EQ(recover({done.files.at(0)}, host_), sample());
  const std::string whole = host::read_file(done.files.at(0));
  const fs::path torn = tree_.file("torn.gpg", whole.substr(0, whole.size() / 2));
  EXPECT_THAT(failure([&] { recover({torn}, host_); }),
              testing::AllOf(HasSubstr("torn.gpg: "), HasSubstr("is damaged"), HasSubstr("another copy")));
  keyring_ = tree_ / "no-keyring";
  EXPECT_THAT(failure([&] { recover({done.files.at(0)}, host_); }), HasSubstr("no secret key at hand"));
}

TEST_F(PackageTest, AKeyThatCreateMakesDoesAllThatOneOfGnuPgDoes) {
  const fakes::TempTree home;
  keyring_ = home.path();
  fs::permissions(keyring_, fs::perms::owner_all);
  const base::ScopeExit end(
      [&] { host_.runner->run({"gpgconf", "--homedir", keyring_.string(), "--kill", "all"}); });
  for (int i = 0; i < 4; ++i) {  // OpenSSL gives the primes in no order
    const std::string user = "ecs_" + std::to_string(i);
    gpg({"--import", tree_.file("key", make_pgp_key(user, 1'700'000'000), 0600)});
    EXPECT_THAT(gpg({"--with-colons", "--list-secret-keys", user}),
                testing::ContainsRegex("sec:-:2048:1:[0-9A-F]{16}:1700000000:::-:::escaESCA:"));
    const std::string text = tree_.file("text", "words");
    gpg({"--yes", "--local-user", user, "--detach-sign", text});
    EXPECT_NO_THROW(gpg({"--verify", text + ".sig", text}));
    tree_.file("gpgkeys.txt", gpg({"--armor", "--export", user}));
    if (i == 0) {
      EXPECT_TRUE(package(write(sample()), host_).decrypted);
    }
    gpg({"--yes", "--trust-model", "always", "-r", user, "--encrypt", text});
    EXPECT_EQ(gpg({"--decrypt", text + ".gpg"}), "words");
  }
  EXPECT_THAT(gpg({"--check-signatures"}), testing::Not(HasSubstr("sig-")));
}

TEST_F(PackageTest, ASecretKeyIsNoneToEncryptTo) {
  const fs::path file = write(sample());
  tree_.file("gpgkeys.txt", key_file("secret.asc"));
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("gpgkeys.txt: holds the secret half"));
}

TEST_F(PackageTest, MailsTheTarballToEveryLine) {
  const fakes::MailServer server;
  tree_.file("gpgkeys.txt", key_file("public.asc"));
  tree_.file("emailto.txt", "# the safe\none@example.org\n\n two@example.org\n");
  const Package done = package(write(sample()), host_, {server.url(), ""});
  EXPECT_THAT(done.mailed, testing::ElementsAre("one@example.org", "two@example.org"));
  ASSERT_EQ(server.count(), 1);
  EXPECT_EQ(server.file(0, "envelope"), "root@ecs.example.org\none@example.org\ntwo@example.org\n");
  const fs::path tarball = done.files.at(0);
  EXPECT_EQ(server.file(0, tarball.filename()), host::read_file(tarball));
  EXPECT_THAT(server.file(0, "text"), HasSubstr("gpg --decrypt " + tarball.filename().string()));
  for (const char* part : {"headers", "text"})
    EXPECT_THAT(server.file(0, part), testing::Not(HasSubstr("canary")));
}

TEST_F(PackageTest, WhatCannotBeMailedIsSaidBeforeAnythingIsWritten) {
  const fs::path file = write(sample());
  tree_.file("emailto.txt", "one@example.org\n");
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("emailto.txt: there is nothing to mail"));
  tree_.file("gpgkeys.txt", key_file("public.asc"));
  tree_.file("emailto.txt", "one@example.org\nnot one\n");
  EXPECT_THAT(failure([&] { package(file, host_); }),
              HasSubstr("emailto.txt:2:1: 'not one' is no mail address"));
  tree_.file("emailto.txt", "# no one\n");
  EXPECT_THAT(failure([&] { package(file, host_); }), HasSubstr("emailto.txt: names nobody"));
  EXPECT_THAT(failure([&] { package(file, host_, {"nonsense", ""}); }), HasSubstr("is no mail server"));
  EXPECT_THAT(failure([&] { package(file, host_, {"smtp://localhost", "a b"}); }),
              HasSubstr("--from: 'a b' is no mail address"));
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 3) << "something was written";
}

TEST_F(PackageTest, WhatIsNotTakenIsWrittenAllTheSame) {
  const fakes::MailServer server;
  tree_.file("gpgkeys.txt", key_file("public.asc"));
  tree_.file("emailto.txt", "nobody@example.org\n");
  const std::string told = failure([&] { package(write(sample()), host_, {server.url(), ""}); });
  EXPECT_THAT(told, testing::AllOf(HasSubstr("does not take the mail"), HasSubstr("all files are written")));
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 6);
}

TEST_F(PackageTest, WhatHasMistakesOrIsTooLargeLeavesNothing) {
  EXPECT_THAT(failure([&] { package(write("#cloud-config\nappliance: {domain: x_y}\n"), host_); }),
              HasSubstr("is no domain"));
  EXPECT_NE(failure([&] { package(write("#cloud-config\n"), host_); }), "");
  std::string large = "#cloud-config\nappliance: {domain: x.org}\n# ";
  for (const char c : noise(200'000)) large += c == '\n' ? std::string("\n# ") : std::string(1, c);
  EXPECT_THAT(
      failure([&] { package(write(large), host_); }),
      testing::ContainsRegex("env.yml: is too large for paper: compressed it has [0-9]+ bytes, and 100 "
                             "codes hold 131250"));
  EXPECT_EQ(std::distance(fs::directory_iterator(tree_.path()), {}), 1);
}

TEST_F(PackageTest, ComesBackFromThePdfAndFromScans) {
  std::string text = sample() + "\n# ";
  for (const char c : noise(9000)) text += c == '\n' ? std::string("\n# ") : std::string(1, c);
  package(write(text), host_);
  EXPECT_EQ(recover({tree_ / "env.yml.pdf"}, host_), text);
  const std::vector<Picture> scans = pages();
  ASSERT_GT(scans.size(), 2U);
  std::vector<fs::path> files;
  for (std::size_t i = scans.size(); i-- > 0;) {  // from the last to the first, each as bad in its own way
    const Picture scanned = copied(turned(scans[i], i % 2 == 0 ? 1.7 : 181.2), static_cast<unsigned>(i + 1));
    files.push_back(tree_.file("scan" + std::to_string(i), i % 2 == 0 ? as_png(scanned) : as_jpeg(scanned)));
  }
  EXPECT_EQ(recover(files, host_), text);
  // A page of another environment behind all that is needed.
  files.push_back(tree_.file("other", as_png(drawn(symbol(codes_of(noise(9000, 2))[0]), 4))));
  EXPECT_THAT(failure([&] { recover(files, host_); }), HasSubstr("pages of different environments"));
  files.back() = tree_.file("parcel", as_png(drawn(symbol("HTTPS://EXAMPLE.ORG/PARCEL/1"), 4)));
  EXPECT_EQ(recover(files, host_), text);
  files.pop_back();
  files.erase(files.end() - 2);
  EXPECT_THAT(failure([&] { recover(files, host_); }), HasSubstr("codes are missing: 04 to 07"));
}

TEST_F(PackageTest, RecoversNothingOfWhatIsNoPage) {
  const fs::path text = tree_.file("text", "hello");
  const fs::path broken = tree_.file("broken.pdf", "%PDF-1.4 and no more");
  EXPECT_THAT(
      failure([&] { recover({text}, host_); }),
      testing::AllOf(HasSubstr("text: is neither PDF, PNG, JPEG nor PNM"), HasSubstr("as PNG or PDF")));
  EXPECT_THAT(failure([&] { recover({text, broken}, host_); }), HasSubstr("tarball is given alone"));
  EXPECT_THAT(failure([&] { recover({broken}, host_); }), HasSubstr("broken.pdf: cannot be shown"));
}

}  // namespace
}  // namespace kiln::env
