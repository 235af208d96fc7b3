#include "env/sources.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <map>
#include <sys/stat.h>

#include "base/error.hpp"
#include "env/gzip.hpp"
#include "fakes/host.hpp"
#include "fakes/http_server.hpp"
#include "host/archive.hpp"
#include "host/atomic_file.hpp"

namespace kiln::env {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

std::string env_of(const std::string& domain) {
  return "#cloud-config\nappliance:\n  domain: " + domain + "\necs:\n  settings: |\n    X = 1\n";
}

std::string http(const std::string& status, const std::string& content = {},
                 const std::string& headers = {}) {
  return "HTTP/1.1 " + status + "\r\nConnection: close\r\nContent-Length: " + std::to_string(content.size()) +
         "\r\n" + headers + "\r\n" + content;
}

// A machine that has no environment anywhere; each test gives it one.
class SourcesTest : public testing::Test {
 protected:
  SourcesTest() : host_(host::Host::system()) {
    host_.env = [this](const std::string& name) -> std::optional<std::string> {
      const auto found = variables_.find(name);
      return found == variables_.end() ? std::nullopt : std::optional(found->second);
    };
    places_.file = tree_ / "app/env.yml";
    places_.labels = tree_.folder("by-label");
    places_.dmi = tree_.folder("dmi");
    places_.metadata = "http://127.0.0.1:1";  // nobody answers there
  }

  void iso(const std::string& label, const std::map<std::string, std::string>& files) {
    std::vector<host::Member> members;
    for (const auto& [path, content] : files) {
      host::Member member;
      member.path = path;
      member.content = content;
      members.push_back(std::move(member));
    }
    host::write_archive(tree_ / (label + ".iso"), host::Format::iso9660, members, label);
    tree_.link("by-label/" + label, (tree_ / (label + ".iso")).string());
  }

  void run(std::vector<std::string> argv) {
    const auto done = host_.runner->run(host::Command(std::move(argv)));
    ASSERT_TRUE(done.ok()) << done.err;
  }

  // A drive as cloud-init's own tools make it: FAT, its label in upper case.
  void fat(const std::string& label, const std::string& path, const std::string& content) {
    const std::string drive = tree_.file("drive", std::string(1U << 20U, '\0')).string();
    run({"mkfs.vfat", "-n", label, drive});
    for (std::size_t at = path.find('/'); at != std::string::npos; at = path.find('/', at + 1))
      run({"mmd", "-i", drive, "::/" + path.substr(0, at)});
    run({"mcopy", "-i", drive, tree_.file("content", content).string(), "::/" + path});
    tree_.link("by-label/" + label, drive);
  }

  std::string found() {
    const auto one = find_environment(places_, host_);
    return one ? one->source + ": " + one->text : "none";
  }
  fs::path active() { return tree_ / "run/active-env.yml"; }
  std::string refused() {
    try {
      return "no error, but " + update(places_, active(), host_);
    } catch (const base::Errors& errors) {
      return errors.all().front().what();
    } catch (const base::Error& error) {
      return error.what();
    }
  }

