#include "target/wheel_lock.hpp"

#include <gtest/gtest.h>

#include "host/atomic_file.hpp"

namespace kiln::target {
namespace {

const std::string digest(64, 'a');

std::string errors_of(const std::string& text) {
  try {
    read_wheel_lock(text, "x.lock");
  } catch (const base::Error& error) {
    return error.what();
  }
  return "none";
}

TEST(WheelLock, ReadsBothSections) {
  const WheelLock lock = read_wheel_lock("# What this is.\n# build\nwheel==0.40 --hash=sha256:" + digest +
                                             "\n\n# run\nsalt==3006.28 --hash=sha256:" + digest + "\n",
                                         "x.lock");
  ASSERT_EQ(lock.build.size(), 1U);
  EXPECT_EQ(lock.build[0].text(), "wheel==0.40 --hash=sha256:" + digest);
  ASSERT_EQ(lock.run.size(), 1U);
  EXPECT_EQ(lock.run[0].name, "salt");
  EXPECT_EQ(lock.run[0].version, "3006.28");
  EXPECT_EQ(lock.run[0].where.text(), "x.lock:6:1");
}

TEST(WheelLock, EveryBadLineIsNamed) {
  const std::string errors =
      errors_of("# run\nsalt==1\nsalt --hash=sha256:" + digest +
                "\n-r other.txt\nok==1 --hash=sha256:" + digest + "\nshort==1 --hash=sha256:abc\n");
  EXPECT_NE(errors.find("x.lock:2:1: 'salt==1' pins no file"), std::string::npos) << errors;
  EXPECT_NE(errors.find("x.lock:3:1"), std::string::npos) << errors;
  EXPECT_NE(errors.find("x.lock:4:1"), std::string::npos) << errors;
  EXPECT_EQ(errors.find("x.lock:5:1"), std::string::npos) << errors;
  EXPECT_NE(errors.find("x.lock:6:1"), std::string::npos) << errors;
}

TEST(WheelLock, LinesNeedASectionAndALockNeedsSomethingToRun) {
  EXPECT_NE(errors_of("salt==1 --hash=sha256:" + digest + "\n").find("before any section"),
            std::string::npos);
  EXPECT_NE(errors_of("# build\nwheel==1 --hash=sha256:" + digest + "\n").find("nothing under '# run'"),
            std::string::npos);
}

TEST(WheelLock, TheProjectsOwnLocksAreRead) {
  for (const char* name : {"salt-py311.txt", "salt-py35.txt"}) {
    const std::string file = std::string(KILN_SOURCE_DIR "/profiles/locks/") + name;
    EXPECT_FALSE(read_wheel_lock(host::read_file(file), file).build.empty()) << name;
  }
}

}  // namespace
}  // namespace kiln::target
