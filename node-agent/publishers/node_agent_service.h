// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>

#include "node-agent/publishers/admission_gate.h"
#include "node-agent/publishers/bulletin.h"
#include "node-agent/publishers/recorder.h"
#include "ullage/v1/node_agent.grpc.pb.h"

namespace ullage::publishers {

/// The contract of node_agent.proto over the bulletin and the gate. Called from gRPC's threads.
class NodeAgentService final : public v1::NodeAgent::Service {
 public:
  /// All must outlive the service; `gate` may be null where nothing is admitted here, `recorder`
  /// where nothing is written down.
  NodeAgentService(const Bulletin& bulletin, AdmissionGate* gate, const Recorder* recorder,
                   int max_watchers)
      : bulletin_(bulletin), gate_(gate), recorder_(recorder), max_watchers_(max_watchers) {}

  grpc::Status GetSnapshot(grpc::ServerContext* context, const v1::GetSnapshotRequest* request,
                           v1::Snapshot* response) override;
  grpc::Status WatchSnapshots(grpc::ServerContext* context,
                              const v1::WatchSnapshotsRequest* request,
                              grpc::ServerWriter<v1::Snapshot>* writer) override;
  grpc::Status Explain(grpc::ServerContext* context, const v1::ExplainRequest* request,
                       v1::Explanation* response) override;
  grpc::Status GetHistory(grpc::ServerContext* context, const v1::GetHistoryRequest* request,
                          v1::History* response) override;
  grpc::Status Reserve(grpc::ServerContext* context, const v1::ReserveRequest* request,
                       v1::ReserveResponse* response) override;
  grpc::Status Release(grpc::ServerContext* context, const v1::ReleaseRequest* request,
                       v1::ReleaseResponse* response) override;

  /// Watches end within a quarter of a second, as UNAVAILABLE.
  void StopWatches() { stopping_ = true; }

 private:
  grpc::Status Watch(grpc::ServerContext& context, grpc::ServerWriter<v1::Snapshot>& writer);

  const Bulletin& bulletin_;
  AdmissionGate* const gate_;
  const Recorder* const recorder_;
  const int max_watchers_;
  std::atomic<int> watchers_ = 0;
  std::atomic<bool> stopping_ = false;
};

}  // namespace ullage::publishers
