#include "image/wake.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/bytes.hpp"

namespace kiln::image {
namespace {

TEST(WakeTest, TheTimeStandsBeforeRandomnessThatIsNeverTheSame) {
  const std::string payload = wake_payload(0x0102030405);
  EXPECT_EQ(payload.substr(0, 8), std::string("\x05\x04\x03\x02\x01\0\0\0", 8));
  EXPECT_EQ(payload.size(), 8U + 128U) << "64 bytes of randomness, in hex";
  EXPECT_NE(payload, wake_payload(0x0102030405));
}

TEST(WakeTest, TheScriptTakesTheAgentAndNoByteMoreFromItsInput) {
  const auto wake = wake_script(1);
  EXPECT_THAT(wake.script, testing::HasSubstr("head -c " + std::to_string(agent::bytes().size()) + " "));
  EXPECT_EQ(wake.input.size(), agent::bytes().size() + wake_payload(1).size());
  EXPECT_EQ(wake.script.find('\''), std::string::npos) << "it is quoted by whoever sends it";
}

}  // namespace
}  // namespace kiln::image
