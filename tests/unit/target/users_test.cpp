#include "target/users.hpp"

#include <gtest/gtest.h>

namespace kiln::target {
namespace {

TEST(Users, FindsNamesAndTakesNumbersAsTheyAre) {
  const Users users("root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/app:/bin/sh\nbroken\nodd:x:nine:1::\n",
                    "root:x:0:\nwww-data:x:33:app\n");
  EXPECT_EQ(users.uid("app"), 1000);
  EXPECT_EQ(users.uid("4711"), 4711);
  EXPECT_EQ(users.uid("odd"), std::nullopt);
  EXPECT_EQ(users.uid("nobody"), std::nullopt);
  EXPECT_EQ(users.uid("-1"), std::nullopt);
  EXPECT_EQ(users.gid("www-data"), 33);
  EXPECT_EQ(users.gid("app"), std::nullopt);
  EXPECT_EQ(users.user_names(), (std::vector<std::string>{"app", "root"}));
}

}  // namespace
}  // namespace kiln::target
