#include <algorithm>
#include <filesystem>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/digest.hpp"
#include "base/error.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"
#include "stage/key_writer.hpp"
#include "target/docker_archive.hpp"
#include "unit/stages/fake_workspace.hpp"

namespace kiln::stages {
extern const stage::StageType docker_images;
}

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;

class DockerImagesTest : public testing::Test {
 protected:
  void SetUp() override {
    for (const char* program : {"/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/containerd"})
      work.image_files.add(program);
    host::Member file;
    file.path = "etc/x";
    file.content = "x";
    host::Member etc;
    etc.path = "etc";
    etc.kind = 'd';
    etc.mode = 0755;
    const fs::path tar = folder.path() / "layer.tar";
    host::write_archive(tar, host::Format::tar, {etc, file});
    image.layers = {{base::sha256_file(tar), tar}};
    image.config = target::image_config("{}", {image.layers[0].diff_id}, {"x"});
    target::write_docker_archive(folder.path() / "a.tar", {{"any:1", image}});
    write("a.yml", "name: a\narchive: a.tar\nsha256: " + base::sha256_file(folder.path() / "a.tar") + "\n");
  }
  void write(const std::string& name, const std::string& text) const {
    host::write_file(folder.path() / name, text);
  }
  [[nodiscard]] std::unique_ptr<stage::Stage> stage(
      const std::string& options = "{images: [a.yml], archive: false}") const {
    return make_stage(stages::docker_images, options, folder.path());
  }
  // The engine says that it has the image by this id.
  void engine_has(const std::string& id) {
    work.fake_system.on({"cat"}, fakes::printed("{}"));
    work.fake_system.on({"unshare"}, fakes::printed(id + "\n"));
    work.fake_guest.on({"docker", "image", "inspect"}, fakes::printed(id + "\n"));
  }
  std::string key() const {
    stage::KeyWriter writer(work.host());
    stage()->describe(writer);
    return writer.text();
  }

  host::TempDir folder;
  target::ImageFiles image;
  FakeWorkspace work;
};

TEST_F(DockerImagesTest, TheImagesOwnEngineLoadsThemWithoutANetwork) {
  engine_has("sha256:" + image.id());
  work.fake_system.on({"cat"},
                      fakes::printed(R"({"data-root": "/volatile/docker", "icc": false, "bip": "x"})"));
  stage()->run(work);
  ASSERT_TRUE(work.fake_system.ran("unshare --net sh -c"));
  const auto found = std::find_if(work.fake_system.commands.begin(), work.fake_system.commands.end(),
                                  [](const image::Exec& one) { return one.argv.front() == "unshare"; });
  EXPECT_EQ(
      found->argv.at(6),
      R"({"bridge":"none","data-root":"/volatile/docker","ip-forward":false,"iptables":false,"storage-driver":"overlay2"})");
  EXPECT_EQ(found->argv.back(), "a:latest");
  EXPECT_EQ(found->input_file.filename(), "images.tar");
  EXPECT_EQ(work.kept.at("images.list"), "a:latest sha256:" + image.id() + "\n");
  EXPECT_TRUE(work.fake_system.ran("tar --extract")) << "the list goes into the image";
}

TEST_F(DockerImagesTest, WhatAnEarlierStepLeftStaysButForTheSameName) {
  const std::string id(64, 'b');
  work.image_files.add("/usr/local/share/appliance/images/images.list",
                       "a:latest sha256:" + id + "\nother:1 sha256:" + id + "\n");
  engine_has("sha256:" + image.id());
  stage()->run(work);
  EXPECT_EQ(work.kept.at("images.list"), "other:1 sha256:" + id + "\na:latest sha256:" + image.id() + "\n");
}

TEST_F(DockerImagesTest, WhatTheEngineMadeOfThemIsCompared) {
  engine_has("sha256:" + std::string(64, 'a'));
  EXPECT_NE(error_of([&] { stage()->run(work); }).find("the engine has a:latest as sha256:aaa"),
            std::string::npos);
}

TEST_F(DockerImagesTest, AnImageWithoutAnEngineIsToldWhichPackageItLacks) {
  work.image_files.remove("/usr/sbin/dockerd");
  EXPECT_EQ(error_of([&] { stage()->run(work); }).substr(folder.path().string().size()),
            "/stage.yml:1:1: docker_images: the image has no dockerd, so it has no docker engine; let an "
            "earlier step "
            "install it, as in `packages: {install: [docker.io]}`");
  EXPECT_TRUE(work.fake_system.commands.empty());
}

