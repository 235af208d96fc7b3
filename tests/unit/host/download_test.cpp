#include "host/download.hpp"

#include <functional>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <thread>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "fakes/host.hpp"
#include "fakes/http_server.hpp"
#include "host/atomic_file.hpp"
#include "host/fd.hpp"

using namespace kiln;
using testing::HasSubstr;

using fakes::HttpServer;

namespace {

std::string head(const std::string& status, std::size_t length) {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " + std::to_string(length) + "\r\n";
}

std::string whole(const std::string& content) {
  return head("200 OK", content.size()) + "\r\n" + content;
}

std::size_t range_begin(const std::string& request) {
  const std::size_t at = request.find("Range: bytes=");
  return at == std::string::npos ? 0 : std::stoul(request.substr(at + 13));
}

std::string ranged(const std::string& content, std::size_t begin) {
  return head("206 Partial Content", content.size() - begin) + "Content-Range: bytes " +
         std::to_string(begin) + "-" + std::to_string(content.size() - 1) + "/" +
         std::to_string(content.size()) + "\r\n\r\n" + content.substr(begin);
}

std::string error_of(const std::function<void()>& deed) {
  try {
    deed();
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(FetchText, GivesTheContentAsItIs) {
  HttpServer server([](const std::string&) { return "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntext"; });
  EXPECT_EQ(host::fetch_text(server.url(), 4, std::chrono::seconds(10)), "text");
}

TEST(FetchText, MoreThanExpectedAndWhatIsNotThereAreErrors) {
  const fakes::TempTree tree({{"long", "12345"}});
  const auto fetch = [](const std::string& url) -> std::string {
    try {
      return host::fetch_text(url, 4, std::chrono::seconds(10));
    } catch (const base::Error& error) {
      return error.what();
    }
  };
  EXPECT_THAT(fetch("file://" + (tree / "long").string()), HasSubstr("/long: it has more than 4 bytes"));
  EXPECT_THAT(fetch("file://" + (tree / "none").string()), HasSubstr("cannot fetch file:///"));
  HttpServer server([](const std::string&) { return "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"; });
  EXPECT_THAT(fetch(server.url()), HasSubstr("the server answered with HTTP status 404"));
}

}  // namespace

class Download : public testing::Test {
 protected:
  // What the test's own server says must not go to a proxy.
  void SetUp() override { ::setenv("no_proxy", "127.0.0.1", 1); }

  std::string fetch(const HttpServer& server, const std::string& digest) {
    return error_of([&] { host::download(server.url(), digest, to_); });
  }
  [[nodiscard]] bool part_exists() const { return std::filesystem::exists(to_.string() + ".part"); }

  const std::string content_ = std::string(300'000, 'c') + "end";
  const std::string digest_ = base::sha256(content_);
  fakes::TempTree tree_;
  std::filesystem::path to_ = tree_ / "file";
};

TEST_F(Download, FetchesAFileUrlAndReportsItsBytes) {
  const auto from = tree_.file("from", content_);
  std::uint64_t done = 0;
  host::download("file://" + from.string(), digest_, to_,
                 [&](std::uint64_t now, std::uint64_t) { done = now; });
  EXPECT_EQ(host::read_file(to_), content_);
  EXPECT_EQ(done, content_.size());
  EXPECT_FALSE(part_exists());
}

TEST_F(Download, DoesNotFetchWhatIsThereAlready) {
  tree_.file("file", content_);
  HttpServer server([](const std::string&) { return whole("unused"); });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_THAT(server.requests(), testing::IsEmpty());
}

TEST_F(Download, ResumesATransferThatBrokeOff) {
  int count = 0;
  HttpServer server([&](const std::string& request) {
    if (++count == 1) return whole(content_).substr(0, 100'000);
    return ranged(content_, range_begin(request));
  });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_GT(range_begin(server.requests()[1]), 0U);
}

TEST_F(Download, ResumesWhatAnEarlierRunLeft) {
  tree_.file("file.part", content_.substr(0, 200'000));
  HttpServer server([&](const std::string& request) { return ranged(content_, range_begin(request)); });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
  EXPECT_EQ(range_begin(server.requests().at(0)), 200'000U);
}

TEST_F(Download, FetchesAgainWhenWhatWasLeftDoesNotBelong) {
  tree_.file("file.part", std::string(200'000, 'w'));
  HttpServer server([&](const std::string& request) {
    const std::size_t begin = range_begin(request);
    return begin > 0 ? ranged(content_, begin) : whole(content_);
  });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
}

TEST_F(Download, FetchesAgainFromAServerWithoutRanges) {
  tree_.file("file.part", content_.substr(0, 200'000));
  HttpServer server([&](const std::string&) { return whole(content_); });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
}

TEST_F(Download, TakesAPartThatIsWholeForWhole) {
  tree_.file("file.part", content_);
  HttpServer server([&](const std::string&) { return head("416 Range Not Satisfiable", 0) + "\r\n"; });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
}

TEST_F(Download, GivesUpOnAServerThatCutsEveryAnswer) {
  HttpServer server([&](const std::string&) { return whole(content_).substr(0, 100'000); });
  const std::string error = fetch(server, digest_);
  EXPECT_THAT(error, HasSubstr("cannot fetch " + server.url()));
  EXPECT_THAT(error, HasSubstr("run again"));
  EXPECT_LE(server.requests().size(), 20U);
  EXPECT_FALSE(std::filesystem::exists(to_));
}

TEST_F(Download, FetchesAgainWhenACutCouldNotBeSeen) {
  int count = 0;
  HttpServer server([&](const std::string&) {
    const std::string answer = "HTTP/1.0 200 OK\r\n\r\n" + content_;  // its end is the connection's
    return ++count == 1 ? answer.substr(0, 100'000) : answer;
  });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(host::read_file(to_), content_);
}

TEST_F(Download, NeverUsesWhatDoesNotMatchItsDigest) {
  HttpServer server([](const std::string&) { return whole("another"); });
  const std::string error = fetch(server, digest_);
  EXPECT_THAT(error, HasSubstr(server.url()));
  EXPECT_THAT(error, HasSubstr(digest_));
  EXPECT_THAT(error, HasSubstr(base::sha256("another")));
  EXPECT_FALSE(std::filesystem::exists(to_));
  EXPECT_FALSE(part_exists());
  EXPECT_EQ(server.requests().size(), 1U);
}

TEST_F(Download, NamesTheStatusOfAMissingFileAndDoesNotAskAgain) {
  HttpServer server([](const std::string&) { return head("404 Not Found", 0) + "\r\n"; });
  EXPECT_THAT(fetch(server, digest_), HasSubstr("the server answered with HTTP status 404; check the URL"));
  EXPECT_EQ(server.requests().size(), 1U);
  EXPECT_FALSE(part_exists());
}

TEST_F(Download, AsksABusyServerOnceMore) {
  int count = 0;
  HttpServer server(
      [&](const std::string&) { return ++count == 1 ? head("503 Busy", 0) + "\r\n" : whole(content_); });
  EXPECT_EQ(fetch(server, digest_), "no error");
  EXPECT_EQ(count, 2);
}

TEST_F(Download, DoesNotFollowARedirectInACircleOrOutOfHttp) {
  HttpServer circle([](const std::string&) { return head("302 Found", 0) + "Location: /file\r\n\r\n"; });
  EXPECT_THAT(fetch(circle, digest_), HasSubstr("in a circle"));
  const auto secret = tree_.file("secret", content_);
  HttpServer out([&](const std::string&) {
    return head("302 Found", 0) + "Location: file://" + secret.string() + "\r\n\r\n";
  });
  EXPECT_THAT(fetch(out, digest_), HasSubstr("cannot fetch"));
  EXPECT_FALSE(std::filesystem::exists(to_));
}

TEST_F(Download, LetsOutNoPasswordOfAUrl) {
  const std::string error =
      error_of([&] { host::download("ftp://user:canary@127.0.0.1/file", digest_, to_); });
  EXPECT_THAT(error, HasSubstr("ftp://127.0.0.1/file"));
  EXPECT_THAT(error, testing::Not(HasSubstr("canary")));
}

TEST_F(Download, RefusesADigestThatIsNone) {
  EXPECT_THAT(error_of([&] { host::download("file:///x", "abc", to_); }),
              HasSubstr("'abc' is not a SHA-256"));
}

TEST_F(Download, HandsOnWhatItsListenerThrows) {
  const auto from = tree_.file("from", content_);
  EXPECT_THROW(host::download("file://" + from.string(), digest_, to_,
                              [](std::uint64_t, std::uint64_t) { throw std::runtime_error("enough"); }),
               std::runtime_error);
}

TEST_F(Download, LetsTwoBuildsThatWantTheSameBytesTakeTurns) {
  std::atomic<int> count = 0;
  HttpServer server([&](const std::string&) {
    ++count;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    return whole(content_);
  });
  std::string other;
  std::thread second([&] { other = error_of([&] { host::download(server.url(), digest_, to_); }); });
  EXPECT_EQ(fetch(server, digest_), "no error");
  second.join();
  EXPECT_EQ(other, "no error");
  EXPECT_EQ(count, 1);
  EXPECT_EQ(host::read_file(to_), content_);
  EXPECT_FALSE(part_exists());
}
