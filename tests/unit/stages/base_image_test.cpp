#include <gtest/gtest.h>

#include "stage/key_writer.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType base_image;
}

namespace kiln::tests {
namespace {

const std::string pinned = "url: https://example.org/x.img, sha256: " + std::string(64, 'a');

std::string key_of(const std::string& yaml) {
  FakeWorkspace work;
  work.world.versions["resize2fs"] = "e2fsprogs 1.47";
  const host::Host host = work.world.host();
  stage::KeyWriter key(host);
  make_stage(stages::base_image, yaml)->describe(key);
  return key.text();
}

TEST(BaseImageTest, ToolsThatGrowTheDiskAreInTheKeyWhenItMayGrow) {
  EXPECT_EQ(key_of("{" + pinned + "}"),
            "tool qemu-img absent\ntool sfdisk absent\ntool e2fsck absent\ntool resize2fs e2fsprogs 1.47\n");
  EXPECT_EQ(key_of("{size: 0, " + pinned + "}"), "tool qemu-img absent\n");
}

TEST(BaseImageTest, ALoginInTheUrlIsRefusedAndNotShown) {
  const std::string error = error_of([&] {
    make_stage(stages::base_image,
               "{url: \"https://me:s3cret@example.org/x.img\", sha256: " + std::string(64, 'a') + "}");
  });
  EXPECT_NE(error.find("/stage.yml:1:7: base_image: the URL holds a login"), std::string::npos) << error;
  EXPECT_EQ(error.find("s3cret"), std::string::npos);
}

}  // namespace
}  // namespace kiln::tests
