// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_reclaim.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <tuple>

#include "node-agent/host/text.h"
#include "node-agent/kube/quantity.h"
#include "node-agent/model/find.h"
#include "node-agent/publishers/moved.h"
#include "node-agent/publishers/proto_view.h"
#include "node-agent/publishers/rfc3339.h"
#include "node-agent/publishers/vm_view.h"

namespace ullage::publishers {
namespace {

constexpr const char* kManager = "ullage-agent";
// Bounds of the CRD.
constexpr std::size_t kMostVms = 20;
constexpr std::size_t kVmReason = 160;
constexpr std::size_t kReason = 256;
constexpr std::size_t kMessage = 512;
constexpr std::size_t kName = 253;
constexpr std::size_t kNamespace = 63;
constexpr std::size_t kShortMessage = 64;

// Whole MiB: nobody reads the rest.
std::string Rounded(Bytes size) { return QuantityOf(size.FloorTo(Bytes::MiB(1))); }
std::string Unsigned(Bytes size) { return Rounded(std::max(size, Bytes())); }

void SetSum(const CapacityTerms& terms, k8s::NodeReclaimSum& sum) {
  sum.set_available(Rounded(terms.available));
  sum.set_recoverable(Rounded(terms.recoverable));
  sum.set_growth(Rounded(terms.growth));
  sum.set_buffer(Rounded(terms.buffer));
  sum.set_unsold(Rounded(terms.unsold));
  sum.set_not_ours(Rounded(terms.not_ours));
  sum.set_cap(Rounded(terms.cap));
  sum.set_bound(Rounded(terms.bound));
  sum.set_bound_full(Rounded(terms.bound_full));
}

// Nothing was scored yet: there is nothing to say.
void SetAudit(const PromiseAudit& audit, k8s::NodeReclaimStatus& status) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (audit.windows == 0) return;
  k8s::NodeReclaimAudit& out = *status.mutable_audit();
  out.set_windows(static_cast<std::int32_t>(std::min(audit.windows, kMost)));
  out.set_broken(static_cast<std::int32_t>(std::min(audit.broken, kMost)));
  out.set_widened(std::to_string(std::lround(std::clamp(audit.width, 0., 3.) * 100)) + "%");
}

// What somebody has to look at, then what stands on reclaimed memory, then the large: nothing that
// changes while a guest breathes.
int Trouble(const VmState& vm) {
  static constexpr std::array<std::string_view, 6> kBad{
      "stalled", "unknown", "not-offered", "not-negotiated", "no-balloon", "unproven"};
  if (std::find(kBad.begin(), kBad.end(), StateWord(vm)) != kBad.end()) return 0;
  return vm.reclaimed > Bytes() ? 1 : 2;
}

struct Named {
  std::size_t index;
  const VmiSample* vmi;
};

std::vector<Named> ThatMatterMost(const Report& report) {
  const auto& vms = report.snapshot.vms;
  // Its place in the snapshot last: that is the order of ids.
  std::vector<std::tuple<int, Bytes, std::size_t>> ranks;
  ranks.reserve(vms.size());
  for (std::size_t i = 0; i < vms.size(); ++i) {
    ranks.emplace_back(Trouble(vms[i]), Bytes() - vms[i].promised, i);
  }
  std::sort(ranks.begin(), ranks.end());
  std::vector<Named> named;
  for (const auto& [trouble, promised, index] : ranks) {
    if (named.size() == kMostVms) break;
    const VmiSample* vmi = FindById(report.snapshot.node->vmis, vms[index].spec.id);
    // Without a namespace it has no owner to read this.
    if (vmi == nullptr || vmi->name_space.empty() || vmi->name.empty()) continue;
    named.push_back({index, vmi});
  }
  return named;
}

void SetVm(const Report& report, const Named& named, k8s::NodeReclaimVm& out) {
  const VmState& vm = report.snapshot.vms[named.index];
  out.set_namespace_(host::Printable(named.vmi->name_space, kNamespace));
  out.set_name(host::Printable(named.vmi->name, kName));
  out.set_guest(Unsigned(vm.spec.guest_memory));
  if (vm.resident) out.set_resident(Unsigned(*vm.resident));
  if (vm.swapped) out.set_swapped(Unsigned(*vm.swapped));
  if (vm.returned) out.set_returned(Unsigned(*vm.returned));
  out.set_hinting(Name(vm.hinting));
  out.set_mode(Name(vm.spec.reclaim));
  out.set_state(std::string(StateWord(vm)));
  if (const VmDecision* decision = DecisionOf(report, named.index)) {
    out.set_growth(Unsigned(decision->growth));
    out.set_reason(host::Printable(decision->reason, kVmReason));
  }
  if (!named.vmi->exempt.empty()) out.set_reason(host::Printable(named.vmi->exempt, kVmReason));
}

struct Verdict {
  const char* type;
  const char* status;
  const char* reason;
  std::string message;
};

Verdict Safe(const Report& report, const k8s::NodeReclaimStatus& before) {
  const auto& terms = report.plan.capacity.terms;
  if (!terms) return {"Safe", "Unknown", "NotObserved", report.plan.capacity.reason};
  const bool was_bad = std::any_of(
      before.conditions().begin(), before.conditions().end(), [](const auto& condition) {
        return condition.type() == "Safe" && condition.status() == "False";
      });
  // What is about at its limit must not swing.
  if (terms->bound < (was_bad ? Bytes::MiB(64) : Bytes())) {
    return {"Safe", "False", "PromisesExceedMemory",
            "what the VMs may still claim is more than the node has left"};
  }
  return {"Safe", "True", "EnoughMemory", "the node has as much left as its promises need"};
}

Verdict Observing(const Report& report) {
  const Snapshot& snapshot = report.snapshot;
  for (const auto& [what, fault] :
       {std::pair<const char*, const std::string&>{"host memory: ", snapshot.host.fault},
        {"the list of VMs: ", snapshot.vms_fault},
        {"the API server: ", snapshot.node->fault}}) {
    if (!fault.empty()) return {"Observing", "False", "SourceFailed", what + fault};
  }
  if (!snapshot.vms_listed_at) {
    return {"Observing", "Unknown", "Starting", "nobody knows yet which VMs run"};
  }
  return {"Observing", "True", "AllSourcesRead", "every source was read"};
}

Verdict Relaxed(const Report& report) {
  if (!report.plan.capacity.terms) {
    return {"Relaxed", "Unknown", "NotObserved", report.plan.capacity.reason};
  }
  const std::string& nobody = report.plan.nobody_goes;
  const std::string but = nobody.empty() ? "" : "; " + nobody;
  switch (report.plan.squeeze) {
    case Squeeze::kNone:
      break;
    case Squeeze::kHold:
      return {"Relaxed", "False", "Hold", "short of the buffer: nothing more is promised"};
    case Squeeze::kShrink:
      return {"Relaxed", "False", "Shrink", "memory is taken back from VMs that allow it"};
    case Squeeze::kLimit:
      return {"Relaxed", "False", "Limit", "VMs are limited, and migrated away" + but};
    case Squeeze::kEvict:
      return {"Relaxed", "False", "Evict", "VMs on reclaimed memory are evicted" + but};
  }
  return {"Relaxed", "True", "EnoughLeft", "the node has its buffer left"};
}

Verdict Policy(const NodeSample& node) {
  if (!node.policy_fault.empty()) return {"Policy", "False", "PolicyFailed", node.policy_fault};
  if (node.policy.empty()) {
    return {"Policy", "False", "NoPolicy", "no ReclaimPolicy selects this node"};
  }
  return {"Policy", "True", "InForce", "the ReclaimPolicy in force is " + node.policy};
}

void AddCondition(const Verdict& verdict, const k8s::NodeReclaimStatus& before,
                  k8s::NodeReclaimStatus& status) {
  k8s::Condition& condition = *status.add_conditions();
  condition.set_type(verdict.type);
  condition.set_status(verdict.status);
  condition.set_reason(verdict.reason);
  condition.set_message(host::Printable(verdict.message, kMessage));
  condition.set_last_transition_time(status.observed_at());
  for (const auto& old : before.conditions()) {
    if (old.type() == verdict.type && old.status() == verdict.status &&
        !old.last_transition_time().empty()) {
      condition.set_last_transition_time(old.last_transition_time());
    }
  }
}

k8s::NodeReclaim Bare(const NodeSample& node) {
  k8s::NodeReclaim object;
  object.set_api_version("ullage.io/v1alpha1");
  object.set_kind("NodeReclaim");
  object.mutable_metadata()->set_name(node.name);
  // In each apply: what is left out would be taken away.
  k8s::OwnerReference& owner = *object.mutable_metadata()->add_owner_references();
  owner.set_api_version("v1");
  owner.set_kind("Node");
  owner.set_name(node.name);
  owner.set_uid(node.uid);
  return object;
}

void Shrink(k8s::NodeReclaim& object) {
  k8s::NodeReclaimStatus& status = *object.mutable_status();
  const auto fits = [&] {
    const auto text = kube::WriteJson(object);
    return !text || text->size() <= kNodeReclaimLimit;
  };
  bool small = fits();
  for (; !small && status.vms_size() > 0; small = fits()) status.mutable_vms()->RemoveLast();
  if (small) return;
  for (auto& condition : *status.mutable_conditions()) {
    condition.set_message(host::Printable(condition.message(), kShortMessage));
  }
}

bool Moved(const std::string& before, const std::string& now) {
  if (before == now) return false;
  const auto a = kube::ParseQuantity(before);
  const auto b = kube::ParseQuantity(now);
  return !a || !b || publishers::Moved(Bytes(*a), Bytes(*b));
}

bool SumMoved(const k8s::NodeReclaimSum& a, const k8s::NodeReclaimSum& b) {
  return Moved(a.available(), b.available()) || Moved(a.recoverable(), b.recoverable()) ||
         Moved(a.growth(), b.growth()) || Moved(a.buffer(), b.buffer()) ||
         Moved(a.unsold(), b.unsold()) || Moved(a.not_ours(), b.not_ours()) ||
         Moved(a.cap(), b.cap()) || Moved(a.bound(), b.bound()) ||
         Moved(a.bound_full(), b.bound_full());
}

// How many windows there were grows by itself, and the first one that holds is no news.
bool AuditMoved(const k8s::NodeReclaimAudit& a, const k8s::NodeReclaimAudit& b) {
  const auto widened = [](const k8s::NodeReclaimAudit& audit) {
    return audit.widened().empty() ? std::string("0%") : audit.widened();
  };
  return a.broken() != b.broken() || widened(a) != widened(b);
}

bool VmMoved(const k8s::NodeReclaimVm& a, const k8s::NodeReclaimVm& b) {
  return a.namespace_() != b.namespace_() || a.name() != b.name() || a.hinting() != b.hinting() ||
         a.mode() != b.mode() || a.state() != b.state() || Moved(a.guest(), b.guest()) ||
         Moved(a.resident(), b.resident()) || Moved(a.swapped(), b.swapped()) ||
         Moved(a.returned(), b.returned()) || Moved(a.growth(), b.growth());
}

bool ConditionsChanged(const k8s::NodeReclaimStatus& a, const k8s::NodeReclaimStatus& b) {
  return !std::equal(a.conditions().begin(), a.conditions().end(), b.conditions().begin(),
                     b.conditions().end(), [](const auto& x, const auto& y) {
                       return x.type() == y.type() && x.status() == y.status() &&
                              x.reason() == y.reason();
                     });
}

// With every VM that matters, whether or not it fits.
k8s::NodeReclaimStatus StatusOf(const Report& report, const k8s::NodeReclaimStatus& before) {
  const Snapshot& snapshot = report.snapshot;
  const Capacity& capacity = report.plan.capacity;
  k8s::NodeReclaimStatus status;
  status.set_observed_at(Rfc3339(snapshot.at.wall));
  status.set_mode(report.mode);
  status.set_policy(host::Printable(snapshot.node->policy, kName));
  status.set_reclaimable(Unsigned(capacity.additional));
  status.set_published(Unsigned(capacity.published));
  status.set_granted(Unsigned(capacity.granted));
  status.set_promised(Unsigned(capacity.promised));
  status.set_reason(host::Printable(capacity.reason, kReason));
  if (capacity.terms) {
    status.set_buffer(Unsigned(capacity.terms->buffer));
    SetSum(*capacity.terms, *status.mutable_sum());
  }
  SetAudit(capacity.audit, status);
  status.set_vm_count(static_cast<std::int32_t>(std::min<std::size_t>(snapshot.vms.size(), 65536)));
  for (const Named& named : ThatMatterMost(report)) SetVm(report, named, *status.add_vms());
  for (const Verdict& verdict :
       {Safe(report, before), Observing(report), Policy(*snapshot.node), Relaxed(report)}) {
    AddCondition(verdict, before, status);
  }
  return status;
}

}  // namespace

