// SPDX-License-Identifier: Apache-2.0
#include "node-agent/lease/keeper.h"

namespace ullage::lease {

// A beat from the future is of no use: it would keep limits standing for ever.
bool Keeper::Breathes(const host::Pulse& pulse, BootTime now) const {
  return pulse.held && pulse.beat && *pulse.beat <= now && now - *pulse.beat < options_.patience;
}

Result<Keeper::Seen> Keeper::Look(BootTime now) {
  const auto pulse = host::FeelPulse(options_.folder);
  if (!pulse) return pulse.error();
  auto book = host::LeaseBook::Open(options_.folder, options_.boot_id);
  if (!book) return book.error();
  Seen seen;
  seen.held = pulse->held;
  if (!book->trouble().empty()) seen.faults.push_back(book->trouble());
  if (!Breathes(*pulse, now) && !book->leases().values.empty()) UndoAll(*book, seen);
  seen.left = book->leases().values.size();
  return seen;
}

// Under the book's lock: an agent that comes back to life finds an empty book, or waits.
void Keeper::UndoAll(host::LeaseBook& book, Seen& seen) const {
  const Status changed = book.Change([&](host::Leases& leases) {
    std::erase_if(leases.values, [&](const auto& entry) {
      const auto& [key, value] = entry;
      const std::string what = key.second + " of " + value.cgroup;
      const auto undone = host::Undo(options_.roots, key.second, value);
      if (!undone && undone.error().code() != Code::kInvalid) {
        seen.faults.push_back(what + ": " + undone.error().message());
        return false;
      }
      if (!undone) seen.faults.push_back(what + ": " + undone.error().message());
      if (undone && *undone == host::Undone::kRestored) seen.undone.push_back(what + " restored");
      if (undone && *undone == host::Undone::kYielded) {
        seen.undone.push_back(what + " was changed by somebody else: left as it is");
      }
      return true;
    });
  });
  if (!changed) seen.faults.push_back(changed.error().message());
}

}  // namespace ullage::lease
