#include "agent/frames.hpp"

#include <gtest/gtest.h>

#include "agent/bytes.hpp"
#include "base/error.hpp"

namespace kiln::agent {
namespace {

TEST(FramesTest, ComeBackWholeHoweverTheStreamIsCut) {
  const std::vector<Frame> sent = {{Type::out, 7, "some output"},
                                   {Type::exit_status, 7, std::string("\2\0\0\0\0\0\0\0", 8)},
                                   {Type::ping, 0xfffffffe, ""},
                                   {Type::err, 1, "KLN1 is no header by itself"}};
  std::string stream;
  for (const auto& frame : sent) stream += encode(frame);
  for (std::size_t step = 1; step < stream.size(); step += 3) {
    FrameReader reader;
    std::vector<Frame> seen;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      reader.add(std::string_view(stream).substr(at, step));
      while (auto frame = reader.next()) seen.push_back(*frame);
    }
    EXPECT_EQ(seen, sent) << "in pieces of " << step;
  }
}

TEST(FramesTest, SkipWhatIsNoFrame) {
  FrameReader reader;
  reader.add("login: KLN\n");
  reader.add(encode({Type::pong, 3, "x"}));
  // A header whose length no frame may have.
  std::string lie = encode({Type::out, 3, ""});
  lie.replace(12, 4, "\xff\xff\xff\x7f");
  reader.add(lie);
  reader.add(encode({Type::pong, 4, ""}));
  EXPECT_EQ(reader.next(), (Frame{Type::pong, 3, "x"}));
  EXPECT_EQ(reader.next(), (Frame{Type::pong, 4, ""}));
  EXPECT_EQ(reader.next(), std::nullopt);
}

TEST(FramesTest, LayOutACommandAsTheAgentReadsIt) {
  const std::string payload = encode_command({"ls", "", "a b"}, {{"X", "1"}}, "/");
  EXPECT_EQ(payload, std::string("\3\0\0\0\1\0\0\0/\0ls\0\0a b\0X=1\0", 22));
  EXPECT_EQ(number_at(payload, 0), 3U);
  EXPECT_EQ(number_at(payload, payload.size() - 3), 0U);
}

TEST(FramesTest, RefuseWhatNoCommandCanBe) {
  EXPECT_THROW(encode_command({std::string("a\0b", 3)}, {}, "/"), base::Error);
  EXPECT_THROW(encode_command({std::string(max_payload, 'x')}, {}, "/"), base::Error);
}

TEST(FramesTest, TheAgentIsCarriedAsAProgram) {
  EXPECT_EQ(bytes().substr(0, 4),
            "\x7f"
            "ELF");
  EXPECT_NE(bytes().find(port_name), std::string_view::npos);
}

}  // namespace
}  // namespace kiln::agent
