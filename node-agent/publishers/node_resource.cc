// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/node_resource.h"

#include <algorithm>

#include "node-agent/model/human.h"

namespace ullage::publishers {
namespace {

// The Node shows a write only when its watch comes round; until then it counts as made.
OnNode Believed(const ResourceFacts& facts, ResourceState& state, BootTime now) {
  if (state.older.empty()) return facts.seen;
  const bool still_older =
      std::find(state.older.begin(), state.older.end(), facts.seen) != state.older.end();
  const bool in_time = now < state.believe_until || !facts.followed;
  if (facts.seen != state.written && still_older && in_time) return state.written;
  state.older.clear();
  return facts.seen;
}

std::string Shown(const OnNode& value) { return value ? InMiB(*value) : "no such key"; }

}  // namespace

std::optional<ResourceWrite> NextWrite(const ResourceFacts& facts, const ResourceRules& rules,
                                       ResourceState& state, BootTime now) {
  const OnNode on_node = Believed(facts, state, now);
  const auto remove = [&]() -> std::optional<ResourceWrite> {
    if (!on_node) return std::nullopt;
    return ResourceWrite{};
  };
  if (facts.lost) return remove();
  if (!facts.followed) return std::nullopt;
  if (!facts.publish) return remove();
  const Bytes least = std::max(facts.granted, Bytes()).CeilTo(rules.quantum);
  const Bytes target = std::max(facts.wanted.FloorTo(rules.quantum), least);
  if (target == Bytes()) return remove();
  const Bytes has = on_node.value_or(Bytes());
  if (on_node && target <= has) {
    if (target == has) return std::nullopt;
    return ResourceWrite{target, false};
  }
  const bool turn = !state.next_increase || now >= *state.next_increase;
  if (turn && target - has >= rules.dead_band) return ResourceWrite{target, true};
  // A bind was faster than a decrease; what is granted has to be there whatever it is.
  if (has < least) return ResourceWrite{least, false};
  return std::nullopt;
}

void Wrote(const ResourceWrite& write, const ResourceFacts& facts, const ResourceRules& rules,
           double jitter, ResourceState& state, BootTime now) {
  // Everything that stood there since the watch last agreed may still come by.
  if (!state.older.empty()) state.older.push_back(state.written);
  state.older.push_back(facts.seen);
  std::erase(state.older, write.value);
  state.written = write.value;
  state.believe_until = now + rules.believe_for;
  if (!write.increase) return;
  const auto extra = static_cast<double>(rules.increase_every.count()) * std::clamp(jitter, 0., 1.);
  state.next_increase =
      now + rules.increase_every + milliseconds(static_cast<milliseconds::rep>(extra / 8));
}

ResourceFacts FactsOf(const Report& report, const ResourceRules& rules) {
  ResourceFacts facts;
  facts.publish = report.mode == "publish" || report.mode == "reclaim";
  const auto& node = report.snapshot.node;
  if (!node || !node->heard_at) return facts;
  const auto age = report.snapshot.at.boot - *node->heard_at;
  facts.followed = node->fault.empty() && age <= rules.stale_after;
  facts.lost = age > rules.forget_after;
  // A policy can allow less than the configuration.
  if (node->max_mode == Mode::kObserve) facts.publish = false;
  facts.seen = node->published;
  const Capacity& capacity = report.plan.capacity;
  Bytes held;
  for (const PodSample& pod : node->pods) held += pod.reclaimable;
  // Also of pods that are no VM's.
  facts.granted = std::max(capacity.granted, held);
  facts.wanted = facts.granted + capacity.additional;
  return facts;
}

ResourceRules RulesOf(const Report& report, ResourceRules own) {
  const auto& node = report.snapshot.node;
  if (node && node->params && node->params->least_rise) {
    own.dead_band = *node->params->least_rise;
  }
  return own;
}

kube::JsonPatch PatchOf(const OnNode& value) {
  kube::JsonPatch patch;
  const std::string text = std::to_string(value.value_or(Bytes()).count());
  for (const char* map : {"capacity", "allocatable"}) {
    const std::vector<std::string> path{"status", map, std::string(kReclaimableMemory)};
    patch.Add(path, text);
    // To remove what is not there would fail the whole patch; nobody sees what is in between.
    if (!value) patch.Remove(path);
  }
  return patch;
}

Status NodeResource::Write(const std::string& node, const OnNode& value,
                           const std::stop_token& stop) {
  const kube::ObjectRef ref{kube::kNodes, "", node, "status"};
  const auto done = client().PatchText(ref, kube::Patch::Json(PatchOf(value)), stop);
  if (!done) return done.error();
  return Ok();
}

void NodeResource::Step(const Report& report, const std::stop_token& stop) {
  const ResourceFacts facts = FactsOf(report, rules_);
  const auto write = NextWrite(facts, RulesOf(report, rules_), state_, Now());
  if (!write || !MayWrite()) return;
  const Status status = Write(report.snapshot.node->name, write->value, stop);
  Note(status, stop);
  if (!status) return;
  Say(std::string(kReclaimableMemory) + " is " + Shown(write->value) + " (was " +
      Shown(facts.seen) + ", granted " + InMiB(facts.granted) + ")");
  const double jitter = static_cast<double>(client().timing().random() % 1024) / 1024;
  Wrote(*write, facts, rules_, jitter, state_, Now());
}

void NodeResource::Retire(const Report& report) {
  ResourceFacts facts = FactsOf(report, rules_);
  if (!facts.publish || !report.snapshot.node) return;
  facts.lost = true;
  if (!NextWrite(facts, rules_, state_, Now())) return;
  const Status status = Write(report.snapshot.node->name, std::nullopt, {});
  Note(status, {});
  if (status) Say(std::string(kReclaimableMemory) + " is taken off the node: the agent ends");
}

}  // namespace ullage::publishers
