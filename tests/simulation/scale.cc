// SPDX-License-Identifier: Apache-2.0
#include "tests/simulation/scale.h"

#include <algorithm>
#include <memory>
#include <stop_token>

#include "node-agent/kube/reflector.h"
#include "node-agent/policy/policy.h"
#include "node-agent/publishers/cluster_publisher.h"
#include "node-agent/simulation/node.h"
#include "node-agent/simulation/strategy.h"
#include "node-agent/sources/cluster.h"

namespace ullage::simulation {
namespace {

// At which a simulated node's policy begins (simulation/ours.cc).
constexpr seconds kStart{3600};
constexpr Bytes kQuantum = Bytes::MiB(64);
constexpr seconds kRollout{60};
// A kubelet writes its node's status so often when nothing changes (nodeStatusReportFrequency).
constexpr seconds kHeartbeat{300};

Bytes SizeOf(Random& random) {
  const double draw = random.Uniform();
  return Bytes::GiB(draw < 0.25 ? 1 : draw < 0.65 ? 2 : 4);
}

// One node's guests, and what the scheduler puts there.
class Guests {
 public:
  Guests(std::size_t node, const ScalePlot& plot, const Climate& climate, ApiServer& server)
      : node_(node),
        plot_(plot),
        climate_(climate),
        server_(server),
        random_(SeedOf(plot.seed, node)),
        ours_(Ours(PolicyParams{})) {}

  // Brings it to that second of the run, and lets the policy look.
  void At(std::int64_t second) {
    for (; minute_ <= second / 60; ++minute_) Minute(minute_);
    const std::int64_t in_minute = second % 60;
    held_ = machine_.own;
    cold_ = Bytes();
    for (Resident& vm : vms_) {
      const bool late = in_minute > 30;
      const Bytes from = late ? vm.need.middle : vm.begin;
      const Bytes to = late ? vm.need.end : vm.need.middle;
      const std::int64_t share = late ? in_minute - 30 : in_minute;
      vm.held = Bytes(from.count() + (to.count() - from.count()) * share / 30);
      held_ += vm.held;
      cold_ += vm.cold;
    }
    ours_->Sell({machine_, vms_, second, std::max(machine_.total - held_, Bytes()), Bytes(), cold_,
                 Bytes()});
  }
  const Ourselves& ours() const { return *ours_; }
  std::size_t size() const { return vms_.size(); }

 private:
  void Minute(std::int64_t minute) {
    for (Resident& vm : vms_) vm.held = vm.need.end;
    // Without an API server nobody comes and nobody's end is seen.
    if (!server_.away()) {
      End(minute);
      Bind(minute);
    }
    for (Resident& vm : vms_) {
      vm.begin = vm.held;
      vm.need = vm.demand.Advance(minute);
      vm.cold = vm.need.cold;
    }
  }

  void End(std::int64_t minute) {
    std::erase_if(vms_, [&](const Resident& vm) {
      if (vm.ends > minute) return false;
      server_.Remove(node_, ApiServer::kVmi, IdOf(vm));
      server_.Remove(node_, ApiServer::kPod, "pod-" + IdOf(vm));
      return true;
    });
  }

  // The queue is always full. Before the policy has looked, nobody has been promised anything.
  void Bind(std::int64_t minute) {
    Bytes ordinary = machine_.total - machine_.reserve;
    Bytes reclaimed = server_.published(node_).value_or(Bytes());
    for (const Resident& vm : vms_) {
      reclaimed -= vm.reclaimed;
      if (vm.reclaimed == Bytes()) ordinary -= vm.order.limit;
    }
    for (;;) {
      if (!next_) next_ = NewOrder();
      const Bytes quanta = next_->limit.CeilTo(kQuantum);
      const bool fits = ordinary >= next_->limit;
      if (!fits && reclaimed < quanta) return;
      (fits ? ordinary : reclaimed) -= fits ? next_->limit : quanta;
      // Those of the first minute have come at some time before it.
      const std::int64_t ends =
          minute + 1 +
          (minute > 0 ? next_->lifetime
                      : static_cast<std::int64_t>(random_.Uniform() *
                                                  static_cast<double>(next_->lifetime)));
      vms_.push_back({*next_,
                      Demand(*next_, plot_.workload, climate_),
                      fits ? Bytes() : quanta,
                      minute,
                      ends,
                      Bytes(),
                      Bytes(),
                      Bytes(),
                      {}});
      next_.reset();
      Tell(vms_.back());
    }
  }

