#include "target/docker_archive.hpp"

#include <filesystem>
#include <fmt/format.h>
#include <functional>
#include <gtest/gtest.h>
#include <map>
#include <nlohmann/json.hpp>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class DockerArchiveTest : public testing::Test {
 protected:
  // A layer of one file.
  target::Layer layer(const std::string& path, const std::string& content) {
    host::Member file;
    file.path = path;
    file.content = content;
    const fs::path tar = folder.path() / (base::sha256(path + content) + ".tar");
    host::write_archive(tar, host::Format::tar, {file});
    return {base::sha256_file(tar), tar};
  }
  static target::ImageFiles image(const std::vector<target::Layer>& layers) {
    target::ImageFiles made;
    made.layers = layers;
    std::vector<std::string> ids;
    ids.reserve(layers.size());
    for (const target::Layer& one : layers) ids.push_back(one.diff_id);
    made.config = target::image_config(R"({"User":"420"})", ids, std::vector<std::string>(ids.size(), "x"));
    return made;
  }
  fs::path archive(const std::map<std::string, std::string>& files) {
    std::vector<host::Member> members;
    for (const auto& [path, content] : files) {
      host::Member member;
      member.path = path;
      member.content = content;
      members.push_back(member);
    }
    const fs::path to = folder.path() / "made.tar";
    host::write_archive(to, host::Format::tar, members);
    return to;
  }
  // What is in a docker-archive or an OCI layout, by path.
  static std::map<std::string, std::string> content(const fs::path& tar) {
    std::map<std::string, std::string> files;
    host::read_archive(
        tar, [&](const host::Member& member, const host::Content& read) { files[member.path] = read(); });
    return files;
  }
  // An OCI layout of one image; `change` may damage its parts.
  std::map<std::string, std::string> layout(const std::string& architecture = "amd64") {
    const std::string tar = host::read_file(layer("etc/x", "x").file);
    json config = json::parse(image({layer("etc/x", "x")}).config);
    config["architecture"] = architecture;
    std::map<std::string, std::string> files;
    const auto blob = [&](const std::string& text) {
      files["blobs/sha256/" + base::sha256(text)] = text;
      return json{{"digest", "sha256:" + base::sha256(text)}, {"size", text.size()}};
    };
    const json manifest = {{"schemaVersion", 2}, {"config", blob(config.dump())}, {"layers", {blob(tar)}}};
    manifest_digest = base::sha256(manifest.dump());
    files["index.json"] = json{{"manifests", {blob(manifest.dump())}}}.dump();
    files["oci-layout"] = R"({"imageLayoutVersion":"1.0.0"})";
    return files;
  }
  std::string error(const fs::path& from, const std::string& manifest = {}) {
    try {
      target::read_image(from, manifest, folder.path() / base::random_hex(4), "'it'");
    } catch (const base::Error& wrong) {
      EXPECT_EQ(wrong.exit(), base::Exit::usage);
      return wrong.what();
    }
    return "no error";
  }

  host::TempDir folder;
  std::string manifest_digest;
};

TEST_F(DockerArchiveTest, TheConfigurationIsTheSameForTheSameImage) {
  EXPECT_EQ(target::image_config(R"({"User":"420"})", {"aa"}, {"made"}),
            R"({"architecture":"amd64","config":{"User":"420"},"created":"2023-11-14T22:13:20Z","history":[)"
            R"({"created":"2023-11-14T22:13:20Z","created_by":"made"}],"os":"linux",)"
            R"("rootfs":{"diff_ids":["sha256:aa"],"type":"layers"}})");
}

TEST_F(DockerArchiveTest, ALayerThatTwoImagesHaveIsInItOnce) {
  const auto base = layer("etc/x", "x");
  const auto one = image({base});
  const auto two = image({base, layer("etc/y", "y")});
  const fs::path to = folder.path() / "all.tar";
  target::write_docker_archive(to, {{"a:latest", one}, {"b:2", two}});
  const auto files = content(to);
  EXPECT_EQ(files.size(), 5U);  // two layers, two configurations, the manifest
  EXPECT_EQ(
      json::parse(files.at("manifest.json")),
      (json{{{"Config", one.id() + ".json"}, {"RepoTags", {"a:latest"}}, {"Layers", {base.diff_id + ".tar"}}},
            {{"Config", two.id() + ".json"},
             {"RepoTags", {"b:2"}},
             {"Layers", {base.diff_id + ".tar", two.layers[1].diff_id + ".tar"}}}}));
  const std::string first = base::sha256_file(to);
  target::write_docker_archive(to, {{"a:latest", one}, {"b:2", two}});
  EXPECT_EQ(base::sha256_file(to), first);
}

TEST_F(DockerArchiveTest, WhatIsWrittenIsReadAsTheSameImage) {
  const auto made = image({layer("etc/x", "x"), layer("etc/y", "y")});
  const fs::path to = folder.path() / "one.tar";
  target::write_docker_archive(to, {{"a:latest", made}});
  const auto read = target::read_image(to, "", folder.path() / "read", "'it'");
  EXPECT_EQ(read.id(), made.id());
  ASSERT_EQ(read.layers.size(), 2U);
  EXPECT_EQ(base::sha256_file(read.layers[1].file), made.layers[1].diff_id);
}

