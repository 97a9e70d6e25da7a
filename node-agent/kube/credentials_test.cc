// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/credentials.h"

#include <gmock/gmock.h>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/kube/base64.h"
#include "node-agent/kube/kubeconfig.h"

namespace ullage::kube {
namespace {

using testing::HasSubstr;

TEST(InCluster, IsWhatTheKubeletPutsIntoAPod) {
  const host::TemporaryTree tree;
  tree.Write("token", "abc.def-1\n");
  tree.Write("ca.crt", "CA");
  const auto access = InCluster({"10.96.0.1", "443", tree.path()});
  ASSERT_TRUE(access.ok()) << access.error().message();
  EXPECT_EQ(access->server, "https://10.96.0.1:443");
  const Credentials credentials(*access);
  EXPECT_EQ(*credentials.Token(), "abc.def-1");
  EXPECT_EQ(credentials.Tls()->ca, "CA");
  EXPECT_EQ(credentials.Tls()->certificate, "");
  EXPECT_EQ(InCluster({"fd00::1", "6443", ""})->server, "https://[fd00::1]:6443");
}

TEST(InCluster, SaysWhenThisIsNoPod) {
  EXPECT_EQ(InCluster({"", "443", "/"}).error().code(), Code::kNotFound);
  EXPECT_EQ(InCluster({"h", "", "/"}).error().code(), Code::kNotFound);
  for (const char* port : {"0", "65536", "x", "tcp://10.0.0.1:443", "-1"}) {
    EXPECT_EQ(InCluster({"h", port, "/"}).error().code(), Code::kInvalid) << port;
  }
}

TEST(Credentials, ARotatedTokenIsSeenAtOnce) {
  const host::TemporaryTree tree;
  tree.Write("token", "old");
  Access access{"https://h"};
  access.token.file = tree.path("token");
  const Credentials credentials(access);
  EXPECT_EQ(*credentials.Token(), "old");
  tree.Write("token", "new");
  EXPECT_EQ(*credentials.Token(), "new");
}

TEST(Credentials, AMissingOrBadTokenIsAnError) {
  const host::TemporaryTree tree;
  Access access{"https://h"};
  access.token.file = tree.path("token");
  const Credentials credentials(access);
  EXPECT_EQ(credentials.Token().error().code(), Code::kNotFound);
  EXPECT_THAT(credentials.Token().error().message(), HasSubstr("reading the token"));
  for (const char* token : {"a\r\nX-Evil: 1", "a b", "\x7f", "t\xc3\xa4", "\n\nx"}) {
    tree.Write("token", token);
    EXPECT_EQ(credentials.Token().error().code(), Code::kInvalid) << token;
  }
  tree.Write("token", "");
  EXPECT_EQ(credentials.Token().error().code(), Code::kInvalid);
  tree.Write("token", std::string(kMaxCredentialBytes + 1, 'a'));
  EXPECT_EQ(credentials.Token().error().code(), Code::kInvalid);
  EXPECT_EQ(*Credentials(Access{"https://h"}).Token(), "");
}

TEST(Base64, ReadsWhatIsAndNothingElse) {
  EXPECT_EQ(DecodeBase64("aGVs\nbG8="), "hello");
  EXPECT_EQ(DecodeBase64("aGVsbG8h"), "hello!");
  EXPECT_EQ(DecodeBase64("aA=="), "h");
  EXPECT_EQ(DecodeBase64(""), "");
  for (const char* text : {"a", "aGVsbG8", "a===", "aG=s", "====", "a-__", "aGVs*G8=", "\taGV"}) {
    EXPECT_EQ(DecodeBase64(text), std::nullopt) << text;
  }
}

// CA, CERT, KEY
constexpr const char* kWhole = R"(
apiVersion: v1
kind: Config
current-context: b
clusters:
- name: c1
  cluster: {server: "https://a:6443", certificate-authority: pki/ca.crt}
- name: c2
  cluster: {server: "https://b/k8s/c2", certificate-authority-data: Q0E=}
users:
- name: u1
  user: {tokenFile: /abs/token, token: stale}
- name: u2
  user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}
- name: u3
  user: {token: abc}
contexts:
- name: a
  context: {cluster: c1, user: u1, namespace: x}
- name: b
  context: {cluster: c2, user: u2}
- name: c
  context: {cluster: c1, user: u3}
- name: lost
  context: {cluster: c3, user: u1}
- name: nobody
  context: {cluster: c1, user: u9}
)";

