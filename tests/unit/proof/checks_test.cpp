#include "proof/checks.hpp"

#include <csignal>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

#include "base/error.hpp"
#include "host/host.hpp"
#include "unit/proof/server.hpp"

namespace kiln::proof {
namespace {

using std::chrono::seconds;

std::string hear(int fd) {
  char bytes[4096];
  pollfd wait{fd, POLLIN, 0};
  if (::poll(&wait, 1, 5000) <= 0) return {};
  const ssize_t got = ::recv(fd, bytes, sizeof bytes, 0);
  return got > 0 ? std::string(bytes, static_cast<std::size_t>(got)) : std::string();
}

Server::Talk greeter(const std::string& text) {
  return [text](int fd) { say(fd, text); };
}

Server::Talk web(const std::string& answer) {
  return [answer](int fd) {
    hear(fd);
    say(fd, answer);
  };
}

profile::PortCheck of(const std::string& protocol) {
  profile::PortCheck check;
  check.port = 1;
  check.protocol = protocol;
  return check;
}

PortAnswer ask(const profile::PortCheck& check, const Server& server) {
  return ask_port(check, server.port(), seconds(5));
}

const std::string page =
    "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\nConnection: close\r\n\r\nback soon.\n";
const std::string garbage = "\x01\x02\x03 what?\n";

// Closes at once, as QEMU's user network does when the guest refuses.
const Server::Talk nobody = [](int) {};

TEST(PortTest, SshPassesOnItsBannerAlone) {
  EXPECT_TRUE(ask(of("ssh"), Server(greeter("SSH-2.0-OpenSSH_9.2p1\r\n"))).passed);
  EXPECT_FALSE(ask(of("ssh"), Server(greeter(garbage))).passed);
  EXPECT_FALSE(ask(of("ssh"), Server(nobody)).passed);
  EXPECT_EQ(ask(of("ssh"), Server(greeter("220 mail\r\n"))).detail, "no SSH banner, but '220 mail'");
}

TEST(PortTest, SmtpPassesOnItsGreetingAlone) {
  EXPECT_TRUE(ask(of("smtp"), Server(greeter("220 here ESMTP\r\n"))).passed);
  EXPECT_FALSE(ask(of("smtp"), Server(greeter("554 go away\r\n"))).passed);
  EXPECT_FALSE(ask(of("smtp"), Server(nobody)).passed);
}

TEST(PortTest, TcpPassesOnAnyByteButNotOnAConnection) {
  EXPECT_TRUE(ask(of("tcp"), Server(greeter(garbage))).passed);
  EXPECT_FALSE(ask(of("tcp"), Server(nobody)).passed);
  // One that waits to be spoken to first.
  EXPECT_TRUE(ask_port(of("tcp"), Server([](int fd) {
                                    if (!hear(fd).empty()) say(fd, "-ERR\r\n");
                                  }).port(),
                       seconds(2))
                  .passed);
}

TEST(PortTest, HttpPassesOnAStatusAndABody) {
  auto check = of("http");
  EXPECT_EQ(ask(check, Server(web(page))).detail, "status 503; expected one below 500");
  check.status = 503;
  check.body = "^back so+n";
  EXPECT_TRUE(ask(check, Server(web(page))).passed);
  check.body = "welcome";
  const auto other = ask(check, Server(web(page)));
  EXPECT_FALSE(other.passed);
  EXPECT_EQ(other.detail, "status 503; 'welcome' is not in the body: 'back soon.'");
  check.status = 200;
  EXPECT_EQ(ask(check, Server(web(page))).detail, "status 503; expected 200");
  EXPECT_FALSE(ask(of("http"), Server(web(garbage))).passed);
  EXPECT_FALSE(ask(of("http"), Server(nobody)).passed);
  EXPECT_FALSE(ask(of("http"), Server(greeter("SSH-2.0-OpenSSH\r\n"))).passed);
}

TEST(PortTest, HttpAsksForThePath) {
  auto check = of("http");
  check.path = "/status?x=1";
  std::string request;
  {
    const Server server([&](int fd) {
      request = hear(fd);
      say(fd, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
    });
    EXPECT_TRUE(ask(check, server).passed);
  }
  EXPECT_EQ(request.substr(0, 27), "GET /status?x=1 HTTP/1.1\r\nH");
}

// A TLS server with a certificate it made itself.
class Tls {
 public:
  Tls() : key_(EVP_EC_gen("P-256")), certificate_(X509_new()), context_(SSL_CTX_new(TLS_server_method())) {
    X509_gmtime_adj(X509_getm_notBefore(certificate_), 0);
    X509_gmtime_adj(X509_getm_notAfter(certificate_), 3600);
    X509_set_pubkey(certificate_, key_);
    X509_NAME* name = X509_get_subject_name(certificate_);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, reinterpret_cast<const unsigned char*>("appliance"),
                               -1, -1, 0);
    X509_set_issuer_name(certificate_, name);
    X509_sign(certificate_, key_, EVP_sha256());
    SSL_CTX_use_certificate(context_, certificate_);
    SSL_CTX_use_PrivateKey(context_, key_);
  }
  ~Tls() {
    SSL_CTX_free(context_);
    X509_free(certificate_);
    EVP_PKEY_free(key_);
  }
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;
  [[nodiscard]] Server::Talk serve(const std::string& answer) const {
    return [this, answer](int fd) {
      SSL* session = SSL_new(context_);
      SSL_set_fd(session, fd);
      if (SSL_accept(session) == 1) {
        char bytes[4096];
        if (SSL_read(session, bytes, sizeof bytes) > 0)
          SSL_write(session, answer.data(), static_cast<int>(answer.size()));
        SSL_shutdown(session);
      }
      SSL_free(session);
    };
  }

 private:
  EVP_PKEY* key_;
  X509* certificate_;
  SSL_CTX* context_;
};

TEST(PortTest, TlsPassesOnACertificate) {
  const Tls tls;
  auto check = of("https");
  check.status = 503;
  const auto answer = ask(check, Server(tls.serve(page)));
  EXPECT_TRUE(answer.passed) << answer.detail;
  EXPECT_EQ(answer.detail, "status 503, certificate CN = appliance");
  const auto handshake = ask(of("tls"), Server(tls.serve(garbage)));
  EXPECT_TRUE(handshake.passed) << handshake.detail;
  EXPECT_EQ(handshake.detail, "TLS handshake, certificate CN = appliance");
  for (const char* protocol : {"https", "tls"}) {
    EXPECT_FALSE(ask(of(protocol), Server(web(page))).passed) << protocol;
    EXPECT_FALSE(ask(of(protocol), Server(greeter(garbage))).passed) << protocol;
    EXPECT_FALSE(ask(of(protocol), Server(nobody)).passed) << protocol;
  }
}

// A flag that is set cannot be taken back, so another process shows it.
TEST(PortDeathTest, AnInterruptEndsAQuestionAtOnce) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        host::install_signal_flags();
        const Server silent([](int fd) { hear(fd), hear(fd); });
        std::thread user([] {
          std::this_thread::sleep_for(std::chrono::milliseconds(300));
          ::kill(::getpid(), SIGINT);
        });
        const auto begun = std::chrono::steady_clock::now();
        try {
          ask_port(of("http"), silent.port(), seconds(20));
        } catch (const base::Error& error) {
          const bool soon = std::chrono::steady_clock::now() - begun < seconds(4);
          ::_exit(soon && error.exit() == base::Exit::interrupted ? 7 : 8);
        }
        ::_exit(9);
      },
      testing::ExitedWithCode(7), "");
}

TEST(FoundTest, LooksThroughLongTextsByPieces) {
  std::string text(3'000'000, 'x');
  EXPECT_FALSE(found("needle", text));
  text.insert(2'345'678, "needle");
  EXPECT_TRUE(found("ne+dle", text));
  EXPECT_FALSE(found("(x*)*y", std::string(100'000, 'a')));
  EXPECT_TRUE(found("^b$", "a\nb\n" + std::string(20'000, 'c')));
}

}  // namespace
}  // namespace kiln::proof
