// Both stages that export a disk, with the real tools on a small one.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <string>

#include "base/error.hpp"
#include "unit/stages/export_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType export_qcow2;
extern const stage::StageType export_disk;

namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::uint64_t mib = 1ULL << 20U;

TEST(ExportDisk, EachFormatIsTheDiskOfTheGivenSize) {
  tests::ExportWorkspace work;
  for (const std::string format : {"raw", "vmdk", "vdi", "vhdx"}) {
    tests::make_stage(export_disk, "{format: " + format + ", size: 256M}")->run(work);
    const auto info = work.info("test." + format);
    EXPECT_EQ(info.at("format"), format);
    EXPECT_EQ(info.at("virtual-size"), 256 * mib) << format;
    EXPECT_EQ(work.ask("test." + format, format, "cat /hello"), "hello\n") << format;
  }
  EXPECT_EQ(work.info("test.vmdk").at("format-specific").at("data").at("create-type"), "streamOptimized");
  EXPECT_LT(work.info("test.raw").at("actual-size"), 100 * mib) << "no holes";
  EXPECT_THAT(work.logged, HasSubstr("the disk has 256 MiB\n"));
}

TEST(ExportDisk, TheQcow2IsCompressedAndStandsAlone) {
  tests::ExportWorkspace work;
  tests::make_stage(export_qcow2, "{}")->run(work);
  const auto info = work.info("test.qcow2");
  EXPECT_EQ(info.at("format"), "qcow2");
  EXPECT_FALSE(info.contains("backing-filename"));
  EXPECT_EQ(info.at("format-specific").at("data").at("compression-type"), "zstd");
  EXPECT_EQ(info.at("virtual-size").get<std::uint64_t>() % (64 * mib), 0U);
  EXPECT_EQ(work.ask("test.qcow2", "qcow2", "cat /hello"), "hello\n");
  EXPECT_THAT(work.seen.doings,
              ElementsAre("reading the disk", "fitting the root file system", "compressing"));
}

TEST(ExportDisk, AFormatThatKilnDoesNotWriteIsRefused) {
  try {
    tests::make_stage(export_disk, "{format: vmdx}");
    FAIL();
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("vmdk"));
  }
}

}  // namespace
}  // namespace kiln::stages
