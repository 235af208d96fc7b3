#include "host/archive.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"
#include "host/atomic_file.hpp"

using namespace kiln;
using host::Format;
using host::Member;
using testing::HasSubstr;

namespace {

Member file(std::string path, std::string content, unsigned mode = 0644) {
  Member member;
  member.path = std::move(path);
  member.content = std::move(content);
  member.mode = mode;
  return member;
}

Member special(char kind, std::string path, std::string target = {}) {
  Member member;
  member.kind = kind;
  member.path = std::move(path);
  member.target = std::move(target);
  member.mode = kind == 'd' ? 0755 : 0777;
  return member;
}

// One line a member: kind, path, target or content.
std::vector<std::string> content_of(const std::filesystem::path& archive) {
  std::vector<std::string> lines;
  host::read_archive(archive, [&](const Member& member, const auto& read) {
    std::string line = std::string(1, member.kind) + " " + member.path;
    if (member.kind == 'l' || member.kind == 'h') line += " > " + member.target;
    if (member.kind == 'f') line += " = " + read();
    lines.push_back(line);
  });
  return lines;
}

std::string error_of(const std::filesystem::path& archive) {
  try {
    content_of(archive);
  } catch (const base::Error& error) {
    return error.what();
  }
  return "no error";
}

// A ustar header made by hand: kiln's own writer refuses such members.
std::string hostile_tar(const std::string& path, char type = '0', const std::string& target = {}) {
  std::string header(512, '\0');
  header.replace(0, path.size(), path);
  header.replace(100, 7, "0000644");
  header.replace(108, 7, "0000000");
  header.replace(116, 7, "0000000");
  header.replace(124, 11, "00000000000");
  header.replace(136, 11, "00000000000");
  header[156] = type;
  header.replace(157, target.size(), target);
  header.replace(257, 8, std::string("ustar\00000", 8));
  header.replace(148, 8, "        ");
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  char text[8];
  std::snprintf(text, sizeof text, "%06o", sum);
  header.replace(148, 7, std::string(text, 7));
  return header + std::string(1024, '\0');
}

}  // namespace

