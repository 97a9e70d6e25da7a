// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/metrics.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

#include "node-agent/host/text.h"
#include "node-agent/publishers/cluster_publisher.h"
#include "node-agent/publishers/metrics_table.h"
#include "node-agent/publishers/node_hook_server.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/recorder.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

// A label is an index key for ever: keep it short. And a host does not run more VMs than this.
constexpr std::size_t kLabelLimit = 128;
constexpr std::size_t kMaxVms = 1024;

constexpr std::array<std::string_view, Metrics::kSources> kSourceNames{"host", "vm-list", "charge",
                                                                       "qemu", "action"};

class Family {
 public:
  explicit Family(const metric::Info& info) {
    family_.name = info.name;
    family_.help = info.help;
    family_.type = info.type == "counter" ? MetricType::Counter : MetricType::Gauge;
  }

  Family& Add(double value, Labels labels = {}) {
    ClientMetric& series = family_.metric.emplace_back();
    series.label = std::move(labels);
    if (family_.type == MetricType::Counter) {
      series.counter.value = value;
    } else {
      series.gauge.value = value;
    }
    return *this;
  }
  Family& Add(Bytes value, Labels labels = {}) {
    return Add(static_cast<double>(value.count()), std::move(labels));
  }
  Family& Add(const std::optional<Bytes>& value, Labels labels = {}) {
    return value ? Add(*value, std::move(labels)) : *this;
  }

  // A family without series is left out: a scraper sees absence, not an empty promise.
  void MoveTo(std::vector<MetricFamily>& out) {
    if (!family_.metric.empty()) out.push_back(std::move(family_));
  }

 private:
  MetricFamily family_;
};

void AddHost(const HostSample& host, std::vector<MetricFamily>& out) {
  Family(metric::kHostTotal).Add(host.total).MoveTo(out);
  Family(metric::kHostAvailable).Add(host.available).MoveTo(out);
  Family(metric::kHostFree).Add(host.free).MoveTo(out);
  if (host.pressure_some_avg10) {
    const auto share = static_cast<double>(host.pressure_some_avg10->value) / 10000;
    Family(metric::kHostPressure).Add(share).MoveTo(out);
  }
}

void AddCapacity(const Capacity& capacity, std::vector<MetricFamily>& out) {
  Family(metric::kPromised).Add(capacity.promised).MoveTo(out);
  Family(metric::kGranted).Add(capacity.granted).MoveTo(out);
  Family(metric::kAdditional).Add(capacity.additional).MoveTo(out);
  Family(metric::kPublished).Add(capacity.published).MoveTo(out);
  Family(metric::kUnsold).Add(capacity.unsold).MoveTo(out);
  Family(metric::kPromiseWindows).Add(static_cast<double>(capacity.audit.windows)).MoveTo(out);
  Family(metric::kPromiseBroken).Add(static_cast<double>(capacity.audit.broken)).MoveTo(out);
  Family(metric::kBufferWidened).Add(capacity.audit.width).MoveTo(out);
  if (!capacity.terms) return;
  const CapacityTerms& terms = *capacity.terms;
  const auto term = [](const char* name) { return Labels{{"term", name}}; };
  Family(metric::kTerm)
      .Add(terms.available, term("available"))
      .Add(terms.until_eviction, term("until_eviction"))
      .Add(terms.pods_left, term("pods_left"))
      .Add(terms.recoverable, term("recoverable"))
      .Add(terms.growth, term("growth"))
      .Add(terms.buffer, term("buffer"))
      .Add(terms.unsold, term("unsold"))
      .Add(terms.not_ours, term("not_ours"))
      .Add(terms.cap, term("cap"))
      .Add(terms.bound, term("bound"))
      .Add(terms.bound_full, term("bound_full"))
      .MoveTo(out);
}

Labels VmLabels(const VmState& vm) {
  return {{"vm", host::Printable(vm.spec.name, kLabelLimit)},
          {"uuid", host::Printable(vm.spec.id.value, kLabelLimit)}};
}

