// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <memory>
#include <string>

#include "node-agent/api/target.h"

namespace ullage::api {

/// How every gRPC server of ours listens on a unix socket: few threads, bounded requests, and no
/// second server on the same path. `builder` has its services registered already. Null unless the
/// socket at `path` (UnixTarget's rules) was bound.
inline std::unique_ptr<grpc::Server> ListenOn(grpc::ServerBuilder& builder,
                                              const grpc::ResourceQuota& quota,
                                              const std::string& path, int max_request_bytes) {
  builder.SetResourceQuota(quota);
  // gRPC's defaults are one queue and two pollers for each core.
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::MAX_POLLERS, 2);
  builder.SetMaxReceiveMessageSize(max_request_bytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int bound = 0;
  builder.AddListeningPort(UnixTarget(path), grpc::InsecureServerCredentials(), &bound);
  auto server = builder.BuildAndStart();
  return bound != 0 ? std::move(server) : nullptr;
}

}  // namespace ullage::api
