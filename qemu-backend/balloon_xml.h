// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <string_view>

#include "node-agent/model/result.h"
#include "qemu-backend/domain_xml.h"

namespace ullage::qemu {

/// The balloon of a definition, and what else in it forbids giving memory back.
struct BalloonSite {
  BalloonDevice balloon;
  /// Why the host cannot take, or must not take, what the guest gives back: VFIO and locked memory
  /// pin all of it, huge pages are freed whole or not at all, an encrypted guest's pages are lost
  /// with their keys. Plain words; empty: nothing stands in the way.
  std::string obstacle;
};

/// Reads under the bounds of ParseDomainXml, but asks for no name, uuid or memory.
/// kInvalid: no domain.
Result<BalloonSite> FindBalloon(std::string_view xml);

/// Whether the balloon can have the features below (virtio 1.2, 5.5.3).
bool IsVirtio(const BalloonDevice& balloon);

/// Which of the balloon's features to switch on; the others stay as they are.
struct BalloonFeatures {
  bool free_page_reporting = false;
  bool autodeflate = false;
};

/// The same document with these features on. Nothing else is changed but XML's own liberties
/// (quotes, character references, an empty element's form), and the very same bytes come back when
/// they are on already.
/// kNotFound: it has no virtio balloon; kInvalid: as ParseDomainXml, or not UTF-8.
Result<std::string> WithBalloonFeatures(std::string_view xml, const BalloonFeatures& features);

/// Free page reporting alone; for the persistent definition.
Result<std::string> WithFreePageReporting(std::string_view xml);

}  // namespace ullage::qemu
