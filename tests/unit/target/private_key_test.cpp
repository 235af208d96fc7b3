#include "target/private_key.hpp"

#include <gtest/gtest.h>

#include "base/error.hpp"
#include "fakes/host.hpp"

namespace kiln::target {
namespace {

// Put together here, so that this file holds no key.
std::string pem(const std::string& label, const std::string& body) {
  return "-----BEGIN " + label + "-----\n" + body + "\n-----END " + label + "-----\n";
}
const std::string body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj";

TEST(PrivateKey, IsFoundInEachForm) {
  for (const char* label :
       {"PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}) {
    EXPECT_TRUE(has_private_key(pem(label, body))) << label;
  }
  EXPECT_TRUE(has_private_key(pem("PGP PRIVATE KEY BLOCK", "Version: GnuPG v2\n\n" + body)));
  EXPECT_TRUE(has_private_key(pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\n" + body)));
  EXPECT_TRUE(has_private_key("AGE-SECRET-KEY-1" + std::string(58, 'Q')));
}

TEST(PrivateKey, IsFoundInsideYamlAndJson) {
  EXPECT_TRUE(has_private_key("tls:\n  key: |\n    -----BEGIN PRIVATE KEY-----\n    " + body + "\n"));
  EXPECT_TRUE(has_private_key("{\"key\": \"-----BEGIN PRIVATE KEY-----\\n" + body + "\\n\"}"));
}

TEST(PrivateKey, PublicThingsAndMentionsAreNone) {
  EXPECT_FALSE(has_private_key(pem("CERTIFICATE", body)));
  EXPECT_FALSE(has_private_key(pem("PUBLIC KEY", body)));
  EXPECT_FALSE(has_private_key("grep -q -e '-----BEGIN PRIVATE KEY-----' \"$file\" || exit 1\n"));
  EXPECT_FALSE(has_private_key(""));
}

TEST(PrivateKey, InATreeIsAnErrorThatNamesTheFileAndTheWayOut) {
  const fakes::TempTree tree({{"a/readme", "nothing\n"}, {"b/tls.key", pem("PRIVATE KEY", body)}});
  try {
    refuse_private_keys(tree.path(), host::walk(tree.path()), "overlay", {"p.yml", 3, 5});
    FAIL() << "nothing was thrown";
  } catch (const base::Error& error) {
    EXPECT_EQ(error.exit(), base::Exit::usage);
    EXPECT_EQ(error.where().text(), "p.yml:3:5");
    EXPECT_EQ(error.message(), "the overlay holds a private key");
    EXPECT_NE(error.hint_text().find("first boot"), std::string::npos);
    EXPECT_EQ(error.detail_text(), (tree / "b/tls.key").string());
  }
}

}  // namespace
}  // namespace kiln::target