TEST_F(DockerImagesTest, AWrongDigestIsRefusedBeforeAnythingChanges) {
  write("a.yml", "name: a\narchive: a.tar\nsha256: " + std::string(64, 'a') + "\n");
  const std::string error = error_of([&] { stage()->run(work); });
  EXPECT_NE(error.find("a.yml:2:10: the sha256 of '"), std::string::npos) << error;
  EXPECT_NE(error.find("not aaa"), std::string::npos);
  EXPECT_NE(error.find("while making the image 'a:latest'"), std::string::npos);
  EXPECT_TRUE(work.fake_system.commands.empty());
}

TEST_F(DockerImagesTest, WhatWasMadeBeforeIsTakenFromTheStore) {
  engine_has("sha256:" + image.id());
  stage()->run(work);
  EXPECT_TRUE(work.seen.notes.empty());
  fs::remove(folder.path() / "a.tar");
  host::write_file(folder.path() / "a.tar", "gone");
  stage()->run(work);
  EXPECT_EQ(work.seen.notes, std::vector<std::string>{"1 of 1 docker images were made before"});
}

TEST_F(DockerImagesTest, AKeptLayerThatIsNotWhatItWasIsMadeAgain) {
  engine_has("sha256:" + image.id());
  stage()->run(work);
  const fs::path kept = work.package_cache("docker") / (image.layers[0].diff_id + ".tar");
  // The store's file shares its bytes with the one at hand: another file takes its place.
  fs::remove(kept);
  host::write_file(kept, "damaged");
  host::remove_tree(work.scratch() / "layers");
  stage()->run(work);
  EXPECT_TRUE(work.seen.notes.empty());
  EXPECT_EQ(base::sha256_file(kept), image.layers[0].diff_id);
}

TEST_F(DockerImagesTest, AKeptConfigurationThatIsNotWhatItWasIsMadeAgain) {
  engine_has("sha256:" + image.id());
  stage()->run(work);
  for (const auto& entry : fs::directory_iterator(work.package_cache("docker"))) {
    if (entry.path().extension() != ".json") continue;
    std::string text = host::read_file(entry.path());
    const std::size_t at = text.find("amd64");
    ASSERT_NE(at, std::string::npos);
    text[at] = 'b';
    host::write_file(entry.path(), text);
  }
  stage()->run(work);
  EXPECT_TRUE(work.seen.notes.empty());
  stage()->run(work);
  EXPECT_EQ(work.seen.notes.size(), 1U);
}

// Root's, where buildah leaves `image`.
class Built : public FakeWorkspace {
 public:
  explicit Built(const target::ImageFiles& image) {
    world.root = true;
    there = world.host();
    for (const char* program : {"/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/containerd"})
      image_files.add(program);
    world.on({"buildah"}, fakes::printed(""));
    world.on({"skopeo", "copy"}, [image](const host::Command& command) {
      const fs::path to = command.argv.back().substr(4);
      fs::create_directory(to);
      const std::string layer = host::read_file(image.layers[0].file);
      host::write_file(to / base::sha256(layer), layer);
      host::write_file(to / base::sha256(image.config), image.config);
      host::write_file(to / "version", "Directory Transport Version: 1.1\n");
      host::write_file(
          to / "manifest.json",
          fmt::format(R"({{"config": {{"digest": "sha256:{}"}}, "layers": [{{"digest": "sha256:{}"}}]}})",
                      base::sha256(image.config), base::sha256(layer)));
      return fakes::printed("");
    });
    fake_system.on({"cat"}, fakes::printed("{}"));
    // The engine has whatever was loaded.
    fake_system.on({"unshare"}, [](const image::Exec& exec) {
      std::string id;
      host::read_archive(exec.input_file, [&](const host::Member& member, const auto&) {
        if (member.path.ends_with(".json") && member.path != "manifest.json")
          id = "sha256:" + member.path.substr(0, 64) + "\n";
      });
      return fakes::printed(id);
    });
  }
  [[nodiscard]] const host::Host& host() const override { return there; }
  host::Host there;
};

TEST_F(DockerImagesTest, WhatADockerfileFetchedAges) {
  fs::create_directory(folder.path() / "context");
  write("context/Dockerfile", "FROM scratch\n");
  write("a.yml", "name: a\ndockerfile: context\n");
  Built built(image);
  built.world.now = 1000;
  stage()->run(built);
  EXPECT_EQ(built.resolutions, std::vector<std::string>{"dockerfile a:latest"}) << "so the layer ages";
  EXPECT_EQ(built.as_of, 1000);
  built.world.now = 2000;
  built.since = 1000;
  stage()->run(built);
  EXPECT_EQ(built.seen.notes, std::vector<std::string>{"1 of 1 docker images were made before"});
  EXPECT_EQ(built.as_of, 1000) << "the layer is as old as the image";
  built.since = 1001;
  stage()->run(built);
  EXPECT_EQ(built.seen.notes.size(), 1U);
  EXPECT_EQ(built.as_of, 2000);
}

