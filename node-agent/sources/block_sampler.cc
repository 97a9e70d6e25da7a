// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/block_sampler.h"

#include <algorithm>

namespace ullage::sources {
namespace {

constexpr std::uint64_t kLeastBlock = std::uint64_t{2} << 20;  // a huge page
constexpr std::uint64_t kBlocks = 2048;
constexpr std::uint32_t kStuck = 64;
constexpr seconds kAverageEvery{30};
constexpr std::size_t kPlenty = 1024;  // marks
constexpr int kKept = 8;  // × cold_after: for as long a block that waits for marks is what it was

std::vector<std::uint64_t> Addresses(std::uint64_t begin, const auto& pages, std::size_t count) {
  std::vector<std::uint64_t> addresses;
  for (std::size_t i = 0; i < count; ++i) addresses.push_back(begin + pages[i] * host::kPage);
  return addresses;
}

}  // namespace

BlockSampler::BlockSampler(std::unique_ptr<host::GuestMemory> memory, PageMarks& marks,
                           seconds cold_after, std::uint32_t seed)
    : memory_(std::move(memory)), marks_(marks), cold_after_(cold_after), random_(seed) {
  Cut();
}

void BlockSampler::Cut() {
  std::uint64_t total = 0;
  for (const host::AddressRange& range : memory_->Ranges()) total += range.size();
  std::uint64_t size = kLeastBlock;
  while (total / size > kBlocks) size *= 2;
  for (const host::AddressRange& range : memory_->Ranges()) {
    // Along huge pages, whichever address the range begins at.
    for (std::uint64_t at = range.begin; at < range.end;) {
      const std::uint64_t end = std::min((at / size + 1) * size, range.end);
      Block block;
      block.begin = at;
      block.pages = static_cast<std::uint32_t>((end - at) / host::kPage);
      blocks_.push_back(block);
      at = end;
    }
  }
}

void BlockSampler::Enter(Block& block, State state, std::size_t held) {
  const auto count = [&](std::int64_t sign) {
    if (block.state == State::kCold) cold_pages_ += sign * block.held;
    if (block.state == State::kHot) hot_pages_ += sign * block.held;
  };
  count(-1);
  block.state = state;
  block.held = static_cast<std::uint32_t>(held);
  count(1);
}

void BlockSampler::Look(Block& block) {
  if (!block.looked) ++looked_;
  block.looked = true;
}

Result<bool> BlockSampler::Step(BootTime now) {
  for (std::size_t tried = 0; tried < blocks_.size(); ++tried) {
    Block& block = blocks_[next_];
    next_ = (next_ + 1) % blocks_.size();
    if (block.due > now) continue;
    const bool judge = block.marked > 0;
    if (judge) {
      if (const Status judged = Judge(block, now); !judged) return judged.error();
      Average(now);
    }
    // Where marks are few, those that this block gave back are for whoever waits for some.
    const bool room = marks_.Room() >= (judge ? kPlenty : kMarks);
    if (room) {
      if (const Status sampled = Sample(block, now); !sampled) return sampled.error();
    } else if (now - block.due > kKept * cold_after_) {
      Enter(block, State::kUnknown, block.held);
    }
    if (room || judge) return true;
  }
  return false;
}

Status BlockSampler::Judge(Block& block, BootTime now) {
  const auto stand = marks_.Stand(*memory_, Addresses(block.begin, block.mark, block.marked));
  if (!stand) return stand.error();
  block.marked = 0;
  seen_at_ = now;
  Look(block);
  const bool touched = std::find(stand->begin(), stand->end(), false) != stand->end();
  Enter(block, touched ? State::kHot : State::kCold, block.held);
  return Ok();
}

Status BlockSampler::Sample(Block& block, BootTime now) {
  block.due = now + cold_after_ + marks_.Delay();
  const auto entries = memory_->Pages({block.begin, block.begin + block.pages * host::kPage});
  if (!entries) return entries.error();
  std::vector<std::uint32_t> held;
  for (std::uint32_t page = 0; page < entries->size(); ++page) {
    if ((*entries)[page].present()) held.push_back(page);
  }
  if (held.empty()) {
    Look(block);
    Enter(block, State::kUnknown, 0);
    return Ok();
  }
  Enter(block, block.state, held.size());
  return Mark(block, std::move(held));
}

Status BlockSampler::Mark(Block& block, std::vector<std::uint32_t> held) {
  const std::size_t count = std::min(kMarks, held.size());
  for (std::size_t i = 0; i < count; ++i) {
    // The first page may be the one of a huge page that can be marked.
    if (i == 0) continue;
    std::swap(held[i], held[i + random_() % (held.size() - i)]);
  }
  std::copy_n(held.begin(), count, block.mark.begin());
  const auto pages = Addresses(block.begin, block.mark, count);
  const auto took = marks_.Set(*memory_, pages);
  if (!took) return took.error();
  const bool any = std::find(took->begin(), took->end(), true) != took->end();
  // A mark that did not take never will: a part of a huge page.
  for (std::size_t i = 0; i < count; ++i) {
    if ((*took)[i]) block.mark[block.marked++] = block.mark[i];
  }
  stuck_ = any ? 0 : std::min(stuck_ + 1, kStuck);
  if (!any) {
    Look(block);
    Enter(block, State::kUnknown, block.held);
  }
  return Ok();
}

void BlockSampler::Average(BootTime now) {
  // What is in use often lies together: half a round says nothing of the whole.
  if (looked_ < blocks_.size() || cold_pages_ + hot_pages_ == 0) return;
  const std::int64_t share = hot_pages_ * 10000 / (cold_pages_ + hot_pages_);
  if (!averaged_at_ || share > active_) {
    active_ = share;
    averaged_at_ = now;
  } else if (now - *averaged_at_ >= kAverageEvery) {
    active_ -= (active_ - share + 3) / 4;
    averaged_at_ = now;
  }
}

WorkingSet BlockSampler::Latest() const {
  WorkingSet set;
  set.probe = marks_.Name();
  set.seen_at = seen_at_;
  if (seen_at_) set.cold = Bytes(cold_pages_ * static_cast<std::int64_t>(host::kPage));
  if (averaged_at_) set.active = Permyriad{active_};
  if (stuck_ == kStuck) set.fault = "its pages cannot be marked";
  return set;
}

std::vector<host::AddressRange> BlockSampler::TakeCold(Bytes amount, BootTime now) {
  std::vector<host::AddressRange> ranges;
  Bytes sum;
  for (std::size_t tried = 0; tried < blocks_.size() && sum < amount; ++tried) {
    Block& block = blocks_[take_];
    take_ = (take_ + 1) % blocks_.size();
    if (block.state != State::kCold || block.held == 0) continue;
    ranges.push_back({block.begin, block.begin + block.pages * host::kPage});
    sum += Bytes(static_cast<std::int64_t>(block.held * host::kPage));
    Enter(block, State::kUnknown, 0);
    block.marked = 0;
    block.due = now + cold_after_;
  }
  return ranges;
}

}  // namespace ullage::sources
