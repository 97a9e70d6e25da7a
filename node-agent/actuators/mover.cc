// SPDX-License-Identifier: Apache-2.0
#include "node-agent/actuators/mover.h"

#include <algorithm>
#include <utility>

#include "node-agent/actuators/balloons.h"
#include "node-agent/kube/backoff.h"
#include "node-agent/kube/threads.h"
#include "node-agent/model/find.h"

namespace ullage::actuators {
namespace {

using State = Outcome::State;

constexpr kube::BackoffRange kRefused{seconds(60), seconds(3600)};
constexpr seconds kDenied{300};  // a right that is missing is given by a person
constexpr unsigned kMostDoubled = 8;

// Where it runs, by the API server's word of this tick. Absent: that word ties no pod to it.
std::optional<Departure> DepartureOf(const NodeSample& node, const Action& action) {
  for (const VmiSample& vmi : node.vmis) {
    if (!(vmi.spec.id == action.id) || vmi.launcher.empty()) continue;
    for (const PodSample& pod : node.pods) {
      if (pod.uid != vmi.launcher || pod.vmi != action.id) continue;
      return Departure{action.id, vmi.name_space, vmi.name, pod.name, pod.uid, action.reason};
    }
  }
  return std::nullopt;
}

}  // namespace

Mover::Mover(const kube::Client& client, MoverOptions options)
    : options_(std::move(options)), departures_(client, options_.node) {
  const kube::SignalsBlocked blocked;
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

void Mover::Stop() { thread_.request_stop(); }

// What the policy knew when it chose, asked once more of the same snapshot: an eviction is the one
// thing here that cannot be undone.
std::optional<std::string> Mover::WhyNot(const Snapshot& snapshot, const Order& order) const {
  const VmState* vm = FindById(snapshot.vms, order.action.id);
  if (vm == nullptr) return "no such VM";
  if (!snapshot.node->fault.empty()) return "the API server is away";
  if (!vm->exempt.empty() || vm->spec.reclaim == Reclaim::kOff) return "it is left alone";
  if (vm->leaving) return "it leaves already";
  if (order.migrate && !vm->stays.empty()) return "it cannot migrate: " + vm->stays;
  if (!order.migrate && vm->reclaimed <= Bytes()) return "it does not stand on reclaimed memory";
  const auto waits = [&](const auto& rests, const auto& key) -> const Rest* {
    const auto at = rests.find(key);
    return at != rests.end() && snapshot.at.boot < at->second.until ? &at->second : nullptr;
  };
  const Rest* rest = waits(denied_, order.migrate);
  if (rest == nullptr) rest = waits(refused_, order.action.id);
  if (rest != nullptr) return "not tried again yet: " + rest->words;
  return std::nullopt;
}

Outcome Mover::Ask(const Snapshot& snapshot, const Action& action) {
  if (!snapshot.node) return {action, State::kSkipped, "there is no Kubernetes here"};
  Order order{
      action, action.kind == Action::Kind::kMigrate || options_.last_step != LastStep::kEvict, {}};
  if (auto why = WhyNot(snapshot, order)) return {action, State::kSkipped, *std::move(why)};
  auto who = DepartureOf(*snapshot.node, action);
  if (!who) return {action, State::kSkipped, "its pod is not known"};
  order.who = *std::move(who);
  const std::lock_guard lock(mutex_);
  if (thread_.get_stop_token().stop_requested()) {
    return {action, State::kSkipped, "the agent ends"};
  }
  if (order_) return {action, State::kSkipped, "the request before it is not answered yet"};
  if (order.migrate && !on_its_way_.empty()) {
    return {action, State::kSkipped, "the migration of " + on_its_way_ + " is under way"};
  }
  const bool instead = order.migrate && action.kind == Action::Kind::kEvict;
  order_ = std::move(order);
  ordered_.notify_all();
  return {action, State::kQueued, instead ? "migrated instead: evictions are not wanted" : ""};
}

std::vector<Outcome> Mover::News(BootTime now) {
  std::vector<Settled> news;
  {
    const std::lock_guard lock(mutex_);
    if (news_.empty()) return {};
    news.swap(news_);
  }
  std::vector<Outcome> outcomes;
  for (Settled& one : news) {
    if (one.outcome.state == State::kFailed) {
      const bool denied = one.code == Code::kDenied;
      Rest& rest = denied ? denied_[one.migrate] : refused_[one.outcome.action.id];
      rest.until = now + (denied ? kDenied : kube::RestCeiling(rest.failures, kRefused));
      rest.failures = std::min(rest.failures + 1, kMostDoubled);
      rest.words = one.outcome.message;
    }
    outcomes.push_back(std::move(one.outcome));
  }
  // Whoever has behaved for as long as the longest rest begins anew.
  std::erase_if(refused_,
                [&](const auto& entry) { return now > entry.second.until + kRefused.cap; });
  return outcomes;
}

void Mover::Run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::optional<Order> order;
    {
      std::unique_lock lock(mutex_);
      const auto there = [&] { return order_.has_value(); };
      if (!followed_) {
        ordered_.wait(lock, stop, there);
      } else {
        const bool judged = !followed_->target.empty();
        ordered_.wait_for(lock, stop, judged ? options_.look_when_judged : options_.look_every,
                          there);
      }
      order = order_;
    }
    if (stop.stop_requested()) return;
    if (order) {
      CarryOut(*order, stop);
    } else if (followed_) {
      Follow(stop);
    }
  }
}

Result<std::string> Mover::Do(const Order& order, const std::stop_token& stop) {
  if (!order.migrate) return departures_.Evict(order.who, stop);
  auto asked = departures_.Migrate(order.who, stop);
  if (!asked) return asked.error();
  followed_ = std::move(asked->migration);
  followed_for_ = order;
  return std::move(asked->message);
}

void Mover::CarryOut(const Order& order, const std::stop_token& stop) {
  const auto came = Do(order, stop);
  const std::lock_guard lock(mutex_);
  order_.reset();
  if (followed_) on_its_way_ = followed_->who.name_space + "/" + followed_->who.name;
  Tell(order, came, stop);
}

void Mover::Follow(const std::stop_token& stop) {
  const auto came = departures_.Look(*followed_, stop);
  if (!came) return;
  followed_.reset();
  const std::lock_guard lock(mutex_);
  on_its_way_.clear();
  // That it has left is seen by everybody: its VMI is another node's now.
  if (!came->ok()) Tell(*followed_for_, came->error(), stop);
}

// With the lock held. What was ended by `stop` is nobody's failure.
void Mover::Tell(const Order& order, const Result<std::string>& came, const std::stop_token& stop) {
  if (!came && stop.stop_requested()) return;
  Settled one{{order.action, came ? State::kDone : State::kFailed,
               came ? came.value() : came.error().message()},
              order.migrate,
              came ? Code::kInternal : came.error().code()};
  news_.push_back(std::move(one));
}

}  // namespace ullage::actuators
