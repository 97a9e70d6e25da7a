// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libvirt/libvirt.h>

#include <memory>
#include <string>

#include "node-agent/model/result.h"
#include "qemu-backend/qemu.h"

namespace ullage::qemu {

struct CloseConnection {
  void operator()(virConnect* connection) const;
};
using Connection = std::unique_ptr<virConnect, CloseConnection>;

/// Whether somebody notices that the other side is silent.
enum class KeepAlive {
  kOn,   ///< libvirt's own pings: when the daemon is silent for 20 s its calls fail
  kOff,  ///< only its end is noticed
};

/// A connection. Blocks; for as long as the daemon does when that one is silent from the start.
/// The first call starts libvirt's event loop on a thread that stays for the process's life, and
/// silences libvirt's own error messages: they come in our errors.
Result<Connection> Connect(const std::string& uri, KeepAlive keepalive = KeepAlive::kOn);

/// libvirt's last error on this thread. kUnavailable whenever `connection` is dead by now.
Error LastError(virConnect* connection);

/// What a connection tells without being asked: life cycle, guest resets, definitions. Holds the
/// connection.
class Events {
 public:
  /// `sink` is called on the event loop's thread.
  static Result<std::unique_ptr<Events>> Subscribe(virConnect* connection,
                                                   const std::shared_ptr<const EventSink>& sink);
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  /// Blocks like any call.
  ~Events();

 private:
  explicit Events(virConnect* connection) : connection_(connection) {}

  virConnect* const connection_;
  int lifecycle_ = -1;
  int reboot_ = -1;
  int metadata_ = -1;
};

}  // namespace ullage::qemu
