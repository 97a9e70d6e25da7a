// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/discovery.h"

#include "node-agent/host/text.h"

namespace ullage::kube {
namespace {

Result<k8s::APIResourceList> ResourcesOf(const Client& client, const Resource& resource,
                                         const std::stop_token& stop) {
  const HttpRequest request{"GET", GroupPath(resource)};
  const auto answer = client.Send(request, client.options().object_limit, stop);
  if (!answer) return answer.error();
  if (!answer->ok()) return ErrorOf(request, *answer);
  return ReadJson<k8s::APIResourceList>(answer->body);
}

}  // namespace

Result<std::string> EvictionVersion(const Client& client, const std::stop_token& stop) {
  const auto list = ResourcesOf(client, kPods, stop);
  if (!list) return list.error().In("asking which evictions are served");
  for (const auto& resource : list->resources()) {
    if (resource.name() != "pods/eviction" || resource.group() != "policy") continue;
    if (resource.version() == "v1" || resource.version() == "v1beta1") {
      return "policy/" + resource.version();
    }
    return Error(Code::kNotFound,
                 "evictions are served as policy/" + host::Printable(resource.version()) + " only");
  }
  return Error(Code::kNotFound, "the API server evicts no pods");
}

Result<bool> Serves(const Client& client, const Resource& resource, const std::stop_token& stop) {
  const auto list = ResourcesOf(client, resource, stop);
  if (!list && list.error().code() == Code::kNotFound) return false;
  if (!list) return list.error();
  for (const auto& served : list->resources()) {
    if (served.name() == resource.plural) return true;
  }
  return false;
}

}  // namespace ullage::kube
