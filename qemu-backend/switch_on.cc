// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/switch_on.h"

#include "qemu-backend/balloon_xml.h"

namespace ullage::qemu {

Result<bool> SwitchReportingOn(Qemu& qemu, const std::string& uuid) {
  const auto before = qemu.Xml(Definition::kPersistentWithSecrets);
  if (!before) return before.error();
  const auto facts = ParseDomainXml(*before);
  if (!facts) return facts.error();
  if (facts->uuid != uuid) return Error(Code::kInternal, "this is another domain's definition");
  if (facts->balloon.free_page_reporting.value_or(false)) return true;
  const auto changed = WithFreePageReporting(*before);
  if (!changed) return changed.error();
  const Status defined = qemu.Define(*changed);
  if (!defined) return defined.error();
  const auto after = qemu.Xml(Definition::kPersistent);
  if (!after) return after.error();
  const auto now = ParseDomainXml(*after);
  if (!now) return now.error();
  return now->balloon.free_page_reporting.value_or(false);
}

}  // namespace ullage::qemu
