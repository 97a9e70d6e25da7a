// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/kubeconfig.h"

#include <yaml-cpp/yaml.h>

#include <filesystem>
#include <optional>

#include "node-agent/host/file.h"
#include "node-agent/host/text.h"
#include "node-agent/kube/base64.h"

namespace ullage::kube {
namespace {

struct Refusal {
  const char* key;
  const char* why;
};

constexpr Refusal kClusterRefusals[] = {
    {"insecure-skip-tls-verify", "the API server has to prove itself; give certificate-authority"},
    {"proxy-url", "proxies are not supported"},
    {"tls-server-name", "the server has to have a certificate for its own address"},
};
constexpr Refusal kUserRefusals[] = {
    {"exec", "exec plugins are not run; use a token, a tokenFile or a client certificate"},
    {"auth-provider", "auth providers are not supported; use a token or a client certificate"},
    {"username", "passwords are not supported; use a token or a client certificate"},
    {"password", "passwords are not supported; use a token or a client certificate"},
    {"as", "impersonation is not supported"},
    {"as-uid", "impersonation is not supported"},
    {"as-groups", "impersonation is not supported"},
    {"as-user-extra", "impersonation is not supported"},
};

std::string Quote(const std::string& name) { return "'" + host::Printable(name) + "'"; }

// Absent, and null, are an undefined node.
YAML::Node At(const YAML::Node& map, const char* key) {
  if (!map.IsMap()) return YAML::Node(YAML::NodeType::Undefined);
  return map[key];
}

bool IsSet(const YAML::Node& node) { return node.IsDefined() && !node.IsNull(); }

// "" when absent; an Error when it is no single value.
Result<std::string> Text(const YAML::Node& map, const char* key) {
  const YAML::Node node = At(map, key);
  if (!IsSet(node)) return std::string();
  if (!node.IsScalar()) return Error(Code::kInvalid, std::string(key) + ": one value is wanted");
  return node.Scalar();
}

// The mapping under `kind` of the entry of `list` with that name.
Result<YAML::Node> Named(const YAML::Node& root, const char* list, const char* kind,
                         const std::string& name) {
  const YAML::Node entries = At(root, list);
  if (IsSet(entries) && entries.IsSequence()) {
    for (const YAML::Node& entry : entries) {
      const YAML::Node its = At(entry, "name");
      if (!IsSet(its) || !its.IsScalar() || its.Scalar() != name) continue;
      const YAML::Node body = At(entry, kind);
      if (IsSet(body) && body.IsMap()) return body;
      return Error(Code::kInvalid, std::string(kind) + " " + Quote(name) + " is no mapping");
    }
  }
  return Error(Code::kNotFound, "there is no " + std::string(kind) + " " + Quote(name));
}

template <std::size_t kCount>
Status Refuse(const YAML::Node& map, const Refusal (&refusals)[kCount]) {
  for (const Refusal& refusal : refusals) {
    const YAML::Node node = At(map, refusal.key);
    if (!IsSet(node)) continue;
    if (node.IsScalar() && (node.Scalar().empty() || node.Scalar() == "false")) continue;
    return Error(Code::kInvalid, std::string(refusal.key) + ": " + refusal.why);
  }
  return Ok();
}

// `key`-data is base64 of the content, `key` a file; the content wins, as for kubectl.
Result<Secret> DataOrFile(const YAML::Node& map, const std::string& key,
                          const std::string& folder) {
  const auto data = Text(map, (key + "-data").c_str());
  if (!data) return data.error();
  if (!data->empty()) {
    auto content = DecodeBase64(*data);
    if (!content || content->empty()) return Error(Code::kInvalid, key + "-data is no base64");
    return Secret{*std::move(content), ""};
  }
  const auto file = Text(map, key.c_str());
  if (!file) return file.error();
  if (file->empty()) return Secret{};
  return Secret{"", (std::filesystem::path(folder) / *file).string()};
}

Status ReadCluster(const YAML::Node& cluster, const std::string& folder, Access& access) {
  if (auto refused = Refuse(cluster, kClusterRefusals); !refused) return refused;
  const auto server = Text(cluster, "server");
  if (!server) return server.error();
  if (!server->starts_with("https://")) {
    return Error(Code::kInvalid, "server: an https address is wanted, not " + Quote(*server));
  }
  access.server = *server;
  auto ca = DataOrFile(cluster, "certificate-authority", folder);
  if (!ca) return ca.error();
  access.ca = *std::move(ca);
  return Ok();
}

Status ReadUser(const YAML::Node& user, const std::string& folder, Access& access) {
  if (auto refused = Refuse(user, kUserRefusals); !refused) return refused;
  auto certificate = DataOrFile(user, "client-certificate", folder);
  if (!certificate) return certificate.error();
  auto key = DataOrFile(user, "client-key", folder);
  if (!key) return key.error();
  if (certificate->empty() != key->empty()) {
    return Error(Code::kInvalid, "client-certificate and client-key belong together");
  }
  access.certificate = *std::move(certificate);
  access.key = *std::move(key);
  const auto file = Text(user, "tokenFile");
  if (!file) return file.error();
  const auto token = Text(user, "token");
  if (!token) return token.error();
  // As for kubectl: the file wins, because it is the one that is rotated.
  if (!file->empty()) {
    access.token.file = (std::filesystem::path(folder) / *file).string();
  } else {
    access.token.text = *token;
  }
  return Ok();
}

Result<Access> Read(const YAML::Node& root, const std::string& folder, std::string name) {
  if (!root.IsMap()) return Error(Code::kInvalid, "a mapping of keys is wanted");
  if (name.empty()) {
    const auto current = Text(root, "current-context");
    if (!current) return current.error();
    if (current->empty()) return Error(Code::kInvalid, "there is no current-context");
    name = *current;
  }
  const auto context = Named(root, "contexts", "context", name);
  if (!context) return context.error();
  const auto cluster_name = Text(*context, "cluster");
  if (!cluster_name) return cluster_name.error();
  const auto user_name = Text(*context, "user");
  if (!user_name) return user_name.error();

  Access access;
  const auto cluster = Named(root, "clusters", "cluster", *cluster_name);
  if (!cluster) return cluster.error();
  if (auto read = ReadCluster(*cluster, folder, access); !read) {
    return read.error().In("cluster " + Quote(*cluster_name));
  }
  const auto user = Named(root, "users", "user", *user_name);
  if (!user) return user.error();
  if (auto read = ReadUser(*user, folder, access); !read) {
    return read.error().In("user " + Quote(*user_name));
  }
  return access;
}

}  // namespace

Result<Access> ParseKubeconfig(std::string_view text, const std::string& folder,
                               const std::string& context) {
  if (text.size() > kMaxKubeconfigBytes) {
    return Error(Code::kInvalid, "longer than " + std::to_string(kMaxKubeconfigBytes) + " bytes");
  }
  try {
    return Read(YAML::Load(std::string(text)), folder, context);
  } catch (const YAML::Exception& error) {
    return Error(Code::kInvalid, host::Printable(error.what()));
  }
}

Result<Access> LoadKubeconfig(const std::string& path, const std::string& context) {
  const std::string shown = "kubeconfig " + host::Printable(path);
  const auto text = host::ReadFile(path, kMaxKubeconfigBytes);
  if (!text) return text.error().In("reading the kubeconfig");
  return ParseKubeconfig(*text, std::filesystem::path(path).parent_path().string(), context)
      .In(shown);
}

}  // namespace ullage::kube