TEST_F(DockerArchiveTest, AnOciLayoutIsReadAsATarAndAsAFolder) {
  const auto files = layout();
  EXPECT_EQ(target::read_image(archive(files), manifest_digest, folder.path() / "a", "'it'").layers.size(),
            1U);
  const fs::path tree = folder.path() / "layout";
  for (const auto& [path, text] : files) {
    fs::create_directories((tree / path).parent_path());
    host::write_file(tree / path, text);
  }
  EXPECT_EQ(target::read_image(tree, manifest_digest, folder.path() / "b", "'it'").id(),
            image({layer("etc/x", "x")}).id());
  EXPECT_NE(error(tree, std::string(64, 'a'))
                .find("'it' has the manifest sha256:" + manifest_digest + ", not sha256:aaa"),
            std::string::npos);
}

TEST_F(DockerArchiveTest, WhatSkopeoLeavesAsAFolderIsRead) {
  const fs::path tree = folder.path() / "dir";
  fs::create_directory(tree);
  for (const auto& [path, text] : layout())
    if (path.starts_with("blobs/")) host::write_file(tree / fs::path(path).filename(), text);
  fs::rename(tree / manifest_digest, tree / "manifest.json");
  host::write_file(tree / "version", "Directory Transport Version: 1.1\n");
  EXPECT_EQ(target::read_image(tree, manifest_digest, folder.path() / "a", "'it'").id(),
            image({layer("etc/x", "x")}).id());
  EXPECT_NE(error(tree, std::string(64, 'a')).find("has the manifest sha256:" + manifest_digest + ", not"),
            std::string::npos);
}

TEST_F(DockerArchiveTest, OfAListOfManifestsTheOneForThisArchitectureIsChosen) {
  const auto one = [](const char* architecture, const char* digest) {
    return json{{"digest", digest}, {"platform", {{"architecture", architecture}, {"os", "linux"}}}};
  };
  EXPECT_EQ(target::choose_manifest(
                json{{"manifests", {one("arm64", "sha256:aa"), one("amd64", "sha256:bb")}}}.dump(), "it"),
            "bb");
  EXPECT_EQ(target::choose_manifest("{}", "it"), base::sha256("{}"));
  EXPECT_THROW(target::choose_manifest(json{{"manifests", {one("arm64", "sha256:aa")}}}.dump(), "it"),
               base::Error);
}

TEST_F(DockerArchiveTest, AnotherArchitectureIsRefused) {
  EXPECT_EQ(error(archive(layout("arm64"))),
            "'it' is for linux/arm64, the appliance for amd64; take the image for linux/amd64");
  auto files = layout();
  json index = json::parse(files["index.json"]);
  index["manifests"][0]["platform"] = {{"architecture", "arm64"}, {"os", "linux"}};
  files["index.json"] = index.dump();
  EXPECT_EQ(error(archive(files)),
            "'it' is for arm64, the appliance for amd64; take the image for linux/amd64");
}

TEST_F(DockerArchiveTest, DamageIsFoundWhereverItIs) {
  for (const auto& [path, text] : layout()) {
    if (!path.starts_with("blobs/")) continue;
    auto files = layout();
    files[path][text.size() / 2] ^= 1;
    EXPECT_NE(error(archive(files)).find("'it' is damaged: the sha256 of a file in it is "),
              std::string::npos)
        << path;
    files = layout();
    files.erase(path);
    EXPECT_NE(error(archive(files)).find("'it' lacks 'blobs/sha256/"), std::string::npos) << path;
  }
  const auto made = image({layer("etc/x", "x")});
  const fs::path to = folder.path() / "one.tar";
  target::write_docker_archive(to, {{"a:latest", made}});
  auto files = content(to);
  files[made.layers[0].diff_id + ".tar"] = host::read_file(layer("etc/x", "z").file);
  EXPECT_NE(error(archive(files)).find("'it' is damaged: the sha256 of layer 1 is not what"),
            std::string::npos);
  files = content(to);
  files[made.id() + ".json"] += " ";
  EXPECT_NE(error(archive(files)).find("'it' is damaged: the sha256 of its configuration is"),
            std::string::npos);
}

TEST_F(DockerArchiveTest, WhatIsNoImageIsRefused) {
  EXPECT_NE(error(archive({{"x", "y"}})).find("'it' has neither a manifest.json nor an index.json"),
            std::string::npos);
  EXPECT_NE(error(archive({{"manifest.json", "[]"}})).find("'it' holds 0 images"), std::string::npos);
  EXPECT_NE(error(archive({{"manifest.json", "{"}})).find("'it' has a damaged 'manifest.json'"),
            std::string::npos);
  const fs::path text = folder.path() / "text";
  host::write_file(text, "no archive");
  EXPECT_NE(error(text).find("'it': '"), std::string::npos);
}

TEST_F(DockerArchiveTest, AHostilePathInALayerIsRefused) {
  const std::string good = host::read_file(layer("ab/evil", "x").file);
  std::string bad = good;
  bad.replace(0, 3, "../");
  // The header's own sum: '.' is lower than 'a' and 'b'.
  unsigned sum = 0;
  for (std::size_t i = 0; i < 512; ++i) sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(bad[i]);
  bad.replace(148, 7, fmt::format("{:06o}", sum) + std::string(1, '\0'));
  const fs::path tar = folder.path() / "bad.tar";
  host::write_file(tar, bad);
  const auto made = image({{base::sha256_file(tar), tar}});
  const fs::path to = folder.path() / "one.tar";
  target::write_docker_archive(to, {{"a:latest", made}});
  EXPECT_NE(error(to).find("holds '../evil', which leads out of the archive"), std::string::npos)
      << error(to);
}

}  // namespace
}  // namespace kiln::tests