TEST(Kubeconfig, ReadsTheCurrentOrANamedContext) {
  const auto current = ParseKubeconfig(kWhole, "/etc/k");
  ASSERT_TRUE(current.ok()) << current.error().message();
  EXPECT_EQ(current->server, "https://b/k8s/c2");
  EXPECT_EQ(current->ca.text, "CA");
  EXPECT_EQ(current->certificate.text, "CERT");
  EXPECT_EQ(current->key.text, "KEY");
  EXPECT_TRUE(current->token.empty());
  const auto named = ParseKubeconfig(kWhole, "/etc/k", "a");
  ASSERT_TRUE(named.ok()) << named.error().message();
  EXPECT_EQ(named->server, "https://a:6443");
  EXPECT_EQ(named->ca.file, "/etc/k/pki/ca.crt");
  EXPECT_EQ(named->token.file, "/abs/token");
  EXPECT_EQ(named->token.text, "");
  EXPECT_EQ(ParseKubeconfig(kWhole, "/etc/k", "c")->token.text, "abc");
}

TEST(Kubeconfig, SaysWhatIsMissing) {
  EXPECT_EQ(ParseKubeconfig(kWhole, "/", "none").error().message(), "there is no context 'none'");
  EXPECT_EQ(ParseKubeconfig(kWhole, "/", "lost").error().message(), "there is no cluster 'c3'");
  EXPECT_EQ(ParseKubeconfig(kWhole, "/", "nobody").error().message(), "there is no user 'u9'");
  EXPECT_EQ(ParseKubeconfig("a: 1", "/").error().message(), "there is no current-context");
  for (const char* text : {"", "[]", "x", "{", "current-context: [a]", "\x01", "*a",
                           "current-context: a\ncontexts: {a: b}",
                           "current-context: a\ncontexts: [{name: a, context: 1}]"}) {
    EXPECT_FALSE(ParseKubeconfig(text, "/").ok()) << text;
  }
}

std::string With(const std::string& cluster, const std::string& user) {
  return "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
         "clusters: [{name: c, cluster: {" +
         cluster + "}}]\nusers: [{name: u, user: {" + user + "}}]\n";
}

TEST(Kubeconfig, RefusesWhatItDoesNotUnderstand) {
  const std::string server = "server: 'https://h'";
  const std::pair<std::string, const char*> cases[] = {
      {With(server, "exec: {command: aws}"), "exec plugins are not run"},
      {With(server, "auth-provider: {name: gcp}"), "auth providers"},
      {With(server, "username: a, password: b"), "passwords are not supported"},
      {With(server, "as: admin"), "impersonation"},
      {With(server, "client-certificate: a.crt"), "belong together"},
      {With(server, "client-certificate-data: '***', client-key-data: S0VZ"), "no base64"},
      {With(server, "token: [a]"), "one value is wanted"},
      {With(server + ", insecure-skip-tls-verify: true", ""), "has to prove itself"},
      {With(server + ", proxy-url: 'http://p'", ""), "proxies"},
      {With(server + ", tls-server-name: x", ""), "its own address"},
      {With("server: 'http://h'", ""), "an https address is wanted"},
      {With("", ""), "an https address is wanted"},
  };
  for (const auto& [text, wanted] : cases) {
    const auto access = ParseKubeconfig(text, "/");
    ASSERT_FALSE(access.ok()) << text;
    EXPECT_EQ(access.error().code(), Code::kInvalid) << text;
    EXPECT_THAT(access.error().message(), HasSubstr(wanted)) << text;
  }
  EXPECT_TRUE(ParseKubeconfig(With(server + ", insecure-skip-tls-verify: false", "as: ''"), "/"));
}

TEST(Kubeconfig, IsReadFromItsFolderAndBounded) {
  const host::TemporaryTree tree;
  tree.Write("config", With("server: 'https://h', certificate-authority: ca.crt", ""));
  EXPECT_EQ(LoadKubeconfig(tree.path("config"))->ca.file, tree.path("ca.crt"));
  const auto missing = LoadKubeconfig(tree.path("none"));
  EXPECT_THAT(missing.error().message(), HasSubstr("reading the kubeconfig"));
  tree.Write("config", std::string(kMaxKubeconfigBytes + 1, '#'));
  EXPECT_THAT(LoadKubeconfig(tree.path("config")).error().message(), HasSubstr("longer than"));
  EXPECT_THAT(ParseKubeconfig(std::string(kMaxKubeconfigBytes + 1, '#'), "/").error().message(),
              HasSubstr("longer than"));
}

}  // namespace
}  // namespace ullage::kube
