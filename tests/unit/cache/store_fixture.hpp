// A store in a folder of the test's own, with a clock that moves with each look.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <fcntl.h>
#include <filesystem>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

#include "cache/store.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::cache {

class StoreTest : public testing::Test {
 protected:
  StoreTest() {
    host.now = [this] { return clock++; };
    host.elapsed = [] { return 1.0; };
    host.env = [](const std::string&) { return std::nullopt; };
    host.uid = static_cast<int>(::geteuid());
  }
  Layer add(Store& store, const std::string& key, const std::string& parent, const std::string& content,
            double seconds = 3) {
    auto entry = store.begin();
    host::write_file(entry.image(), content);
    return entry.commit(key, parent, seconds, R"({"stage": "overlay"})");
  }
  // An export of a layer.
  static Artifact keep(Store& store, const std::string& key, const std::string& layer,
                       const std::string& content) {
    const auto scratch = store.scratch();
    std::filesystem::create_directories(scratch.folder() / "out");
    host::write_file(scratch.folder() / "out" / "minimal.qcow2", content);
    return store.keep_artifact(key, scratch.folder() / "out", 2, R"({"layer": ")" + layer + R"("})");
  }
  // As another program would: the mode is no obstacle, the time of the change is hidden.
  static void overwrite(const std::filesystem::path& file, const std::string& content) {
    struct stat before{};
    ASSERT_EQ(::stat(file.c_str(), &before), 0);
    ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
    const int fd = ::open(file.c_str(), O_WRONLY);
    ASSERT_GE(fd, 0);
    ASSERT_EQ(::write(fd, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    const std::array<timespec, 2> times = {before.st_atim, before.st_mtim};
    ASSERT_EQ(::futimens(fd, times.data()), 0);
    ::close(fd);
    ASSERT_EQ(::chmod(file.c_str(), 0444), 0);
  }
  static std::vector<std::string> names(const std::filesystem::path& folder) {
    std::vector<std::string> all;
    for (const auto& item : std::filesystem::directory_iterator(folder))
      all.push_back(item.path().filename());
    std::sort(all.begin(), all.end());
    return all;
  }
  static unsigned mode(const std::filesystem::path& path) {
    struct stat status{};
    return ::lstat(path.c_str(), &status) == 0 ? status.st_mode & 07777U : 0;
  }

  host::TempDir dir;
  std::filesystem::path root = dir.path() / "store";
  host::Host host;
  std::int64_t clock = 1'700'000'000;
};

inline const std::string kKeyA(64, 'a');
inline const std::string kKeyB(64, 'b');
inline const std::string kKeyC(64, 'c');

}  // namespace kiln::cache
