// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "node-agent/host/guest_ram.h"
#include "node-agent/model/hybrid.h"
#include "node-agent/sources/page_marks.h"

namespace ullage::sources {

/// What is cold in one guest, by samples. Its memory is cut into blocks of 2 MiB, or more for
/// large guests so that there are at most 2,048. In each, four pages that are held, drawn at
/// random, are marked, and looked at after `cold_after`: untouched all four, the block is cold. A
/// block of which half is in use passes for cold once in sixteen times; what is then taken from it
/// wrongly comes back by faults, and the next look finds it in use. Where marks are limited, blocks
/// wait for them in turn; one that waits for 8 × `cold_after` is no longer known. No thread, no
/// lock: its owner has them.
class BlockSampler {
 public:
  BlockSampler(std::unique_ptr<host::GuestMemory> memory, PageMarks& marks, seconds cold_after,
               std::uint32_t seed);

  /// Looks at the next block that is due. False: none is.
  Result<bool> Step(BootTime now);
  /// Only what was judged counts as cold: too little rather than too much.
  WorkingSet Latest() const;
  /// Cold blocks of together at least `amount`, or all; each is named once, until it was looked at
  /// again.
  std::vector<host::AddressRange> TakeCold(Bytes amount, BootTime now);

 private:
  static constexpr std::size_t kMarks = 4;
  enum class State : std::uint8_t { kUnknown, kCold, kHot };
  struct Block {
    std::uint64_t begin = 0;
    std::uint32_t pages = 0;
    std::uint32_t held = 0;  // pages, when it was last sampled
    std::array<std::uint32_t, kMarks> mark{};
    BootTime due{};
    std::uint8_t marked = 0;
    bool looked = false;  // something was found out about it at least once
    State state = State::kUnknown;
  };
  void Cut();
  Status Judge(Block& block, BootTime now);
  Status Sample(Block& block, BootTime now);
  Status Mark(Block& block, std::vector<std::uint32_t> held);
  void Enter(Block& block, State state, std::size_t held);
  void Look(Block& block);
  void Average(BootTime now);

  std::unique_ptr<host::GuestMemory> memory_;
  PageMarks& marks_;
  seconds cold_after_;
  std::minstd_rand random_;
  std::vector<Block> blocks_;
  std::size_t next_ = 0;
  std::size_t take_ = 0;
  std::size_t looked_ = 0;
  std::int64_t cold_pages_ = 0;
  std::int64_t hot_pages_ = 0;
  std::uint32_t stuck_ = 0;  // blocks in a row that did not let themselves be marked
  std::optional<BootTime> seen_at_;
  std::optional<BootTime> averaged_at_;
  std::int64_t active_ = 0;
};

}  // namespace ullage::sources