  Order NewOrder() {
    Order order;
    order.number = node_ * 100000 + ++numbers_;
    order.seed = SeedOf(plot_.seed, order.number);
    Random random(order.seed ^ 0x512eu);
    order.lifetime = static_cast<std::int64_t>(random.Between(6, 30) * 60);
    order.guest = SizeOf(random);
    const PolicyParams params;
    const std::int64_t vcpus = std::max<std::int64_t>(order.guest.mib() / 2048, 1);
    order.limit =
        order.guest + params.overhead.fixed + Bytes(params.overhead.per_vcpu.count() * vcpus);
    return order;
  }

  static std::string IdOf(const Resident& vm) {
    std::string number = std::to_string(vm.order.number);
    return "vm" + std::string(10 - number.size(), '0') + number;
  }

  void Tell(const Resident& vm) {
    const std::string id = IdOf(vm);
    const auto quoted = [](Bytes size) { return "\"" + std::to_string(size.count()) + "\""; };
    const std::string held = vm.reclaimed > Bytes()
                                 ? R"("ullage.io/reclaimable-memory":)" + quoted(vm.reclaimed)
                                 : R"("memory":)" + quoted(vm.order.limit);
    server_.Put(node_, ApiServer::kPod, "pod-" + id,
                R"("namespace":"team-a","name":"virt-launcher-)" + id + R"(","uid":"pod-)" + id +
                    R"(","labels":{"kubevirt.io":"virt-launcher","kubevirt.io/created-by":")" + id +
                    R"("})",
                R"("spec":{"containers":[{"name":"compute","resources":{"requests":{)" + held +
                    R"(}}}]},"status":{"phase":"Running"})");
    server_.Put(node_, ApiServer::kVmi, id,
                R"("namespace":"team-a","name":")" + id + R"(","uid":")" + id + "\"",
                R"("spec":{"domain":{"memory":{"guest":)" + quoted(vm.order.guest) +
                    R"(}}},"status":{"phase":"Running","activePods":{"pod-)" + id + R"(":"n)" +
                    std::to_string(node_) + R"("}})");
  }

  const std::size_t node_;
  const ScalePlot& plot_;
  const Climate& climate_;
  ApiServer& server_;
  Random random_;
  const Machine machine_;
  std::unique_ptr<Ourselves> ours_;
  std::vector<Resident> vms_;
  std::optional<Order> next_;
  std::uint64_t numbers_ = 0;
  std::int64_t minute_ = 0;
  Bytes held_, cold_;
};

// One node's agent: four watches and one that ticks and writes.
class Agent {
 public:
  Agent(std::size_t node, const ScalePlot& plot, VirtualTime& time, ApiServer& server,
        Guests& guests)
      : node_(node),
        plot_(plot),
        time_(time),
        server_(server),
        guests_(guests),
        random_(SeedOf(plot.seed, 0xa6e27u + node)),
        client_(server.TransportOf(node), {time, time, [this] { return random_.Next(); }}),
        state_("n" + std::to_string(node), {}) {
    sources::ClusterSource::Each(
        state_, {"n" + std::to_string(node), {}, seconds(60)},
        [&]<typename T>(const kube::Resource& resource, const kube::WatchOptions& options,
                        kube::Handler<T>& handler) {
          feeds_.push_back(std::make_unique<kube::TypedFeed<T>>(handler));
          loops_.push_back(std::make_unique<kube::WatchLoop>(client_, kube::ObjectRef{resource},
                                                             options, *feeds_.back()));
        });
    publishers::ClusterPublisherOptions options;
    options.node = "n" + std::to_string(node);
    writers_ = publishers::MakeWriters(options, client_);
  }

  void Begin(const std::stop_token& stop) {
    const milliseconds delay(random_.Below(milliseconds(kRollout).count()));
    for (const auto& loop : loops_) {
      time_.Begin([this, stop, delay, &loop = *loop] {
        if (time_.For(delay, stop)) loop.Run(stop);
      });
    }
    time_.Begin([this, stop, delay] {
      if (time_.For(delay, stop)) Tick(stop);
    });
  }

