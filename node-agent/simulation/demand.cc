// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/demand.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace ullage::simulation {
namespace {

constexpr std::int64_t kDay = 1440;
constexpr float kBootMinutes = 6;
constexpr float kBooted = 0.08F;  // of its memory: what a guest holds at its login prompt
constexpr float kMost = 0.97F;    // what a guest can hold of its memory: its kernel keeps some

float Share(Random& random, double low, double high) {
  return static_cast<float>(random.Between(low, high));
}

}  // namespace

const char* Name(Workload workload) {
  switch (workload) {
    case Workload::kDiurnal:
      return "diurnal";
    case Workload::kBursts:
      return "bursts";
    case Workload::kTogether:
      return "together";
    case Workload::kSawtooth:
      return "sawtooth";
    case Workload::kLiar:
      return "liar";
    case Workload::kMixed:
      return "mixed";
  }
  return "mixed";
}

std::optional<Workload> WorkloadNamed(std::string_view name) {
  for (const Workload workload : kWorkloads) {
    if (name == Name(workload)) return workload;
  }
  return std::nullopt;
}

// Every 3 to 9 hours the tide rises for 15 to 40 minutes, stands for 10 to 40, and falls as it
// rose.
Climate ClimateOf(std::uint64_t seed, std::int64_t minutes) {
  Random random(SeedOf(seed, 0x71de));
  Climate climate;
  // By the golden ratio, so that few seeds, too, spread over the whole range.
  const double turn = static_cast<double>(seed % 1'000'000) * std::numbers::phi;
  climate.fill = 0.30 + 0.45 * (turn - std::floor(turn));
  climate.tides.assign(static_cast<std::size_t>(minutes) + 2, 0.0F);
  const auto size = static_cast<std::int64_t>(climate.tides.size());
  for (auto at = static_cast<std::int64_t>(random.Between(60, 300)); at < size;) {
    const auto rise = static_cast<std::int64_t>(random.Between(15, 40));
    const auto stand = static_cast<std::int64_t>(random.Between(10, 40));
    const std::int64_t length = 2 * rise + stand;
    for (std::int64_t i = 0; i < length && at + i < size; ++i) {
      const std::int64_t from_end = std::min(i + 1, length - i);
      climate.tides[static_cast<std::size_t>(at + i)] =
          std::min(1.0F, static_cast<float>(from_end) / static_cast<float>(rise));
    }
    at += length + static_cast<std::int64_t>(random.Between(180, 540));
  }
  return climate;
}

Demand::Demand(const Order& order, Workload workload, const Climate& climate)
    : random_(order.seed),
      climate_(&climate),
      trace_(order.trace),
      trace_offset_(order.trace_offset),
      guest_(static_cast<double>(order.guest.count())),
      // What QEMU is promised besides the guest is more than it uses.
      overhead_(0.6 * static_cast<double>((order.limit - order.guest).count())) {
  Settle(workload, random_);
}

void Demand::Settle(Workload workload, Random& random) {
  const double fill = climate_->fill;
  base_ = Share(random, 0.7 * fill, 1.3 * fill);
  cold_share_ = Share(random, 0.15, 0.5);
  // A rare hog in everyone: of real series over 10 minutes, growth was 5 % at p99, 16 % at p99.9
  // and 38 % at most.
  surge_every_ = 20 * 60;
  surge_least_ = 0.05F;
  surge_most_ = 0.38F;
  phase_ = Share(random, -90, 90);
  kind_ = KindOf(workload, random);
  switch (kind_) {
    case Kind::kDiurnal:
      base_ = Share(random, 0.5 * fill, fill);
      swing_ = Share(random, 0.3 * fill, 0.8 * fill);
      break;
    case Kind::kBursts:
      base_ = Share(random, 0.6 * fill, 1.1 * fill);
      surge_every_ = 3 * 60;
      surge_least_ = 0.2F;
      surge_most_ = 0.5F;
      break;
    case Kind::kTogether:
      swing_ = Share(random, 0.1, 0.3);
      break;
    case Kind::kSawtooth:
      swing_ = Share(random, 0.03, 0.1);
      break;
    case Kind::kLeak:  // a minute
      swing_ = Share(random, 0.3, 0.6) / Share(random, 6 * 60, 20 * 60);
      break;
    case Kind::kSteady:
      break;
  }
  keeps_ = workload == Workload::kMixed && random.Chance(0.1);
  next_surge_ = static_cast<float>(random.Exponential(static_cast<double>(surge_every_)));
}

