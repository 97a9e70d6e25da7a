// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/reclaim_policy.h"

#include <algorithm>
#include <array>

#include "node-agent/host/text.h"
#include "node-agent/host/units.h"
#include "node-agent/kube/quantity.h"
#include "node-agent/model/guest_module.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kMaxFault = 1024;

void Add(std::string& fault, const std::string& what) {
  if (fault.size() > kMaxFault) return;
  fault += (fault.empty() ? "" : "; ") + what;
}

Result<bool> Holds(const k8s::LabelSelectorRequirement& requirement, const Labels& labels) {
  const auto label = labels.find(requirement.key());
  const bool there = label != labels.end();
  const auto& values = requirement.values();
  const bool among =
      there && std::find(values.begin(), values.end(), label->second) != values.end();
  const std::string& how = requirement.operator_();
  const bool wants_values = how == "In" || how == "NotIn";
  if (requirement.key().empty() || wants_values == values.empty()) {
    return Error(Code::kInvalid,
                 "its nodeSelector has a requirement without key or values, or with "
                 "values too many");
  }
  if (how == "In") return among;
  if (how == "NotIn") return !among;
  if (how == "Exists") return there;
  if (how == "DoesNotExist") return !there;
  return Error(Code::kInvalid,
               "its nodeSelector has the operator '" + host::Printable(how, 64) + "'");
}

int Weight(const k8s::LabelSelector& selector) {
  return selector.match_labels_size() + selector.match_expressions_size();
}

// Takes a policy's fields over the configuration's, and keeps what makes no sense out.
class Compiler {
 public:
  Compiler(std::string policy, PolicyParams own)
      : policy_(std::move(policy)), params_(std::move(own)) {}

  void Share(const char* field, const std::string& text, Permyriad low, Permyriad high,
             Permyriad& into) {
    if (text.empty()) return;
    const auto share = host::ParseShare(text);
    if (share && *share >= low && *share <= high) {
      into = *share;
    } else {
      Complain(field, text);
    }
  }
  void Seconds(const char* field, const std::string& text, seconds low, seconds high,
               seconds& into) {
    if (text.empty()) return;
    const auto time = host::ParseDuration(text);
    if (time && *time >= low && *time <= high && *time % seconds(1) == milliseconds(0)) {
      into = std::chrono::duration_cast<seconds>(*time);
    } else {
      Complain(field, text);
    }
  }
  void Size(const char* field, const std::string& text, Bytes high, std::optional<Bytes>& into) {
    if (text.empty()) return;
    const auto size = kube::ParseQuantity(text);
    if (size && *size >= 0 && Bytes(*size) <= high) {
      into = Bytes(*size);
    } else {
      Complain(field, text);
    }
  }
  /// Where the marks are out of order, whatever a node does between two of them is a guess.
  void Pressure(const k8s::PolicyPressure& pressure) {
    constexpr Permyriad kAll{10000};
    HybridParams& now = params_.hybrid;
    const HybridParams own = now;
    Share("pressure.psiSome", pressure.psi_some(), Permyriad{1}, kAll, now.pressure);
    struct Mark {
      const char* field;
      const std::string& text;
      Permyriad HybridParams::*into;
    };
    const std::array marks{
        Mark{"pressure.stopPublishingBelow", pressure.stop_publishing_below(),
             &HybridParams::hold_below},
        Mark{"pressure.shrinkBelow", pressure.shrink_below(), &HybridParams::shrink_below},
        Mark{"pressure.migrateBelow", pressure.migrate_below(), &HybridParams::limit_below},
        Mark{"pressure.evictBelow", pressure.evict_below(), &HybridParams::evict_below}};
    bool given = false;
    for (const Mark& mark : marks) {
      given = given || !mark.text.empty();
      Share(mark.field, mark.text, Permyriad{0}, kAll, now.*mark.into);
    }
    const bool in_order = now.hold_below >= now.shrink_below &&
                          now.shrink_below >= now.limit_below && now.limit_below >= now.evict_below;
    if (!given || in_order) return;
    for (const Mark& mark : marks) now.*mark.into = own.*mark.into;
    Add(fault_, "ReclaimPolicy " + policy_ +
                    ": pressure: stopPublishingBelow, shrinkBelow, migrateBelow and evictBelow do "
                    "not fall in this order; the agent's own values apply");
  }
  void Parameter(const char* field, const char* name, bool given, std::uint32_t value) {
    if (!given) return;
    const GuestParameter* parameter = FindGuestParameter(name);
    const std::string text = std::to_string(value);
    const auto canonical = parameter == nullptr ? std::nullopt : Canonical(*parameter, text);
    if (canonical) {
      params_.guest_parameters[name] = *canonical;
    } else {
      Complain(field, text);
    }
  }
  Mode MaxMode(const std::string& text) {
    for (const Mode mode : {Mode::kObserve, Mode::kPublish, Mode::kReclaim}) {
      if (text == Name(mode)) return mode;
    }
    if (!text.empty()) {
      Add(fault_, "ReclaimPolicy " + policy_ + ": maxMode is '" + host::Printable(text, 64) +
                      "', so the node is only observed");
    }
    return Mode::kObserve;  // the CRD's default, too
  }

