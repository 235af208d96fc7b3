#include "host/mail.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/mail_server.hpp"

namespace kiln::host {
namespace {

using testing::HasSubstr;

constexpr std::chrono::seconds kLimit{20};

Mail example() {
  Mail mail;
  mail.from = "root@ecs.example.org";
  mail.to = {"one@example.org", "two@example.org"};
  mail.subject = "Environment";
  mail.id = "1@ecs.example.org";
  mail.date = 1'800'000'000;
  mail.text = "Hello.\n.\nIt goes on behind a line with a dot.\n";
  mail.file_name = "a.gpg";
  for (int i = 0; i < 100'000; ++i) mail.file += static_cast<char>(i % 251);
  return mail;
}

std::string failure(const std::string& server, const Mail& mail) {
  try {
    send_mail(server, mail, kLimit);
  } catch (const base::Error& error) {
    return error.what();
  }
  return "";
}

TEST(MailTest, ComesToEachReceiverWithItsFile) {
  const fakes::MailServer server;
  const Mail mail = example();
  send_mail(server.url(), mail, kLimit);
  ASSERT_EQ(server.count(), 1);
  EXPECT_EQ(server.file(0, "envelope"), "root@ecs.example.org\none@example.org\ntwo@example.org\n");
  EXPECT_EQ(server.file(0, "text"), mail.text);
  EXPECT_EQ(server.file(0, "a.gpg"), mail.file);
  const std::string headers = server.file(0, "headers");
  for (const char* line : {"Date: Fri, 15 Jan 2027 08:00:00 +0000\n", "From: root@ecs.example.org\n",
                           "To: one@example.org, two@example.org\n", "Subject: Environment\n",
                           "Message-ID: <1@ecs.example.org>\n"})
    EXPECT_THAT(headers, HasSubstr(line));
}

TEST(MailTest, GoesToNobodyWhenOneIsRefused) {
  const fakes::MailServer server;
  Mail mail = example();
  mail.to.emplace_back("nobody@example.org");
  EXPECT_THAT(failure(server.url(), mail),
              testing::AllOf(HasSubstr(server.url()), HasSubstr("does not take the mail"), HasSubstr("550")));
  EXPECT_EQ(server.count(), 0);
}

TEST(MailTest, SaysWhenThereIsNoServer) {
  EXPECT_THAT(failure("smtp://127.0.0.1:9", example()),
              HasSubstr("smtp://127.0.0.1:9 does not take the mail: "));
}

TEST(MailTest, RefusesWhatIsNoServerAndPasswords) {
  for (const char* server : {"", "localhost", "http://localhost", "smtp://", "smtp://:25", "smtp://a b"})
    EXPECT_THAT(failure(server, example()), HasSubstr("is no mail server")) << server;
  const std::string secret = failure("smtp://me:canary@localhost", example());
  EXPECT_THAT(secret, HasSubstr("name or password"));
  EXPECT_THAT(secret, testing::Not(HasSubstr("canary")));
}

TEST(MailTest, KnowsAddressesFromWhatWouldChangeTheMail) {
  for (const char* good : {"a@b", "safe+kiln@ecs.example.org", "o'neil@example.org"})
    EXPECT_TRUE(is_mail_address(good)) << good;
  for (const char* bad : {"", "a", "a@", "@b", "a@b@c", "a b@c", "a@b\r\nBcc: x@y", "<a@b>", "-a@b", "a@-b",
                          "a@b,c@d", "ä@b", "\"a\"@b"})
    EXPECT_FALSE(is_mail_address(bad)) << bad;
  EXPECT_FALSE(is_mail_address(std::string(254, 'a') + "@b"));
}

}  // namespace
}  // namespace kiln::host
