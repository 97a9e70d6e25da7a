// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/node.h"

#include <algorithm>
#include <cmath>

namespace ullage::simulation {
namespace {

// The kubelet's default: evictionHard memory.available<100Mi, looked at every 10 s.
constexpr Bytes kKubeletMark = Bytes::MiB(100);
constexpr std::int64_t kKubeletPeriod = 10;
// The kernel begins to push out when so little is free (its watermarks are of this order).
constexpr std::int64_t kKernelMark = 100;  // total / 100
// Of its cold memory a guest can give a balloon what its page cache holds; the rest it would swap.
constexpr std::int64_t kCached = 2;  // cold / 2
// Near pressure seconds count.
constexpr std::int64_t kNear = 12;  // total / 12

}  // namespace

Bytes Node::Cached() const { return Bytes(burden_.cold.count() / kCached); }

void Add(Tally& sum, const Tally& one) {
  sum.node_hours += one.node_hours;
  sum.vm_hours += one.vm_hours;
  sum.counted_hours += one.counted_hours;
  sum.promised_hours += one.promised_hours;
  sum.windows += one.windows;
  sum.broken += one.broken;
  sum.oom_kills += one.oom_kills;
  sum.evictions += one.evictions;
  sum.migrations += one.migrations;
  sum.writes += one.writes;
  sum.stall_seconds += one.stall_seconds;
  sum.most_out = std::max(sum.most_out, one.most_out);
  sum.placed += one.placed;
}

Node::Node(const Machine& machine, std::unique_ptr<Strategy> strategy)
    : machine_(machine), strategy_(std::move(strategy)) {
  burden_.held = machine_.own;
}

View Node::Look(std::int64_t minute, std::int64_t second) const {
  return {machine_,
          vms_,
          minute * 60 + second,
          std::max(machine_.total - used(), Bytes()),
          burden_.out,
          burden_.cold,
          std::max(machine_.swap - (burden_.out - ballooned_), Bytes())};
}

Tally Node::Total() const {
  Tally total = tally_;
  total.windows = promises_.windows();
  total.broken = promises_.broken();
  total.writes = strategy_->writes();
  return total;
}

std::vector<Order> Node::End(std::int64_t minute) {
  std::vector<Order> ended;
  for (std::size_t i = vms_.size(); i-- > 0;) {
    if (vms_[i].ends > minute) continue;
    ended.push_back(vms_[i].order);
    Remove(i);
  }
  if (!ended.empty()) Gather(minute);
  return ended;
}

void Node::Remove(std::size_t index) {
  // Order is kept: identities rise, as the policy expects it.
  vms_.erase(vms_.begin() + static_cast<std::ptrdiff_t>(index));
}

void Node::Promise(std::int64_t minute) {
  offer_ = strategy_->Sell(Look(minute, 0));
  promises_.Promise(offer_.room(), burden_, !vms_.empty());
}

void Node::Bind(const Resident& vm) {
  const auto after = std::lower_bound(
      vms_.begin(), vms_.end(), vm.order.number,
      [](const Resident& one, std::uint64_t number) { return one.order.number < number; });
  vms_.insert(after, vm);
  ++tally_.placed;
}

std::optional<std::size_t> Node::Leaving() const {
  const auto vm = std::find_if(vms_.begin(), vms_.end(), [&](const Resident& one) {
    return leaving_ && one.order.number == *leaving_;
  });
  if (vm == vms_.end()) return std::nullopt;
  return static_cast<std::size_t>(vm - vms_.begin());
}

Resident Node::Migrate(std::size_t index) {
  const Resident vm = vms_[index];
  promises_.Migrated(vm.held);
  Remove(index);
  leaving_.reset();
  ++tally_.migrations;
  return vm;
}

void Node::Advance(std::int64_t minute) {
  for (Resident& vm : vms_) {
    vm.begin = vm.held;
    vm.need = vm.demand.Advance(minute);
    vm.cold = vm.need.cold;
  }
}

// On straight lines: what the VM held, the middle, the end.
void Node::At(std::int64_t second) {
  for (Resident& vm : vms_) {
    const bool late = second > 30;
    const Bytes from = late ? vm.need.middle : vm.begin;
    const Bytes to = late ? vm.need.end : vm.need.middle;
    const std::int64_t share = late ? second - 30 : second;
    vm.held = Bytes(from.count() + (to.count() - from.count()) * share / 30);
  }
}

void Node::Gather(std::int64_t minute) {
  burden_.held = machine_.own;
  burden_.cold = Bytes();
  newcomers_.fill(Bytes());
  for (const Resident& vm : vms_) {
    burden_.held += vm.held;
    burden_.cold += vm.cold;
    const std::int64_t age = minute - vm.came;
    if (age < kHorizonMinutes) newcomers_[static_cast<std::size_t>(age)] += vm.held;
  }
  for (std::size_t i = 1; i < newcomers_.size(); ++i) newcomers_[i] += newcomers_[i - 1];
  // What is touched again comes back at once; ballooned memory first, for it needs no disk.
  const Bytes swapped = std::min(burden_.out - ballooned_, burden_.cold);
  ballooned_ = std::min(ballooned_, std::min(Cached(), burden_.cold - swapped));
  burden_.out = swapped + ballooned_;
}

// What the host's kernel does by itself.
void Node::PushOut(std::int64_t step) {
  const Bytes mark(machine_.total.count() / kKernelMark);
  const Bytes excess = used() + mark - machine_.total;
  if (excess > Bytes()) {
    const Bytes space = machine_.swap - (burden_.out - ballooned_);
    const Bytes rate(machine_.swap_a_second.count() * step);
    const Bytes push =
        std::min(std::min(excess, burden_.cold - burden_.out), std::min(space, rate));
    burden_.out += std::max(push, Bytes());
  }
  if (used() > machine_.total) tally_.stall_seconds += static_cast<double>(step);
  tally_.most_out = std::max(tally_.most_out, burden_.out);
}

void Node::Moment(std::int64_t minute, std::int64_t second, std::int64_t step) {
  Gather(minute);
  PushOut(step);
  const View view = Look(minute, second);
  const Bytes balloon = strategy_->balloon_a_second(view);
  const Bytes swap_rate = machine_.swap > Bytes() ? machine_.swap_a_second : Bytes();
  const Means means{machine_.swap + (balloon > Bytes() ? Cached() : Bytes()), swap_rate + balloon};
  promises_.Look(burden_, newcomers_, means, machine_.total, second);
  while (burden_.held > machine_.total + machine_.swap + ballooned_ && !vms_.empty()) {
    const auto largest =
        std::max_element(vms_.begin(), vms_.end(),
                         [](const Resident& a, const Resident& b) { return a.held < b.held; });
    ++tally_.oom_kills;
    promises_.Failed();
    lost_.push_back(largest->order);
    Remove(static_cast<std::size_t>(largest - vms_.begin()));
    Gather(minute);
  }
}

void Node::Enforce(std::int64_t minute, std::int64_t second, std::int64_t step) {
  const Acts acts = strategy_->Look(Look(minute, second));
  const Bytes rate(machine_.swap_a_second.count() * step);
  const Bytes space = machine_.swap - (burden_.out - ballooned_);
  const Bytes push =
      std::min(std::min(acts.push, rate), std::min(space, burden_.cold - burden_.out));
  burden_.out += std::max(push, Bytes());
  const Bytes balloon =
      std::min(acts.balloon, std::min(Cached() - ballooned_, burden_.cold - burden_.out));
  const Bytes before = ballooned_;
  ballooned_ = std::max(ballooned_ + balloon, Bytes());
  burden_.out += ballooned_ - before;
  if (acts.migrate && *acts.migrate < vms_.size()) leaving_ = vms_[*acts.migrate].order.number;
  std::optional<std::size_t> victim = acts.evict;
  const bool kubelet_looks =
      strategy_->has_kubelet() && (minute * 60 + second) % kKubeletPeriod == 0;
  if (!victim && kubelet_looks && machine_.total - used() < kKubeletMark && !vms_.empty()) {
    // Whoever uses most above its request; requests are alike in their share of L.
    const auto worst =
        std::max_element(vms_.begin(), vms_.end(), [](const Resident& a, const Resident& b) {
          return a.held - a.order.limit < b.held - b.order.limit;
        });
    victim = static_cast<std::size_t>(worst - vms_.begin());
  }
  if (!victim || *victim >= vms_.size()) return;
  ++tally_.evictions;
  promises_.Failed();
  lost_.push_back(vms_[*victim].order);
  Remove(*victim);
  leaving_.reset();
  Gather(minute);
}

bool Node::Near() const {
  Bytes middle = machine_.own;
  Bytes end = machine_.own;
  for (const Resident& vm : vms_) {
    middle += vm.need.middle;
    end += vm.need.end;
  }
  const Bytes most = std::max(std::max(middle, end), burden_.held) - burden_.out;
  return machine_.total - most < Bytes(machine_.total.count() / kNear);
}

std::vector<Order> Node::Live(std::int64_t minute, bool counted) {
  lost_.clear();
  leaving_.reset();
  Advance(minute);
  const std::int64_t step = Near() ? 1 : 30;
  for (std::int64_t second = step; second <= 60; second += step) {
    At(second);
    Moment(minute, second, step);
    if (step == 1 || second == 60) Enforce(minute, second, step == 1 ? 1 : 60);
  }
  tally_.node_hours += 1.0 / 60;
  if (counted) {
    Bytes promised;
    for (const Resident& vm : vms_) promised += vm.order.limit;
    tally_.counted_hours += 1.0 / 60;
    tally_.vm_hours += static_cast<double>(vms_.size()) / 60;
    tally_.promised_hours +=
        static_cast<double>(promised.count()) / static_cast<double>(machine_.total.count()) / 60;
  }
  return std::move(lost_);
}

}  // namespace ullage::simulation