std::string QuantityOf(Bytes size) {
  const std::int64_t mib = size.count() / (std::int64_t{1} << 20);
  if (mib != 0 && Bytes::MiB(mib) == size) return std::to_string(mib) + "Mi";
  return std::to_string(size.count());
}

k8s::NodeReclaim ReclaimOf(const Report& report, const k8s::NodeReclaimStatus& before) {
  k8s::NodeReclaim object = Bare(*report.snapshot.node);
  *object.mutable_status() = StatusOf(report, before);
  Shrink(object);
  return object;
}

Difference Compare(const k8s::NodeReclaimStatus& written, const k8s::NodeReclaimStatus& now) {
  if (ConditionsChanged(written, now) || written.mode() != now.mode() ||
      written.policy() != now.policy()) {
    return Difference::kConditions;
  }
  const bool vms_moved =
      !std::equal(written.vms().begin(), written.vms().end(), now.vms().begin(), now.vms().end(),
                  [](const auto& a, const auto& b) { return !VmMoved(a, b); });
  // These three move by whole quanta, and rarely.
  const bool changed =
      written.reclaimable() != now.reclaimable() || written.published() != now.published() ||
      written.granted() != now.granted() || written.vm_count() != now.vm_count() ||
      Moved(written.promised(), now.promised()) || written.has_sum() != now.has_sum() ||
      SumMoved(written.sum(), now.sum()) || AuditMoved(written.audit(), now.audit());
  return changed || vms_moved ? Difference::kFigures : Difference::kNone;
}

