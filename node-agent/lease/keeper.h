// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "node-agent/host/lease.h"

namespace ullage::lease {

/// What ullage-lease does: it watches the agent's sign of life, and once that is missing it takes
/// the agent's limits off the cgroups and out of the book. A program of its own, with nothing but
/// this in it, so that whatever ends the agent does not end it.
class Keeper {
 public:
  struct Options {
    std::string folder;    ///< where the agent keeps its book: its socket's folder
    host::Roots roots;     ///< nothing outside `cgroup` is ever written
    seconds patience{10};  ///< an agent that lives and has not breathed for this long is stuck
    std::string boot_id;
  };
  explicit Keeper(Options options) : options_(std::move(options)) {}

  struct Seen {
    bool held = false;                ///< an agent lives
    std::size_t left = 0;             ///< limits that stand, breathing agents' included
    std::vector<std::string> undone;  ///< one line each, for people
    std::vector<std::string> faults;  ///< what could not be undone and is tried again
  };
  /// One look. Errors: the book or the sign of life cannot be read, or the agent is at the book.
  Result<Seen> Look(BootTime now);

 private:
  bool Breathes(const host::Pulse& pulse, BootTime now) const;
  void UndoAll(host::LeaseBook& book, Seen& seen) const;

  const Options options_;
};

}  // namespace ullage::lease