Demand::Kind Demand::KindOf(Workload workload, Random& random) {
  switch (workload) {
    case Workload::kDiurnal:
      return Kind::kDiurnal;
    case Workload::kBursts:
    case Workload::kLiar:
      return Kind::kBursts;
    case Workload::kTogether:
      return Kind::kTogether;
    case Workload::kSawtooth:
      return Kind::kSawtooth;
    case Workload::kMixed:
      break;
  }
  const double draw = random.Uniform();
  if (draw < 0.40) return Kind::kSteady;
  if (draw < 0.65) return Kind::kDiurnal;
  if (draw < 0.85) return Kind::kBursts;
  return draw < 0.90 ? Kind::kTogether : Kind::kLeak;
}

// What one guest takes for a while, above what it does otherwise: up within 1 to 6 minutes, held
// for 5 to 40, then down at once.
double Demand::Surge() {
  if (surge_to_ > 0) {
    if (surge_ < surge_to_) {
      surge_ = std::min(surge_ + surge_step_, surge_to_);
    } else if (--surge_hold_ <= 0) {
      surge_ = surge_to_ = 0;
      next_surge_ = static_cast<float>(random_.Exponential(static_cast<double>(surge_every_)));
    }
  } else if (--next_surge_ <= 0) {
    surge_to_ = Share(random_, static_cast<double>(surge_least_), static_cast<double>(surge_most_));
    surge_step_ = surge_to_ / Share(random_, 1, 6);
    surge_hold_ = Share(random_, 5, 40);
  }
  return static_cast<double>(surge_);
}

double Demand::Level(std::int64_t minute, double tide) {
  drift_ = 0.98F * drift_ + 0.006F * static_cast<float>(random_.Noise());
  double level = static_cast<double>(base_ + drift_) + Surge();
  switch (kind_) {
    case Kind::kDiurnal: {
      const double hour = static_cast<double>((minute + kDay) % kDay) + static_cast<double>(phase_);
      const double day = 2 * std::numbers::pi * hour / static_cast<double>(kDay);
      level += static_cast<double>(swing_) * (1 - std::cos(day)) / 2;
      break;
    }
    case Kind::kTogether:
      level += static_cast<double>(swing_) * tide;
      break;
    case Kind::kLeak:
      // It restarts what leaks when little is left.
      level += static_cast<double>(swing_) * static_cast<double>(age_);
      if (level > 0.9) age_ = 0;
      break;
    case Kind::kSteady:
    case Kind::kBursts:
    case Kind::kSawtooth:
      break;
  }
  return level;
}

Need Demand::FromTrace(std::int64_t minute) const {
  const TracePoint now = trace_->At(minute + trace_offset_);
  const TracePoint then = trace_->At(minute + 1 + trace_offset_);
  return {Bytes((now.resident.count() + then.resident.count()) / 2), then.resident,
          std::min(then.cold, std::min(now.resident, then.resident))};
}

Need Demand::Advance(std::int64_t minute) {
  if (trace_ != nullptr) return FromTrace(minute);
  const auto last = static_cast<std::int64_t>(climate_->tides.size()) - 1;
  const auto at = static_cast<std::size_t>(std::min(minute, last));
  const auto tide = static_cast<double>(climate_->tides[at]);
  ++age_;
  auto level = static_cast<float>(Level(minute, tide));
  if (static_cast<float>(age_) < kBootMinutes && kind_ != Kind::kLeak) {
    level = kBooted + (level - kBooted) * static_cast<float>(age_) / kBootMinutes;
  }
  level = std::clamp(level, kBooted, kMost);
  if (keeps_) level = std::max(level, held_);
  const float middle = kind_ == Kind::kSawtooth ? std::min(level + swing_, kMost)
                                                : (held_ == 0 ? level : (level + held_) / 2);
  const float least = held_ == 0 ? level : std::min(level, held_);
  held_ = level;
  // Who is busy touches more of what it has.
  const double cold = static_cast<double>(cold_share_) * (1 - 0.6 * tide) *
                      std::min(static_cast<double>(least), static_cast<double>(base_));
  const auto bytes = [&](double share) {
    return Bytes(static_cast<std::int64_t>(guest_ * share + overhead_));
  };
  return {bytes(static_cast<double>(middle)), bytes(static_cast<double>(level)),
          Bytes(static_cast<std::int64_t>(guest_ * cold))};
}

}  // namespace ullage::simulation