bool NodeReclaimWriter::Due(Difference difference) {
  if (!written_at_) return true;
  if (difference == Difference::kNone) figures_from_.reset();
  if (difference == Difference::kFigures && !figures_from_) {
    const auto most = static_cast<std::uint64_t>(rules_.every.count()) / 2;
    figures_from_ = Now() + milliseconds(client().timing().random() % (most + 1));
  }
  switch (difference) {
    case Difference::kNone:
      return false;
    case Difference::kFigures:
      return Now() - *written_at_ >= rules_.every && Now() >= *figures_from_;
    case Difference::kConditions:
      return Now() - *written_at_ >= rules_.conditions_every;
  }
  return false;
}

bool NodeReclaimWriter::AwaitsWatches(const NodeSample& node) const {
  if (!refused_at_ || Now() - *refused_at_ >= rules_.await_watches) return false;
  return !node.fault.empty() || !node.heard_at || *node.heard_at <= *refused_at_;
}

void NodeReclaimWriter::Judge(const Status& status, const std::stop_token& stop) {
  refused_at_.reset();
  if (!status &&
      (status.error().code() == Code::kUnavailable || status.error().code() == Code::kDeadline)) {
    refused_at_ = Now();
  }
  Note(status, stop);
}

Status NodeReclaimWriter::Make(const k8s::NodeReclaim& object, const std::stop_token& stop) {
  const auto made = client().Apply({kNodeReclaims, "", object.metadata().name()}, object, kManager,
                                   /*force=*/true, stop);
  if (!made) return made.error();
  made_ = true;
  // An agent before this one wrote since when things are as they are.
  if (!written_at_) written_ = made->status();
  return Ok();
}

