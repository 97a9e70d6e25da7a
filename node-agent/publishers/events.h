// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "node-agent/kube/client.h"
#include "node-agent/model/plan.h"
#include "node-agent/publishers/writer.h"

namespace ullage::publishers {

/// What a VM's owner, who cannot read the NodeReclaim, is told at his VMI, or at his pod where it
/// is no VMI's.
struct Notice {
  std::string name_space;
  std::string name;  ///< of the VMI or pod
  std::string uid;   ///< of the VMI or pod
  bool warning = false;
  std::string reason;   ///< one word: "BadSetting"
  std::string message;  ///< at most kNoticeLimit bytes
  /// It holds until it is no longer in a report; otherwise it happened once, in this one.
  bool lasts = true;
  bool about_pod = false;  ///< name and uid are a pod's
};
inline constexpr std::size_t kNoticeLimit = 512;

/// All that owners are to be told about one report: settings that make no sense, why a VM is left
/// alone, why hinting is off and what to do, pods that the kubelet rejected, what was done. Pure.
std::vector<Notice> NoticesOf(const Report& report);

/// The name of the Event: the same for the same words about the same VMI, so that an agent that
/// starts anew does not say them again.
std::string EventName(const Notice& notice);

struct EventRules {
  double burst = 25;              ///< requests that may be sent at once …
  milliseconds refill{2000};      ///< … and how long one more takes
  int a_step = 4;                 ///< requests of one tick: the other writers wait meanwhile
  std::size_t most_known = 4096;  ///< notices that are remembered; what does not fit is dropped
};

/// Sends each notice once when it begins, as a core/v1 Event of the VMI or pod, and raises its
/// count when it begins again. What the rate does not allow waits while it lasts.
class EventWriter final : public Writer {
 public:
  EventWriter(const kube::Client& client, EventRules rules, std::string node, Voice voice)
      : Writer("events", client, std::move(voice)),
        rules_(rules),
        node_(std::move(node)),
        tokens_(rules.burst) {}

  void Step(const Report& report, const std::stop_token& stop) override;

 private:
  struct Known {
    std::string uid;
    bool holds = false;  ///< in the last report
    bool told = false;   ///< since it holds
    std::int32_t count = 0;
    WallTime first{};
  };
  bool TakeToken();
  void Refill();
  /// Null: there is no room to remember it.
  Known* Remembered(const Notice& notice, const std::string& event);
  void Send(const Notice& notice, const std::string& event, Known& known, WallTime now,
            const std::stop_token& stop);
  void Forget(const Report& report, const std::set<std::string>& present);
  Status Tell(const Notice& notice, const std::string& event, Known& known, WallTime now,
              const std::stop_token& stop);
  Status Create(const Notice& notice, const std::string& event, Known& known, WallTime now,
                const std::stop_token& stop);

  const EventRules rules_;
  const std::string node_;
  double tokens_;
  std::optional<BootTime> refilled_;
  std::map<std::string, Known> known_;  // by EventName
};

}  // namespace ullage::publishers