  fakes::TempTree tree_;
  std::map<std::string, std::string> variables_;
  host::Host host_;
  Surroundings places_;
};

TEST_F(SourcesTest, TheFirstThatIsThereCounts) {
  EXPECT_EQ(found(), "none");
  iso("config-2", {{"openstack/latest/user_data", env_of("five.test")}});
  EXPECT_EQ(found(), "openstack/latest/user_data on the drive labelled config-2: " + env_of("five.test"));
  iso("cidata", {{"user-data", env_of("three.test")}, {"meta-data", "instance-id: x\n"}});
  EXPECT_EQ(found(), "user-data on the drive labelled cidata: " + env_of("three.test"));
  tree_.file("app/env.yml", env_of("two.test"));
  EXPECT_EQ(found(), (tree_ / "app/env.yml").string() + ": " + env_of("two.test"));
  variables_["ENV_YML"] = (tree_ / "mine.yml").string();
  EXPECT_THAT(found(), HasSubstr("two.test")) << "what is named is not there";
  tree_.file("mine.yml", env_of("one.test"));
  EXPECT_THAT(found(), HasSubstr("one.test"));
}

TEST_F(SourcesTest, ADriveWithoutTheFileIsNone) {
  iso("cidata", {{"meta-data", "instance-id: x\n"}});
  iso("config-2", {{"openstack/latest/meta_data.json", "{}"}, {"user_data", "elsewhere"}});
  EXPECT_EQ(found(), "none");
}

TEST_F(SourcesTest, DrivesMayBeFat) {
  fat("CIDATA", "user-data", env_of("fat.test"));
  EXPECT_EQ(found(), "user-data on the drive labelled cidata: " + env_of("fat.test"));
}

TEST_F(SourcesTest, AFatConfigDriveHasFolders) {
  fat("CONFIG-2", "openstack/latest/user_data", env_of("fat.test"));
  EXPECT_EQ(found(), "openstack/latest/user_data on the drive labelled config-2: " + env_of("fat.test"));
}

TEST_F(SourcesTest, AFatDriveWithoutTheFileIsNone) {
  fat("CIDATA", "meta-data", "instance-id: x\n");
  EXPECT_EQ(found(), "none");
}

TEST_F(SourcesTest, ADriveThatCannotBeReadIsAnError) {
  tree_.file("noise", std::string(1U << 20U, 'x'));
  tree_.link("by-label/cidata", (tree_ / "noise").string());
  EXPECT_THAT(refused(),
              HasSubstr("user-data on the drive labelled cidata: it has neither ISO 9660 nor FAT"));
}

TEST_F(SourcesTest, TooMuchIsRefused) {
  tree_.file("app/env.yml", env_of("long.test") + std::string(1U << 20U, '#'));
  EXPECT_THAT(refused(), HasSubstr("it has more than 1 MiB"));
  fs::remove(tree_ / "app/env.yml");
  iso("cidata", {{"user-data", env_of("long.test") + std::string(1U << 20U, '#')}});
  EXPECT_THAT(refused(), HasSubstr("it has more than 1 MiB"));
}

TEST_F(SourcesTest, APlaceThatCannotBeReadIsNotPassedOver) {
  iso("cidata", {{"user-data", env_of("lower.test")}});
  tree_.folder("app");
  tree_.link("app/env.yml", "env.yml");
  EXPECT_THAT(refused(), HasSubstr("app/env.yml: "));
}

TEST_F(SourcesTest, WhatIsPackedIsUnpacked) {
  const std::string packed = gzip(env_of("packed.test"));
  iso("cidata", {{"user-data", packed}});
  EXPECT_EQ(found(), "user-data on the drive labelled cidata: " + env_of("packed.test"));
  tree_.file("app/env.yml", packed.substr(0, packed.size() / 2));
  EXPECT_THAT(refused(), HasSubstr("app/env.yml: it is gzip and ends too early"));
  tree_.file("app/env.yml", packed + "more");
  EXPECT_THAT(refused(), HasSubstr("app/env.yml: damaged: more follows"));
  tree_.file("app/env.yml", gzip(env_of("long.test") + std::string(1U << 20U, '#')));
  EXPECT_THAT(refused(), HasSubstr("app/env.yml: the text in it has over 1048576 bytes"));
}

TEST_F(SourcesTest, Ec2IsAskedWithATokenOnItsOwnMachines) {
  fakes::HttpServer server([](const std::string& request) {
    if (request.starts_with("PUT /latest/api/token ")) return http("200 OK", "t0ken");
    if (request.starts_with("GET /latest/user-data ") &&
        request.find("X-aws-ec2-metadata-token: t0ken\r\n") != std::string::npos)
      return http("200 OK", env_of("ec2.test"));
    return http("401 Unauthorized");
  });
  places_.metadata = server.url("");
  EXPECT_EQ(found(), "none");
  EXPECT_THAT(server.requests(), IsEmpty()) << "a machine of nobody's cloud asks nobody";
  tree_.file("dmi/sys_vendor", "Amazon EC2\n");
  EXPECT_EQ(found(), "the metadata of EC2: " + env_of("ec2.test"));
  ASSERT_EQ(server.requests().size(), 2U);
  EXPECT_THAT(server.requests()[0], HasSubstr("X-aws-ec2-metadata-token-ttl-seconds: 60\r\n"));
}

TEST_F(SourcesTest, AnOldMachineOfEc2IsKnownByItsUuidAndMayHaveNoTokens) {
  fakes::HttpServer server([](const std::string& request) {
    return request.starts_with("GET /latest/user-data ") ? http("200 OK", env_of("old.test"))
                                                         : http("403 Forbidden");
  });
  places_.metadata = server.url("");
  tree_.file("dmi/product_uuid", "ec2f00d5-1111-2222-3333-444455556666\n");
  tree_.file("dmi/sys_vendor", "QEMU\n");
  EXPECT_EQ(found(), "none") << "one UUID in 4096 begins so";
  tree_.file("dmi/product_serial", "VMware-1\n");
  EXPECT_EQ(found(), "none");
  EXPECT_THAT(server.requests(), IsEmpty());
  tree_.file("dmi/product_serial", "EC2F00D5-1111-2222-3333-444455556666\n");
  EXPECT_EQ(found(), "the metadata of EC2: " + env_of("old.test"));
}

TEST_F(SourcesTest, GceIsAskedInItsFlavor) {
  fakes::HttpServer server([](const std::string& request) {
    const bool right = request.starts_with("GET /computeMetadata/v1/instance/attributes/user-data ") &&
                       request.find("Metadata-Flavor: Google\r\n") != std::string::npos;
    return right ? http("200 OK", env_of("gce.test"), "Metadata-Flavor: Google\r\n") : http("403 Forbidden");
  });
  places_.metadata = server.url("");
  tree_.file("dmi/sys_vendor", "Google\n");
  tree_.file("dmi/product_name", "Google Compute Engine\n");
  EXPECT_EQ(found(), "the metadata of GCE: " + env_of("gce.test"));
}

TEST_F(SourcesTest, WhoAnswersInGooglesPlaceIsNotBelieved) {
  fakes::HttpServer server([](const std::string&) { return http("200 OK", env_of("evil.test")); });
  places_.metadata = server.url("");
  tree_.file("dmi/product_name", "Google Compute Engine\n");
  EXPECT_THAT(refused(), HasSubstr("what answers is not Google's server"));
}

TEST_F(SourcesTest, CloudsWithoutUserDataAreNoneAndSilentOnesAnError) {
  fakes::HttpServer server([](const std::string&) { return http("404 Not Found"); });
  places_.metadata = server.url("");
  tree_.file("dmi/sys_vendor", "Amazon EC2\n");
  EXPECT_EQ(found(), "none");
  places_.metadata = "http://127.0.0.1:1";
  EXPECT_THAT(refused(), StartsWith("the environment in the metadata of EC2: cannot fetch "));
}

TEST_F(SourcesTest, UpdatePutsItInForce) {
  tree_.folder("run");
  tree_.file("app/env.yml", env_of("new.test"));
  EXPECT_EQ(update(places_, active(), host_), (tree_ / "app/env.yml").string());
  EXPECT_EQ(host::read_file(active()), env_of("new.test"));
  struct stat status{};
  ASSERT_EQ(::stat(active().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

TEST_F(SourcesTest, WhatIsBrokenLeavesWhatIsInForce) {
  tree_.file("run/active-env.yml", "old");
  const auto expect = [&](const std::string& text, const std::string& error) {
    tree_.file("app/env.yml", text);
    EXPECT_THAT(refused(), HasSubstr(error)) << text;
    EXPECT_EQ(host::read_file(active()), "old");
  };
  expect("#cloud-config\nappliance: {domain: [\n", "app/env.yml");
  expect("#cloud-config\nssh_authorized_keys: []\n", "there is no mapping 'appliance' in it");
  expect("#cloud-config\nappliance: {a b: c}\n", "is no name for a shell");
  expect(env_of("x.test") + "appliance: {}\n", "appliance");
  fs::remove(tree_ / "app/env.yml");
  EXPECT_THAT(refused(), HasSubstr("there is no environment: not in $ENV_YML"));
  EXPECT_EQ(host::read_file(active()), "old");
}

}  // namespace
}  // namespace kiln::env