Status NodeReclaimWriter::Write(const k8s::NodeReclaim& object, const std::stop_token& stop) {
  const auto done = client().Apply({kNodeReclaims, "", object.metadata().name(), "status"}, object,
                                   kManager, /*force=*/true, stop);
  if (!done) {
    if (done.error().code() == Code::kNotFound) made_ = false;  // somebody deleted it
    return done.error();
  }
  written_ = object.status();
  written_at_ = Now();
  figures_from_.reset();
  return Ok();
}

void NodeReclaimWriter::Step(const Report& report, const std::stop_token& stop) {
  const auto& node = report.snapshot.node;
  if (!node || node->name.empty() || node->uid.empty()) return;
  if (!MayWrite() || AwaitsWatches(*node)) return;
  if (!made_) {
    const Status made = Make(Bare(*node), stop);
    if (!made) return Judge(made, stop);
    written_at_.reset();
  }
  k8s::NodeReclaimStatus now = StatusOf(report, written_);
  const int all = now.vms_size();
  // What did not fit is compared with nothing; what would fit now is dear to find out.
  if (cut_ && all > written_.vms_size()) {
    now.mutable_vms()->DeleteSubrange(written_.vms_size(), all - written_.vms_size());
  }
  if (!Due(Compare(written_, now))) return;
  const k8s::NodeReclaim object = ReclaimOf(report, written_);
  const Status written = Write(object, stop);
  if (written) cut_ = object.status().vms_size() < all;
  Judge(written, stop);
}

}  // namespace ullage::publishers