// The guests' own words.
void AddGuests(const std::vector<VmState>& vms, std::vector<MetricFamily>& out) {
  Family agent(metric::kVmAgent), reporting(metric::kVmGuestReporting),
      reported(metric::kVmGuestReported), errors(metric::kVmGuestErrors),
      balloon(metric::kVmGuestBalloon);
  for (std::size_t i = 0; i < std::min(vms.size(), kMaxVms); ++i) {
    Labels labels = VmLabels(vms[i]);
    if (const auto& module = vms[i].module) {
      if (module->reporting) reporting.Add(*module->reporting ? 1 : 0, labels);
      reported.Add(module->reported, labels);
      if (module->report_errors) errors.Add(static_cast<double>(*module->report_errors), labels);
      balloon.Add(module->balloon, labels);
    }
    labels.push_back({"state", Name(vms[i].agent)});
    agent.Add(1, std::move(labels));
  }
  for (Family* family : {&agent, &reporting, &reported, &errors, &balloon}) family->MoveTo(out);
}

void AddVms(const Report& report, std::vector<MetricFamily>& out) {
  Family promised(metric::kVmPromised), resident(metric::kVmResident), swapped(metric::kVmSwapped),
      returned(metric::kVmReturned), growth(metric::kVmGrowth), hinting(metric::kVmHinting);
  const auto& vms = report.snapshot.vms;
  for (std::size_t i = 0; i < std::min(vms.size(), kMaxVms); ++i) {
    Labels labels = VmLabels(vms[i]);
    promised.Add(vms[i].promised, labels);
    resident.Add(vms[i].resident, labels);
    swapped.Add(vms[i].swapped, labels);
    returned.Add(vms[i].returned, labels);
    if (const VmDecision* decision = DecisionOf(report, i)) growth.Add(decision->growth, labels);
    labels.push_back({"state", Name(vms[i].hinting)});
    hinting.Add(1, std::move(labels));
  }
  for (Family* family : {&promised, &resident, &swapped, &returned, &growth, &hinting}) {
    family->MoveTo(out);
  }
  std::map<std::string, int> states;
  for (const VmState& vm : vms) ++states[std::string(StateWord(vm))];
  Family counts(metric::kVms);
  for (const auto& [state, count] : states) counts.Add(count, {{"state", state}});
  counts.MoveTo(out);
}

void AddCluster(const ClusterPublisher& cluster, std::vector<MetricFamily>& out) {
  Family writes(metric::kKubeWrites);
  for (const auto& [what, counts] : cluster.Counts()) {
    const auto add = [&, name = what](const char* result, std::uint64_t count) {
      writes.Add(static_cast<double>(count), {{"object", name}, {"result", result}});
    };
    add("written", counts.written);
    add("failed", counts.failed);
    add("dropped", counts.dropped);
  }
  writes.MoveTo(out);
}

void AddRecorder(const RecorderCounts& counts, std::vector<MetricFamily>& out) {
  Family(metric::kRecords)
      .Add(static_cast<double>(counts.records), {{"result", "done"}})
      .Add(static_cast<double>(counts.failed), {{"result", "failed"}})
      .MoveTo(out);
}

void AddHooks(const NodeHookCounts& counts, std::vector<MetricFamily>& out) {
  Family calls(metric::kNodeHooks);
  for (std::size_t i = 0; i < kNodeHookPoints.size(); ++i) {
    calls.Add(static_cast<double>(counts.calls[i]),
              {{"point", std::string(Name(kNodeHookPoints[i]))}});
  }
  calls.Add(static_cast<double>(counts.unknown_points), {{"point", "unknown"}})
      .Add(static_cast<double>(counts.unreadable_vmis), {{"point", "unreadable"}})
      .MoveTo(out);
}