 private:
  // As in the agent: the writers take the latest report whenever they have time for one.
  void Tick(const std::stop_token& stop) {
    milliseconds heartbeat = time_.now() + milliseconds(random_.Below(300000));
    for (milliseconds next = time_.now(); !stop.stop_requested(); next += plot_.tick) {
      next = std::max(next, time_.now());
      time_.For(next - time_.now(), stop);
      if (time_.now() >= heartbeat) {
        heartbeat += kHeartbeat;
        server_.Heartbeat(node_);
      }
      guests_.At(std::chrono::duration_cast<seconds>(time_.now() - kStart).count());
      const Report report = Look();
      for (const auto& writer : writers_) {
        if (!stop.stop_requested()) writer->Step(report, stop);
      }
    }
  }

  Report Look() {
    Report report;
    report.snapshot = guests_.ours().snapshot();
    report.snapshot.at = time_.Now();
    report.plan = guests_.ours().plan();
    report.mode = Name(Mode::kPublish);
    report.tick = ++ticks_;
    // Some guests' drivers are too old: their owners are told.
    for (VmState& vm : report.snapshot.vms) {
      if (vm.cgroup % 20 == 0) vm.hinting = Hinting::kNotNegotiated;
    }
    NodeSample sample = state_.Read();
    if (state_.listed()) {
      sample.heard_at = std::min(loops_[0]->heard_at(), loops_[1]->heard_at());
    }
    report.snapshot.node = std::move(sample);
    return report;
  }

  const std::size_t node_;
  const ScalePlot& plot_;
  VirtualTime& time_;
  ApiServer& server_;
  Guests& guests_;
  Random random_;
  kube::Client client_;
  sources::ClusterState state_;
  std::vector<std::unique_ptr<kube::Feed>> feeds_;
  std::vector<std::unique_ptr<kube::WatchLoop>> loops_;
  std::vector<std::unique_ptr<publishers::Writer>> writers_;
  std::uint64_t ticks_ = 0;
};

}  // namespace

ScaleResult RunScale(const ScalePlot& plot) {
  const milliseconds start = kStart + plot.history;
  VirtualTime time(start);
  ApiServer server(time, plot.nodes, plot.seed);
  const seconds whole = plot.history + plot.settle + plot.rest + plot.away + plot.after;
  const Climate climate = ClimateOf(plot.seed, whole.count() / 60 + 2);
  std::stop_source stop;
  std::vector<std::unique_ptr<Guests>> guests;
  std::vector<std::unique_ptr<Agent>> agents;
  for (std::size_t node = 0; node < plot.nodes; ++node) {
    guests.push_back(std::make_unique<Guests>(node, plot, climate, server));
    // What agents have published until now; nobody counts it.
    for (std::int64_t second = 0; second < plot.history.count(); second += 60) {
      guests[node]->At(second);
      const Bytes published = guests[node]->ours().plan().capacity.published;
      if (published > Bytes()) server.Publish(node, published);
    }
    agents.push_back(std::make_unique<Agent>(node, plot, time, server, *guests[node]));
    agents[node]->Begin(stop.get_token());
  }
  ScaleResult result;
  milliseconds at = start + plot.settle;
  const auto second = [&] {
    return static_cast<std::size_t>(
        std::chrono::duration_cast<seconds>(time.now() - start).count());
  };
  time.RunUntil(at);
  result.rest_from = second();
  time.RunUntil(at += plot.rest);
  result.watches = server.watches();
  for (std::size_t node = 0; node < plot.nodes; ++node) {
    result.vms += static_cast<double>(guests[node]->size()) / static_cast<double>(plot.nodes);
    if (server.published(node)) ++result.published;
  }
  result.left = second();
  server.Leave();
  time.RunUntil(at += plot.away);
  result.returned = second();
  server.Return();
  time.RunUntil(at += plot.after);
  result.loads = server.loads();
  result.loads.resize(second());
  result.most_reclaim = server.most_reclaim();
  stop.request_stop();
  time.RunOut();
  return result;
}

}  // namespace ullage::simulation
