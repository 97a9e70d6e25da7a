// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"
#include "node-agent/model/vm.h"

namespace ullage::qemu {

/// Where a domain's owner writes to Ullage:
///   <metadata><ullage:vm xmlns:ullage="https://ullage.io/libvirt/v1"
///                        placement="standard|reclaimed" reclaim="hints|hybrid|off"
///                        guest-agent="allow|deny"/></metadata>
inline constexpr std::string_view kMetadataNamespace = "https://ullage.io/libvirt/v1";

/// A longer document is refused unread. libvirt's own are some 10 KiB.
inline constexpr std::size_t kDomainXmlLimit = std::size_t{1} << 20;
/// More vCPUs than any machine type has; a larger figure counts as this many.
inline constexpr std::uint32_t kMaxVcpus = 65536;

/// The first <memballoon>. Without one, or with model='none', there is no balloon.
struct BalloonDevice {
  bool present = false;
  std::string model;                        ///< virtio, virtio-non-transitional, …
  std::string alias;                        ///< QEMU's device id; empty while the domain is off
  std::optional<bool> free_page_reporting;  ///< as written; absent: QEMU's default, which is off
  std::optional<bool> autodeflate;          ///< as written; absent: off
};

/// What one domain's XML says, whichever libvirt wrote it: the live or the persistent one, or the
/// one on a hook's standard input.
struct DomainFacts {
  std::optional<std::int32_t> id;       ///< libvirt's number of this start; absent: not running
  std::string uuid;                     ///< 8-4-4-4-12 lower-case hex digits
  std::string name;                     ///< UTF-8 as written, unbounded; not safe to show or to log
  Bytes memory;                         ///< <memory>, saturating; positive
  std::optional<Bytes> current_memory;  ///< <currentMemory>: what the balloon leaves
  std::uint32_t vcpus = 1;              ///< at least 1, at most kMaxVcpus
  BalloonDevice balloon;
  std::string pinned;  ///< why returned memory stays with the host's charge; empty: nothing says so
  std::optional<bool> agent_connected;  ///< absent: no channel for a guest agent
  GuestAccess guest_access = GuestAccess::kUnset;
  Placement placement = Placement::kStandard;
  Reclaim reclaim = Reclaim::kHints;
  std::string bad_setting;  ///< printable; which setting makes no sense, and what applies instead
};

/// Reads a libvirt domain. Hostile input is expected: no DTD at all (so no entities), no network,
/// at most kDomainXmlLimit bytes. A document that is neither UTF-8 nor says what it is gets read
/// as Latin-1, so that its VM stays in sight; `bad_setting` says so.
/// kInvalid: no domain, or one without uuid, name or memory.
Result<DomainFacts> ParseDomainXml(std::string_view xml);

/// ParseDomainXml for a text that comes again and again and is the same as a rule: then it is not
/// taken apart. A text is known by its length and 64 bits of hash. Whoever makes two that agree in
/// both hides a change of his own definition, and nothing else.
class DomainReader {
 public:
  /// Stands until the next call. `name` is empty: it has no bound.
  const Result<DomainFacts>& Read(std::string_view xml);

 private:
  std::size_t size_ = 0, hash_ = 0;
  std::optional<Result<DomainFacts>> last_;
};

/// The promise in the model's terms; the name is made safe to show.
VmSpec ToSpec(const DomainFacts& facts);

}  // namespace ullage::qemu
