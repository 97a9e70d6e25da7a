// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "node-agent/model/bytes.h"
#include "node-agent/simulation/random.h"
#include "node-agent/simulation/trace.h"

namespace ullage::simulation {

/// What a run's guests do. None of them is a measurement; how each is made stands in demand.cc, and
/// what is known of real series in docs/simulation.md.
enum class Workload {
  kDiurnal,   ///< by day and by night, all in the same time zone
  kBursts,    ///< each for itself, a fifth to a half of its size within minutes
  kTogether,  ///< a tide that lifts all guests of the cluster at once
  kSawtooth,  ///< full at half a minute, empty whenever the minute's sample is taken
  kLiar,      ///< bursts, by guests that always say that nearly everything is free
  kMixed,     ///< all kinds, and guests that leak, and some that return nothing
};
inline constexpr Workload kWorkloads[] = {Workload::kDiurnal,  Workload::kBursts,
                                          Workload::kTogether, Workload::kSawtooth,
                                          Workload::kLiar,     Workload::kMixed};
const char* Name(Workload workload);
std::optional<Workload> WorkloadNamed(std::string_view name);

/// What all guests of a run have in common.
struct Climate {
  /// How much of its memory a guest of this cluster holds on average, about: 30 to 75 %, by the
  /// seed. Clusters differ, and nobody tells an agent in which it is.
  double fill = 0.45;
  std::vector<float> tides;  ///< how high the tide stands in each minute, from 0 to 1
};
Climate ClimateOf(std::uint64_t seed, std::int64_t minutes);

/// One VM as its owner orders it, and the seed of all it will do.
struct Order {
  std::uint64_t number = 0;  ///< in the order of arrival: its identity
  std::uint64_t seed = 0;
  Bytes guest;                         ///< guest memory
  Bytes limit;                         ///< L: with what QEMU needs besides
  std::int64_t lifetime = 0;           ///< minutes
  const TraceSeries* trace = nullptr;  ///< absent: the workload's own
  std::int64_t trace_offset = 0;       ///< minutes by which a further copy of a series is shifted
  bool lies = false;                   ///< it says that nearly all its memory is free
};

/// What a guest holds in one minute, and what of it is cold: not touched for a horizon and longer.
struct Need {
  Bytes middle;  ///< at half a minute
  Bytes end;
  Bytes cold;  ///< of the least that it holds
};

/// One guest's memory over time. Its past is its own: where it was placed changes nothing.
class Demand {
 public:
  /// `climate` outlives it.
  Demand(const Order& order, Workload workload, const Climate& climate);

  /// The minute that begins at `minute` of the run. To be called for each minute in turn.
  Need Advance(std::int64_t minute);

 private:
  enum class Kind { kSteady, kDiurnal, kBursts, kTogether, kSawtooth, kLeak };

  void Settle(Workload workload, Random& random);
  static Kind KindOf(Workload workload, Random& random);
  double Level(std::int64_t minute, double tide);
  double Surge();
  Need FromTrace(std::int64_t minute) const;

  Random random_;
  const Climate* climate_;
  const TraceSeries* trace_;
  std::int64_t trace_offset_;
  double guest_;     // bytes
  double overhead_;  // of QEMU, bytes
  Kind kind_ = Kind::kSteady;
  bool keeps_ = false;  // it returns nothing: what it ever held stays charged
  float base_ = 0, swing_ = 0, phase_ = 0, drift_ = 0, cold_share_ = 0;
  float surge_every_ = 0, surge_least_ = 0, surge_most_ = 0;  // minutes between two; shares of it
  float surge_ = 0, surge_to_ = 0, surge_step_ = 0, surge_hold_ = 0, next_surge_ = 0;
  float held_ = 0;
  std::int64_t age_ = 0;
};

}  // namespace ullage::simulation
