// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <array>
#include <atomic>
#include <functional>
#include <vector>

#include "node-agent/host/clock.h"
#include "node-agent/model/directory_counters.h"
#include "node-agent/publishers/bulletin.h"

namespace ullage::publishers {

class ClusterPublisher;
class NodeHookServer;
class Recorder;

/// Where other publishers count; null: there is none of them here. All must outlive the metrics.
struct MetricsSources {
  const ClusterPublisher* cluster = nullptr;
  const Recorder* recorder = nullptr;
  const NodeHookServer* hooks = nullptr;
  std::function<DirectoryCounters()> qemus{};  ///< called by any thread; empty: nobody asks QEMUs
};

/// Builds every series of metrics_table.h from the latest report when somebody scrapes; between
/// scrapes it costs nothing. What is unknown is an absent series, never 0.
class Metrics final : public prometheus::Collectable {
 public:
  /// Both must outlive it.
  Metrics(const Bulletin& bulletin, const host::Clock& clock)
      : bulletin_(bulletin), clock_(clock) {}

  /// Before the first scrape.
  void Also(const MetricsSources& sources) { sources_ = sources; }

  /// Counts the faults of one tick. The tick calls it once for each report: a scraper sees only
  /// some of them. Never blocks.
  void Count(const Report& report);

  std::vector<prometheus::MetricFamily> Collect() const override;

  enum class Source { kHost, kVmList, kCharge, kQemu, kAction };
  static constexpr std::size_t kSources = 5;

 private:
  void AddDepartures(std::vector<prometheus::MetricFamily>& out) const;

  const Bulletin& bulletin_;
  const host::Clock& clock_;
  MetricsSources sources_;
  std::array<std::atomic<std::uint64_t>, kSources> faults_{};
  std::array<std::atomic<std::uint64_t>, 4> departures_{};  // migrate, evict × done, failed
};

}  // namespace ullage::publishers
