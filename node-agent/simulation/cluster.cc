// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/cluster.h"

#include <algorithm>
#include <deque>
#include <optional>

namespace ullage::simulation {
namespace {

constexpr Bytes kQuantum = Bytes::MiB(64);
constexpr std::int64_t kWarmUpMost = 1440;

// The mean guest is 2.6 GiB, so that a node of 64 GiB has 23 VMs without overcommit.
Bytes SizeOf(Random& random) {
  const double draw = random.Uniform();
  return Bytes::GiB(draw < 0.25 ? 1 : draw < 0.65 ? 2 : 4);
}

class Cluster {
 public:
  Cluster(const Plot& plot, const std::function<std::unique_ptr<Strategy>()>& strategy)
      : plot_(plot), minutes_(plot.hours * 60), climate_(ClimateOf(plot.seed, minutes_)) {
    for (std::size_t i = 0; i < plot.nodes; ++i) {
      nodes_.push_back(std::make_unique<Node>(plot.machine, strategy()));
    }
    std::size_t vms = plot.vms;
    if (vms == 0) {
      const auto node =
          static_cast<std::size_t>(plot.machine.total.count() / OrderOf(0).limit.count());
      const auto mean =
          static_cast<std::size_t>(plot.machine.total.count() / Bytes::GiB(2).count());
      vms = 2 * plot.nodes * (plot.trace != nullptr ? node : mean);
    }
    for (std::size_t i = 0; i < vms; ++i) Enqueue();
  }

  Tally Run() {
    const std::int64_t warm_up = std::min(minutes_ / 4, kWarmUpMost);
    for (std::int64_t minute = 0; minute < minutes_; ++minute) {
      for (const auto& node : nodes_) {
        for (std::size_t ended = node->End(minute).size(); ended > 0; --ended) Enqueue();
        node->Promise(minute);
      }
      Migrate(minute);
      Schedule(minute);
      for (const auto& node : nodes_) {
        for (const Order& order : node->Live(minute, minute >= warm_up)) queue_.push_back(order);
      }
    }
    Tally sum;
    for (const auto& node : nodes_) Add(sum, node->Total());
    return sum;
  }

 private:
  Order OrderOf(std::uint64_t number) const {
    Order order;
    order.number = number;
    order.seed = SeedOf(plot_.seed, number);
    Random random(order.seed ^ 0x512eu);
    order.lifetime = static_cast<std::int64_t>(random.Between(6, 30) * 60);
    if (plot_.trace != nullptr) {
      const std::size_t series = number % plot_.trace->size();
      order.trace = &(*plot_.trace)[series];
      // The first copy of each keeps its time, so that what grew together does so here.
      if (number >= plot_.trace->size()) {
        order.trace_offset = static_cast<std::int64_t>(random.Below(1440));
      }
      order.guest = order.limit = order.trace->limit;
      return order;
    }
    order.guest = SizeOf(random);
    const std::int64_t vcpus = std::max<std::int64_t>(order.guest.mib() / 2048, 1);
    order.limit = order.guest + plot_.params.overhead.fixed +
                  Bytes(plot_.params.overhead.per_vcpu.count() * vcpus);
    order.lies = plot_.workload == Workload::kLiar;
    return order;
  }

  void Enqueue() { queue_.push_back(OrderOf(next_++)); }

  static bool Fits(const Offer& offer, const Order& order) {
    return offer.ordinary >= order.limit || offer.reclaimed >= order.limit.CeilTo(kQuantum);
  }

  // The node with the most room: of ordinary memory, or if none has enough, of reclaimed.
  Node* Find(const Order& order, const Node* but) {
    Node* best = nullptr;
    for (const bool ordinary : {true, false}) {
      const auto room = [&](Node& node) {
        return ordinary ? node.offer().ordinary : node.offer().reclaimed;
      };
      for (const auto& node : nodes_) {
        if (node.get() == but) continue;
        if (best == nullptr || room(*node) > room(*best)) best = node.get();
      }
      if (best != nullptr &&
          room(*best) >= (ordinary ? order.limit : order.limit.CeilTo(kQuantum))) {
        return best;
      }
      best = nullptr;
    }
    return nullptr;
  }

  static void Bind(Node& node, Resident vm) {
    Offer& offer = node.offer();
    vm.reclaimed = Bytes();
    if (offer.ordinary >= vm.order.limit) {
      offer.ordinary -= vm.order.limit;
    } else {
      vm.reclaimed = vm.order.limit.CeilTo(kQuantum);
      offer.reclaimed -= vm.reclaimed;
    }
    node.Bind(vm);
  }

  void Schedule(std::int64_t minute) {
    while (!queue_.empty()) {
      Node* node = Find(queue_.front(), nullptr);
      if (node == nullptr) return;
      const Order order = queue_.front();
      queue_.pop_front();
      Bind(*node, {order,
                   Demand(order, plot_.workload, climate_),
                   Bytes(),
                   minute,
                   minute + order.lifetime,
                   Bytes(),
                   Bytes(),
                   Bytes(),
                   {}});
    }
  }

  void Migrate(std::int64_t minute) {
    for (const auto& node : nodes_) {
      const auto index = node->Leaving();
      if (!index) continue;
      Node* target = Find(node->vms()[*index].order, node.get());
      if (target == nullptr) continue;
      Resident vm = node->Migrate(*index);
      vm.came = minute;
      Bind(*target, vm);
    }
  }

  const Plot& plot_;
  const std::int64_t minutes_;
  const Climate climate_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<Order> queue_;
  std::uint64_t next_ = 0;
};

}  // namespace

Status Check(const Plot& plot) {
  const auto fault = [](const char* what) { return Error(Code::kInvalid, what); };
  if (plot.nodes < 1 || plot.nodes > kMostNodes) return fault("nodes: 1 to 10,000");
  if (plot.vms > kMostVms) return fault("vms: at most 1,000,000");
  if (plot.hours < 1 || plot.hours > kMostHours) return fault("hours: 1 to 8,784");
  if (plot.machine.total < Bytes::GiB(1) || plot.machine.total > Bytes::GiB(1 << 20)) {
    return fault("memory: 1 GiB to 1 PiB");
  }
  if (plot.machine.swap > Bytes::GiB(1 << 20)) return fault("swap: at most 1 PiB");
  return Ok();
}

Tally Run(const Plot& plot, const std::function<std::unique_ptr<Strategy>()>& strategy) {
  return Cluster(plot, strategy).Run();
}

Result<std::vector<Standing>> Compare(const Plot& plot, const std::vector<std::string>& names) {
  if (const Status checked = Check(plot); !checked) return checked.error();
  const auto wanted = [&](const char* name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  for (const std::string& name : names) {
    const bool known = name == kOurs || std::any_of(Rivals().begin(), Rivals().end(),
                                                    [&](const Rival& r) { return name == r.name; });
    if (!known) return Error(Code::kInvalid, "no strategy has this name: " + name);
  }
  std::vector<Standing> outcomes;
  if (wanted(kOurs)) {
    outcomes.push_back(
        {kOurs, "this agent's policy", Run(plot, [&] { return Ours(plot.params); })});
  }
  for (const Rival& rival : Rivals()) {
    if (wanted(rival.name)) outcomes.push_back({rival.name, rival.rule, Run(plot, rival.make)});
  }
  return outcomes;
}

}  // namespace ullage::simulation
