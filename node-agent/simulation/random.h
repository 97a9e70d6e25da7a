// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <cstdint>

namespace ullage::simulation {

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). Not the standard library's distributions: a seed
/// has to give the same run with every library.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30u)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27u)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31u);
  }
  /// From 0 up to, and without, 1.
  double Uniform() { return static_cast<double>(Next() >> 11u) * 0x1p-53; }
  double Between(double low, double high) { return low + (high - low) * Uniform(); }
  /// Around 0, from -1 to 1, the nearer the likelier.
  double Noise() { return Uniform() - Uniform(); }
  bool Chance(double share) { return Uniform() < share; }
  /// How long until what happens once in `mean` happens.
  double Exponential(double mean) { return -mean * std::log1p(-Uniform()); }
  std::uint64_t Below(std::uint64_t bound) { return Next() % bound; }

 private:
  std::uint64_t state_;
};

/// A seed of its own for each of many things that hang on one seed.
inline std::uint64_t SeedOf(std::uint64_t seed, std::uint64_t number) {
  return Random(seed ^ (number * 0xd1342543de82ef95u)).Next();
}

}  // namespace ullage::simulation
