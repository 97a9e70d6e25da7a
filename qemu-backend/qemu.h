// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node-agent/model/result.h"
#include "node-agent/model/time.h"
#include "node-agent/model/vm.h"

namespace ullage::qemu {

/// One start of one domain. `id` is new with each start, so (uuid, id) is one QEMU process.
struct DomainRef {
  std::string uuid;
  std::string name;  ///< as the hypervisor has it, any bytes
  std::int32_t id = 0;
};

/// The balloon's figures as they came; the guest's own ones may be anything. KiB.
struct BalloonReport {
  std::optional<std::uint64_t> actual;  ///< QEMU's: what the balloon leaves
  std::optional<std::uint64_t> unused;  ///< the guest's, like all below
  std::optional<std::uint64_t> available;
  std::optional<std::uint64_t> usable;
  std::optional<std::uint64_t> last_update;  ///< seconds since 1970, of the guest's last word
  std::optional<std::uint64_t> swap_in{};    ///< since the guest booted
  std::optional<std::uint64_t> swap_out{};
};

enum class Definition {
  kLive,                   ///< as it runs
  kPersistent,             ///< as it starts next time, without secrets
  kPersistentWithSecrets,  ///< the same, fit to be defined again
};

/// One running QEMU. Every call may block for as long as that QEMU, or what stands between, does:
/// only its own worker calls it, on a connection of its own.
/// Errors: kUnavailable, the connection is lost and the object useless; kGone, this start of the
/// domain has ended; kDeadline, the hypervisor gave up waiting; kDenied; kNotFound as said below.
class Qemu {
 public:
  Qemu() = default;
  Qemu(const Qemu&) = delete;
  Qemu& operator=(const Qemu&) = delete;
  virtual ~Qemu() = default;

  /// kNotFound: a transient domain has no persistent definition.
  virtual Result<std::string> Xml(Definition which) = 0;
  virtual Result<Run> State() = 0;
  virtual Result<BalloonReport> Balloon() = 0;
  /// One QMP command; the reply is QEMU's, errors included. kNotFound: not a QEMU.
  virtual Result<std::string> Qmp(const std::string& command) = 0;
  /// One command for the agent in the guest; the reply is the guest's. Waits `patience`, and some
  /// seconds more to be heard at all. kNotFound: the domain has no channel for one; kDeadline: it
  /// does not answer or is not there; kGone, too, while the guest does not run.
  virtual Result<std::string> GuestAgent(const std::string& command, seconds patience) = 0;
  /// What the balloon is to leave to the guest, in KiB; nothing persistent. The guest follows when
  /// and as far as it likes.
  virtual Status SetBalloon(std::uint64_t kib) = 0;
  /// Replaces the persistent definition.
  virtual Status Define(const std::string& xml) = 0;
};

struct Event {
  enum class Kind {
    kChanged,  ///< started, stopped, paused, defined, …: look again
    kReset,    ///< the guest was reset: what it negotiated is void
    kLost,     ///< events were missed, the connection is a new one; no domain
  };
  Kind kind;
  std::string uuid;
};

using EventSink = std::function<void(const Event&)>;

/// Where QEMUs are found. `List` and `LiveXml` belong to one thread, `Open` to any.
class Hypervisor {
 public:
  Hypervisor() = default;
  Hypervisor(const Hypervisor&) = delete;
  Hypervisor& operator=(const Hypervisor&) = delete;
  virtual ~Hypervisor() = default;

  /// Connects first when need be. Blocks. kUnavailable, kDenied, kDeadline.
  virtual Result<std::vector<DomainRef>> List() = 0;
  /// By List's connection; does not wait for the QEMU. kGone: it ended meanwhile.
  virtual Result<std::string> LiveXml(const DomainRef& domain) = 0;
  /// A connection for this QEMU alone. Blocks. kGone: this start has ended.
  virtual Result<std::unique_ptr<Qemu>> Open(const DomainRef& domain) = 0;
  /// One more, for whoever asks its guest.
  virtual Result<std::unique_ptr<Qemu>> OpenBeside(const DomainRef& domain) { return Open(domain); }
  /// `sink` is called on a thread of the hypervisor's, or inside List, and must not block. Before
  /// the first List.
  virtual void SetEventSink(EventSink sink) = 0;
  /// Ends what List began; may block. By its thread, which calls nothing afterwards.
  virtual void Close() = 0;
};

}  // namespace ullage::qemu