TEST(Archive, GivesBackWhatWasWritten) {
  const fakes::TempTree tree({{"source", std::string(700'000, 's')}});
  Member sourced = file("folder/from source", "");
  sourced.source = tree / "source";
  const std::vector<Member> members{special('d', "folder"), file("folder/a", "one\n", 0755),
                                    special('l', "folder/link", "../outside"), sourced,
                                    file("folder/gr\xc3\xbcn", "utf-8")};
  for (const Format format : {Format::tar, Format::cpio_newc, Format::iso9660}) {
    const auto to = tree / "archive";
    host::write_archive(to, format, members, "CIDATA");
    const auto lines = content_of(to);
    EXPECT_THAT(lines,
                testing::UnorderedElementsAre("d folder", "f folder/a = one\n", "l folder/link > ../outside",
                                              "f folder/from source = " + std::string(700'000, 's'),
                                              "f folder/gr\xc3\xbcn = utf-8"));
    if (format != Format::iso9660) {
      EXPECT_EQ(lines.front(), "d folder") << "members keep their order";
    }
  }
}

TEST(Archive, OneInMemoryIsReadLikeAFileAndCalledByItsName) {
  const fakes::TempTree tree;
  for (const Format format : {Format::tar, Format::cpio_newc, Format::iso9660}) {
    host::write_archive(tree / "archive", format, {file("f", "content")}, "CIDATA");
    std::string seen;
    host::read_archive_in(
        host::read_file(tree / "archive"), "mine",
        [&](const Member& member, const auto& read) { seen += member.path + " " + read(); });
    EXPECT_EQ(seen, "f content");
  }
  try {
    host::read_archive_in(std::string(4096, 'x'), "mine", [](const Member&, const auto&) {});
    ADD_FAILURE() << "noise is no archive";
  } catch (const base::Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("'mine' is not an archive"));
  }
}

TEST(Archive, WritesTheSameBytesForTheSameMembers) {
  const fakes::TempTree tree;
  const std::vector<Member> members{special('d', "d"), file("d/f", "x")};
  for (const Format format : {Format::tar, Format::cpio_newc}) {
    host::write_archive(tree / "one", format, members);
    host::write_archive(tree / "two", format, members);
    EXPECT_EQ(host::read_file(tree / "one"), host::read_file(tree / "two"));
  }
}

TEST(Archive, KeepsModesOwnersAndTimes) {
  const fakes::TempTree tree;
  Member member = file("f", "x", 04755);
  member.owner = "1000";
  member.group = "adm";
  member.mtime = 1'600'000'000;
  host::write_archive(tree / "a.tar", Format::tar, {member});
  host::read_archive(tree / "a.tar", [&](const Member& read, const auto&) {
    EXPECT_EQ(read.mode, 04755U);
    EXPECT_EQ(read.owner, "1000");
    EXPECT_EQ(read.group, "adm");
    EXPECT_EQ(read.mtime, 1'600'000'000);
    EXPECT_EQ(read.size, 1U);
  });
  EXPECT_THROW(host::write_archive(tree / "a.cpio", Format::cpio_newc, {member}), base::Error)
      << "a cpio has no names of groups";
  EXPECT_FALSE(std::filesystem::exists(tree / "a.cpio"));
}

TEST(Archive, LabelsAnIsoForCloudInit) {
  const fakes::TempTree tree;
  host::write_archive(tree / "seed.iso", Format::iso9660, {file("user-data", "#cloud-config\n")}, "cidata");
  const std::string iso = host::read_file(tree / "seed.iso");
  ASSERT_GT(iso.size(), 40000U);
  EXPECT_EQ(iso.substr(16 * 2048 + 1, 5), "CD001");
  // Rock Ridge has the name as it is, the plain directory in capitals only.
  EXPECT_THAT(content_of(tree / "seed.iso"), testing::ElementsAre("f user-data = #cloud-config\n"));
  std::string label = iso.substr(16 * 2048 + 40, 6);
  std::transform(label.begin(), label.end(), label.begin(), [](unsigned char c) { return std::tolower(c); });
  EXPECT_EQ(label, "cidata");
}

TEST(Archive, CanBeSkippedThroughWithoutReadingContent) {
  const fakes::TempTree tree;
  host::write_archive(tree / "a.tar", Format::tar, {file("a", std::string(100'000, 'a')), file("b", "b")});
  std::string found;
  host::read_archive(tree / "a.tar", [&](const Member& member, const auto& read) {
    if (member.path == "b") found = read();
  });
  EXPECT_EQ(found, "b");
}

TEST(Archive, SavesAMemberPieceByPiece) {
  const fakes::TempTree tree;
  const std::string large = std::string(700'000, 'a') + "end";
  host::write_archive(tree / "a.tar", Format::tar, {file("large", large), file("empty", "")});
  host::read_archive(tree / "a.tar", [&](const Member& member, const host::Content& content) {
    content.save(tree / member.path);
    EXPECT_THROW(content.save(tree / member.path), base::Error) << "nothing is replaced";
  });
  EXPECT_EQ(host::read_file(tree / "large"), large);
  EXPECT_EQ(host::read_file(tree / "empty"), "");
  EXPECT_EQ(std::filesystem::status(tree / "large").permissions(), std::filesystem::perms(0600));
}

TEST(Archive, RefusesMembersThatLeadOutOfIt) {
  fakes::TempTree tree;
  for (const char* path : {"/etc/passwd", "../up", "a/../../up", "a/.."}) {
    tree.file("hostile.tar", hostile_tar(path));
    EXPECT_THAT(error_of(tree / "hostile.tar"), HasSubstr("leads out of the archive")) << path;
  }
  tree.file("hostile.tar", hostile_tar("hard", '1', "/etc/shadow"));
  EXPECT_THAT(error_of(tree / "hostile.tar"), HasSubstr("'/etc/shadow', which leads out of the archive"));
  tree.file("good.tar", hostile_tar("./a/./b"));
  EXPECT_THAT(content_of(tree / "good.tar"), testing::ElementsAre("f a/b = "))
      << "the test's own tar is sound";
}

TEST(Archive, DoesNotWriteMembersThatLeadOutOfIt) {
  const fakes::TempTree tree;
  for (const char* path : {"", "/abs", "../up", "."}) {
    EXPECT_THROW(host::write_archive(tree / "a.tar", Format::tar, {file(path, "x")}), base::Error) << path;
  }
  EXPECT_TRUE(std::filesystem::is_empty(tree.path()));
}

TEST(Archive, SaysThatAnArchiveIsDamaged) {
  fakes::TempTree tree;
  host::write_archive(tree / "a.tar", Format::tar, {file("a", std::string(100'000, 'a'))});
  const std::string whole = host::read_file(tree / "a.tar");
  tree.file("cut.tar", whole.substr(0, 50'000));
  EXPECT_THAT(error_of(tree / "cut.tar"), HasSubstr("cut.tar' is not an archive that can be read"));
  tree.file("none.tar", "this is no archive at all");
  EXPECT_THAT(error_of(tree / "none.tar"), HasSubstr("is not an archive that can be read"));
  tree.file("empty.tar", "");
  EXPECT_THAT(error_of(tree / "empty.tar"), HasSubstr("is not an archive that can be read"));
}

TEST(Archive, DoesNotOpenOtherFilesOnBehalfOfAnArchive) {
  fakes::TempTree tree({{"secret", "secret"}});
  tree.file("a.mtree", "#mtree\n./f type=file contents=" + (tree / "secret").string() + " size=6\n");
  EXPECT_THAT(error_of(tree / "a.mtree"), HasSubstr("is not an archive that can be read"));
}