void AddQemus(const DirectoryCounters& counts, std::vector<MetricFamily>& out) {
  const auto add = [](Family& family, std::uint64_t count, Labels labels) {
    family.Add(static_cast<double>(count), std::move(labels));
  };
  Family questions(metric::kQuestions);
  add(questions, counts.questions, {{"to", "qemu"}});
  add(questions, counts.guest_questions, {{"to", "guest-agent"}});
  Family faults(metric::kAnswerFaults);
  add(faults, counts.failures, {{"to", "qemu"}, {"fault", "failed"}});
  add(faults, counts.late, {{"to", "qemu"}, {"fault", "late"}});
  add(faults, counts.implausible, {{"to", "qemu"}, {"fault", "nonsense"}});
  add(faults, counts.guest_failures, {{"to", "guest-agent"}, {"fault", "failed"}});
  add(faults, counts.guest_late, {{"to", "guest-agent"}, {"fault", "late"}});
  add(faults, counts.guest_refused, {{"to", "guest-agent"}, {"fault", "nonsense"}});
  questions.MoveTo(out);
  faults.MoveTo(out);
  Family(metric::kConnections).Add(static_cast<double>(counts.connections)).MoveTo(out);
  Family(metric::kGuestResets).Add(static_cast<double>(counts.resets)).MoveTo(out);
}

}  // namespace

void Metrics::Count(const Report& report) {
  const auto add = [&](Source source, bool fault) {
    if (fault) faults_[static_cast<std::size_t>(source)].fetch_add(1, std::memory_order_relaxed);
  };
  add(Source::kHost, !report.snapshot.host.fault.empty());
  add(Source::kVmList, !report.snapshot.vms_fault.empty());
  for (const VmState& vm : report.snapshot.vms) {
    const bool charge = !vm.bound_only && !vm.resident;
    add(Source::kCharge, charge);
    add(Source::kQemu, vm.stalled || (!charge && !vm.fault.empty()));
  }
  for (const Outcome& outcome : report.outcomes) {
    const bool failed = outcome.state == Outcome::State::kFailed;
    add(Source::kAction, failed);
    const bool evict = outcome.action.kind == Action::Kind::kEvict;
    if (!evict && outcome.action.kind != Action::Kind::kMigrate) continue;
    if (!failed && outcome.state != Outcome::State::kDone) continue;
    departures_.at((evict ? 2 : 0) + (failed ? 1 : 0)).fetch_add(1, std::memory_order_relaxed);
  }
}

void Metrics::AddDepartures(std::vector<MetricFamily>& out) const {
  Family family(metric::kDepartures);
  for (std::size_t i = 0; i < departures_.size(); ++i) {
    const auto kind = i < 2 ? Action::Kind::kMigrate : Action::Kind::kEvict;
    family.Add(static_cast<double>(departures_.at(i).load(std::memory_order_relaxed)),
               {{"action", Name(kind)}, {"result", i % 2 == 0 ? "done" : "failed"}});
  }
  family.MoveTo(out);
}

std::vector<MetricFamily> Metrics::Collect() const {
  std::vector<MetricFamily> out;
  if (const auto report = bulletin_.Latest()) {
    AddHost(report->snapshot.host, out);
    AddCapacity(report->plan.capacity, out);
    Family(metric::kSqueeze).Add(1, {{"state", Name(report->plan.squeeze)}}).MoveTo(out);
    AddVms(*report, out);
    AddGuests(report->snapshot.vms, out);
    if (const auto& node = report->snapshot.node; node && node->heard_at) {
      Family(metric::kRejectedPods).Add(static_cast<double>(node->rejections)).MoveTo(out);
    }
    if (report->snapshot.node) AddDepartures(out);
    Family(metric::kTicks).Add(static_cast<double>(report->tick)).MoveTo(out);
    const std::chrono::duration<double> age = clock_.Now().boot - report->snapshot.at.boot;
    Family(metric::kTickAge).Add(std::max(age.count(), 0.0)).MoveTo(out);
  }
  Family faults(metric::kFaults);
  for (std::size_t i = 0; i < kSources; ++i) {
    faults.Add(static_cast<double>(faults_[i].load(std::memory_order_relaxed)),
               {{"source", std::string(kSourceNames[i])}});
  }
  faults.MoveTo(out);
  if (sources_.cluster != nullptr) AddCluster(*sources_.cluster, out);
  if (sources_.recorder != nullptr) AddRecorder(sources_.recorder->Counts(), out);
  if (sources_.hooks != nullptr) AddHooks(sources_.hooks->Counts(), out);
  if (sources_.qemus) AddQemus(sources_.qemus(), out);
  return out;
}

}  // namespace ullage::publishers
