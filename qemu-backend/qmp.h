// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"

namespace ullage::qemu {

/// A longer reply is refused unread; QEMU's to these commands are 3 KiB.
inline constexpr std::size_t kQmpReplyLimit = std::size_t{256} << 10;

/// What proves free page reporting: the second question answers the first as well, as a rule, and
/// tells whether the guest takes memory back from its balloon.
/// `alias` is the device's id in QEMU, as the live XML has it. kInvalid: no QEMU id
/// ("[A-Za-z][A-Za-z0-9._-]*"), so not asked: it becomes part of an object path.
Result<std::string> AskIfReportingIsOffered(std::string_view alias);
Result<std::string> AskVirtioStatus(std::string_view alias);

/// The reply to qom-get of a boolean. Errors as below.
Result<bool> ParseQomBool(std::string_view reply);

/// What QEMU offers with a balloon device, and what its guest made of it.
struct VirtioStatus {
  /// VIRTIO_BALLOON_F_REPORTING among the features that QEMU offers, which is what its property
  /// free-page-reporting sets (hw/virtio/virtio-balloon.c). Absent: the reply has no list of them.
  std::optional<bool> offered;
  bool reporting = false;  ///< VIRTIO_BALLOON_F_REPORTING among the features it accepted …
  bool deflates = false;   ///< … and VIRTIO_BALLOON_F_DEFLATE_ON_OOM
  bool driver_ok = false;  ///< its driver is set up (virtio 1.2, 2.1: DRIVER_OK)
};

/// The reply to x-query-virtio-status (QEMU ≥ 7.2). Part of it is the guest's: nothing in it is
/// believed beyond these bits.
/// kNotFound: this QEMU has no such command; kGone: it has no such device; kInternal: another
/// error of QEMU's; kInvalid: no QMP reply.
Result<VirtioStatus> ParseVirtioStatus(std::string_view reply);

}  // namespace ullage::qemu