  PolicyParams& params() { return params_; }
  const std::string& fault() const { return fault_; }

 private:
  void Complain(const char* field, const std::string& value) {
    Add(fault_, "ReclaimPolicy " + policy_ + ": " + field + " is '" + host::Printable(value, 64) +
                    "', which is out of its bounds; the agent's own value applies");
  }

  const std::string policy_;
  PolicyParams params_;
  std::string fault_;
};

void Compile(const k8s::ReclaimPolicySpec& spec, Compiler& compiler) {
  constexpr Permyriad kNone{0};
  constexpr Permyriad kAll{10000};
  PolicyParams& params = compiler.params();
  compiler.Share("growth", spec.growth(), kNone, kAll, params.growth);
  compiler.Share("ratioCap", spec.ratio_cap(), kAll, Permyriad{100000}, params.ratio_cap);
  compiler.Share("buffer.ofHost", spec.buffer().of_host(), kNone, kAll, params.buffer_of_host);
  compiler.Share("buffer.ofVM", spec.buffer().of_vm(), kNone, kAll, params.buffer_of_vm);
  compiler.Share("hysteresis.riseStep", spec.hysteresis().rise_step(), Permyriad{1}, kAll,
                 params.rise_step);
  constexpr seconds kDay{86400};
  compiler.Seconds("hysteresis.riseDelay", spec.hysteresis().rise_delay(), seconds(0), kDay,
                   params.rise_delay);
  compiler.Size("hysteresis.deadBand", spec.hysteresis().dead_band(), Bytes::GiB(64),
                params.least_rise);
  compiler.Seconds("historyMin", spec.history_min(), seconds(0), kDay, params.history_min);
  compiler.Seconds("horizon", spec.horizon(), seconds(60), seconds(3600), params.horizon);
  compiler.Pressure(spec.pressure());
  const k8s::PolicyHints& hints = spec.hints();
  compiler.Parameter("hints.settleMs", "settle_ms", hints.has_settle_ms(), hints.settle_ms());
  compiler.Parameter("hints.passDelayMs", "pass_delay_ms", hints.has_pass_delay_ms(),
                     hints.pass_delay_ms());
  compiler.Parameter("hints.rateMiBPerSecond", "rate_mib_s", hints.has_rate_mib_per_second(),
                     hints.rate_mib_per_second());
  compiler.Parameter("hints.cpuPermille", "cpu_permille", hints.has_cpu_permille(),
                     hints.cpu_permille());
}

}  // namespace

Result<bool> Selects(const k8s::LabelSelector& selector, const Labels& labels) {
  bool all = true;
  for (const auto& [key, value] : selector.match_labels()) {
    const auto label = labels.find(key);
    all = all && label != labels.end() && label->second == value;
  }
  // All of them are looked at: what makes no sense does so on every node.
  for (const auto& requirement : selector.match_expressions()) {
    const auto holds = Holds(requirement, labels);
    if (!holds) return holds.error();
    all = all && *holds;
  }
  return all;
}

PolicyChoice ChoosePolicy(const std::vector<kube::Item<k8s::ReclaimPolicy>>& policies,
                          const Labels& labels, const PolicyParams& own) {
  PolicyChoice choice;
  const k8s::ReclaimPolicy* best = nullptr;
  const k8s::ReclaimPolicy* tied = nullptr;
  for (const auto& item : policies) {
    const std::string name = host::Printable(item.object.metadata().name());
    const k8s::LabelSelector& selector = item.object.spec().node_selector();
    const auto selects = item.fault.empty() ? Selects(selector, labels)
                                            : Result<bool>(Error(Code::kInvalid, item.fault));
    if (!selects) {
      Add(choice.fault, "ReclaimPolicy " + name + " is passed over: " +
                            host::Printable(selects.error().message(), kMaxFault));
      continue;
    }
    if (!*selects) continue;
    const int more = best == nullptr ? 1 : Weight(selector) - Weight(best->spec().node_selector());
    if (more == 0) tied = &item.object;
    if (more <= 0) continue;
    best = &item.object;
    tied = nullptr;
  }
  if (best == nullptr) return choice;
  const std::string name = host::Printable(best->metadata().name());
  if (tied != nullptr) {
    Add(choice.fault, "ReclaimPolicies " + name + " and " +
                          host::Printable(tied->metadata().name()) +
                          " select this node and are equally specific: neither is in force");
    return choice;
  }
  Compiler compiler(name, own);
  Compile(best->spec(), compiler);
  choice.name = name;
  choice.max_mode = compiler.MaxMode(best->spec().max_mode());
  choice.params = compiler.params();
  if (!compiler.fault().empty()) Add(choice.fault, compiler.fault());
  return choice;
}

}  // namespace ullage::sources
