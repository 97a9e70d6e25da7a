// SPDX-License-Identifier: Apache-2.0
// Any bytes as /proc/PID/maps of a QEMU.
#include "node-agent/host/guest_ram.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  std::string_view text = fuzz::View(data, size);
  const auto memory = Bytes::MiB(fuzz::TakeByte(text));
  const auto ranges = host::ParseGuestRam(text, memory);
  if (!ranges) {
    fuzz::Require(fuzz::IsShowable(ranges.error().message()), "an error can be shown");
    return 0;
  }
  std::uint64_t covered = 0;
  for (const host::AddressRange& range : *ranges) {
    fuzz::Require(range.begin < range.end, "no range is empty");
    fuzz::Require(range.begin % host::kPage == 0 && range.end % host::kPage == 0,
                  "pages are whole");
    covered += range.size();
  }
  fuzz::Require(covered >= static_cast<std::uint64_t>(memory.count()) / 2,
                "it is the guest's memory");
  return 0;
}