TEST_F(DockerImagesTest, TheKeyHoldsProjectsFilesAndTheProgramsThatAreAskedFor) {
  fs::create_directories(folder.path() / "project/target");
  write("project/pom.xml", "<x/>");
  write("project/image.lock", "");
  write("project/.settings", "of an editor");
  write("project/target/before", "x");
  write("conf", "1");
  write("a.yml",
        "name: a\nsuite: bookworm\nmaven: [{project: project, tree: target/image, to: /}]\n"
        "files: [{from: conf, to: /etc/conf}]\n");
  stage::KeyWriter writer(work.host());
  stage()->describe(writer);
  std::vector<std::string> served;
  for (const host::TreeNode& node : writer.inputs().at(folder.path() / "project"))
    served.push_back(node.path);
  EXPECT_EQ(served, (std::vector<std::string>{"image.lock", "pom.xml"}));
  const std::string& before = writer.text();
  EXPECT_NE(before.find("tool mmdebstrap "), std::string::npos);
  EXPECT_NE(before.find("tool java "), std::string::npos) << "what compiles";
  EXPECT_NE(before.find("tool mvn "), std::string::npos);
  EXPECT_EQ(before.find("tool skopeo"), std::string::npos);
  EXPECT_NE(before.find("input a:latest conf"), std::string::npos);
  // What an earlier build by hand left is no input.
  write("project/target/left", "x");
  EXPECT_EQ(key(), before);
  write("conf", "2");
  EXPECT_NE(key(), before);
  EXPECT_EQ(stage()->asked_tools(), (std::vector<std::string_view>{"mmdebstrap", "java", "mvn"}));
}

TEST_F(DockerImagesTest, AJarThatTheLockDoesNotNameIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "skip: only root composes an image";
  fs::create_directories(folder.path() / "project");
  write("project/pom.xml", "<x/>");
  const std::string x = base::sha256("x") + "  lib/x.jar\n";
  write("project/image.lock", x);
  write("b.yml", "name: b\non: a\nmaven: [{project: project, tree: target/image, to: /}]\n");
  work.as_root();
  work.world.on({"mvn"}, [](const host::Command& command) {
    const fs::path tree = fs::path(command.argv.at(4)).parent_path() / "target/image/lib";
    fs::create_directories(tree);
    for (const char* name : {"x.jar", "y.jar", "x.class"}) host::write_file(tree / name, "x");
    return fakes::printed("");
  });
  const auto refused = [&] {
    return error_of([&] { stage("{images: [a.yml, b.yml], archive: false}")->run(work); });
  };
  const std::string error = refused();
  EXPECT_NE(error.find("image.lock: the tree has 'lib/y.jar', which no line names"), std::string::npos)
      << error;
  EXPECT_EQ(error.find("x.jar"), std::string::npos);
  write("project/image.lock", x + base::sha256("x") + "  lib/y.jar\n");
  // Named it is taken, and what follows ends without a real root.
  work.world.on({"tar", "--create"}, fakes::failed(2, "no layer"));
  EXPECT_EQ(refused().find("no line names"), std::string::npos);
}

TEST_F(DockerImagesTest, APrivateKeyInTheFilesIsRefused) {
  write("key",
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQ\n-----END PRIVATE "
        "KEY-----\n");
  write("a.yml", "name: a\nsuite: bookworm\nfiles: [{from: key, to: /key}]\n");
  EXPECT_NE(error_of([&] { key(); }).find("private key"), std::string::npos);
}

TEST_F(DockerImagesTest, InAGuestItsOwnServiceLoadsThem) {
  FakeWorkspace guest(false);
  for (const char* program : {"/usr/bin/docker", "/usr/sbin/dockerd", "/usr/bin/containerd"})
    guest.image_files.add(program);
  guest.fake_system.on({"docker", "image", "inspect"}, fakes::printed("sha256:" + image.id() + "\n"));
  stage()->run(guest);
  EXPECT_TRUE(guest.fake_system.ran("systemctl start docker.service"));
  EXPECT_TRUE(guest.fake_system.ran("docker load --quiet"));
  EXPECT_FALSE(guest.fake_system.ran("unshare"));
}

TEST_F(DockerImagesTest, OfflineWhatARegistryHasIsNamed) {
  write("a.yml", "name: a\nregistry: localhost:5000/x@sha256:" + std::string(64, 'b') + "\n");
  work.is_offline = true;
  EXPECT_NE(error_of([&] {
              stage()->run(work);
            }).find("a.yml:2:11: --offline: the store does not keep the image localhost:5000/x@sha256:bbb"),
            std::string::npos);
}

}  // namespace
}  // namespace kiln::tests
