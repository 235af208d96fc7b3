#include "target/docker_image.hpp"

#include <filesystem>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "host/atomic_file.hpp"
#include "host/temp_dir.hpp"

namespace kiln::tests {
namespace {

namespace fs = std::filesystem;
using target::DockerImage;

class DockerImageTest : public testing::Test {
 protected:
  target::Definition define(const std::string& file, const std::string& text) const {
    return {folder.path() / file, text};
  }
  [[nodiscard]] DockerImage one(const std::string& text) const {
    return target::read_docker_images({define("one.yml", text)}).front();
  }
  // What is wrong, without the folder in it.
  [[nodiscard]] std::string errors(const std::vector<target::Definition>& all) const {
    try {
      target::read_docker_images(all);
    } catch (const base::Error& error) {
      std::string text = error.what();
      const std::string place = folder.path().string() + "/";
      for (std::size_t at = text.find(place); at != std::string::npos; at = text.find(place))
        text.erase(at, place.size());
      return text;
    }
    return "no error";
  }
  [[nodiscard]] std::string errors(const std::string& text) const {
    return errors({define("one.yml", text)});
  }

  host::TempDir folder;
};

TEST_F(DockerImageTest, ADefinitionSaysAllThatAnImageIsMadeOf) {
  fs::create_directory(folder.path() / "demo");
  const DockerImage image = one(R"(name: app/redis:7
suite: bookworm
packages: [redis-server, "redis-tools=5:7.0.15-1"]
users: [{name: redis, id: 420, home: /var/lib/redis}]
fetch: [{url: "https://example.org/x", sha256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, to: /x}]
files: [{from: demo, to: /app}]
run: [[chown, "420", /data]]
remove: [/usr/share/x]
)");
  EXPECT_EQ(image.name, "app/redis:7");
  EXPECT_EQ(image.source, DockerImage::Source::suite);
  EXPECT_EQ(image.from, "bookworm");
  EXPECT_EQ(image.packages, (std::vector<std::string>{"redis-server", "redis-tools=5:7.0.15-1"}));
  EXPECT_EQ(image.users.at(0).id, 420);
  EXPECT_EQ(image.users.at(0).home, "/var/lib/redis");
  EXPECT_EQ(image.fetch.at(0).to, "/x");
  EXPECT_EQ(image.files.at(0).from, folder.path() / "demo");
  EXPECT_EQ(image.run, (std::vector<std::vector<std::string>>{{"chown", "420", "/data"}}));
  EXPECT_EQ(image.remove, std::vector<std::string>{"/usr/share/x"});
}

TEST_F(DockerImageTest, ItsConfigurationIsTheEngines) {
  const DockerImage image = one(R"(name: redis
suite: bookworm
config:
  user: "420"
  entrypoint: [/bin/redis]
  command: [--save, ""]
  env: {A: "1", PATH: /bin}
  workdir: /data
  expose: [6379/tcp]
  volumes: [/data]
  stop_signal: SIGTERM
  healthcheck: {command: [redis-cli, ping], interval: 10s, timeout: 500ms, start_period: 1m, retries: 3}
)");
  EXPECT_EQ(nlohmann::json::parse(image.config), nlohmann::json::parse(R"({
    "User": "420", "Entrypoint": ["/bin/redis"], "Cmd": ["--save", ""], "Env": ["PATH=/bin", "A=1"],
    "WorkingDir": "/data", "ExposedPorts": {"6379/tcp": {}}, "Volumes": {"/data": {}}, "StopSignal": "SIGTERM",
    "Healthcheck": {"Test": ["CMD", "redis-cli", "ping"], "Interval": 10000000000, "Timeout": 500000000,
                    "StartPeriod": 60000000000, "Retries": 3}})"));
}

TEST_F(DockerImageTest, WhatOneStandsOnComesBeforeIt) {
  fs::create_directory(folder.path() / "built");
  host::write_file(
      folder.path() / "built/Dockerfile",
      "ARG X\nFROM --platform=linux/amd64 java AS first\nFROM first\nFROM scratch\nFROM base:2\n");
  const auto images = target::read_docker_images({define("a.yml", "name: built\ndockerfile: built\n"),
                                                  define("b.yml", "name: java\non: base:2\n"),
                                                  define("c.yml", "name: base:2\nsuite: bookworm\n")});
  ASSERT_EQ(images.size(), 3U);
  EXPECT_EQ(images[0].name, "base:2");
  EXPECT_EQ(images[1].name, "java:latest");
  EXPECT_EQ(images[2].name, "built:latest");
  EXPECT_EQ(images[2].bases, (std::vector<std::string>{"java:latest", "base:2"}));
}

TEST_F(DockerImageTest, EveryMistakeIsToldWithItsPlace) {
  EXPECT_EQ(
      errors({define("a.yml",
                     "name: Redis\nsuite: bookworm\npackges: [x]\nusers: [{name: x}]\n"
                     "fetch: [{url: \"ftp://x\", sha256: 12, to: x}]\n"
                     "config: {expose: [80], healthcheck: {command: [x], interval: soon}}\n"),
              define("b.yml", "name: b\nregistry: localhost:5000/x:latest\n"),
              define("c.yml", "name: c\narchive: c.tar\nrun: [[true]]\n")}),
      R"(a.yml:1:7: 'Redis' is no name of an image; write lower-case letters, digits and single . _ - /, with a tag if need be, such as redis:7
a.yml:4:9: users: 'id:' is missing
a.yml:5:9: fetch: 'to: x' is no whole path; write the path in the image, such as /app
a.yml:5:9: fetch: 'url:' is no URL; write a URL that begins with https://, http:// or file://
a.yml:5:9: fetch: 'sha256:' is not 64 lower-case hexadecimal digits
a.yml:6:9: config: expose: '80' is no port; write it as 6379/tcp
a.yml:6:37: config: healthcheck: interval: 'soon' is no duration; write it as 10s
a.yml:3:1: unknown key 'packges', did you mean 'packages'?
b.yml:2:11: 'localhost:5000/x:latest' is not pinned by its digest; write HOST/NAME@sha256:DIGEST; `skopeo inspect docker://HOST/NAME` says which
c.yml:2:10: there is no file 'c.tar'; paths start from the folder of the definition
c.yml:2:10: the archive is not pinned; write 'sha256:' of the file, as `sha256sum` prints it; of a folder that of the manifest in its index.json
c.yml:3:6: 'run:' is for images with 'suite:' or 'on:'; put it into an image of its own that stands on this one)");
}

TEST_F(DockerImageTest, AnImageStandsOnOneThing) {
  EXPECT_NE(errors("name: a\n").find("nothing says what the image is made of; give one of suite"),
            std::string::npos);
  EXPECT_NE(
      errors("name: a\nsuite: x\non: b\n").find("both 'suite:' and 'on:' say what the image is made of"),
      std::string::npos);
}

TEST_F(DockerImageTest, WhatNoDefinitionMakesIsRefusedWithAGuess) {
  EXPECT_EQ(
      errors({define("a.yml", "name: debian\nsuite: bookworm\n"), define("b.yml", "name: b\non: debain\n")}),
      "b.yml:2:5: 'b:latest' stands on 'debain:latest', which no definition makes; did you mean "
      "'debian:latest'?");
}

TEST_F(DockerImageTest, ADockerfileBuildsOnOtherDefinitionsAlone) {
  fs::create_directory(folder.path() / "built");
  host::write_file(folder.path() / "built/Dockerfile", "FROM debian@sha256:12\nFROM ${BASE}\n");
  EXPECT_EQ(errors("name: a\ndockerfile: built\n"),
            "built/Dockerfile:1:1: 'debian@sha256:12' is no other definition's image; define it with "
            "'registry:' by its "
            "digest, and name that here\n"
            "built/Dockerfile:2:1: '${BASE}' is no other definition's image; define it with 'registry:' by "
            "its digest, "
            "and name that here");
}

TEST_F(DockerImageTest, ACircleAndASecondOneOfANameAreRefused) {
  EXPECT_NE(errors({define("a.yml", "name: a\non: b\n"), define("b.yml", "name: b\non: a\n")})
                .find("a.yml:2:5: 'a:latest' stands on itself, by way of 'b:latest'"),
            std::string::npos);
  EXPECT_EQ(errors({define("a.yml", "name: a\nsuite: x\n"), define("b.yml", "name: a:latest\nsuite: y\n")}),
            "b.yml:2:8: the image 'a:latest' is defined twice; it is in a.yml as well");
}

TEST_F(DockerImageTest, ARegistryOnThisMachineIsKnownByItsWholeHost) {
  for (const char* here : {"localhost/x@sha256:1", "localhost:5000/x", "127.0.0.1:5000/a/b", "127.1.2.3/x"})
    EXPECT_TRUE(target::is_on_loopback(here)) << here;
  for (const char* elsewhere : {"127.example.org/x", "127.0.0.1.example.org/x",
                                "localhost.example.org:5000/x", "example.org/localhost:5000/x"})
    EXPECT_FALSE(target::is_on_loopback(elsewhere)) << elsewhere;
}

TEST_F(DockerImageTest, PathsThatLeaveTheImageAreRefused) {
  EXPECT_NE(errors("name: a\nsuite: x\nremove: [/a/../b]\n").find("remove: '/a/../b' is no whole path"),
            std::string::npos);
  EXPECT_NE(errors("name: a\nsuite: x\nremove: [/]\n").find("remove: '/' is no whole path"),
            std::string::npos);
}

}  // namespace
}  // namespace kiln::tests
