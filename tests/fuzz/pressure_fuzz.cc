// SPDX-License-Identifier: Apache-2.0
// Any bytes as /proc/pressure/memory.
#include "node-agent/sources/host_memory.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  const auto some = sources::ParsePressure(fuzz::View(data, size));
  if (some) {
    fuzz::Require(some->value >= 0 && some->value <= 10000, "a share lies from none to all");
  } else {
    fuzz::Require(fuzz::IsShowable(some.error().message()), "an error can be shown");
  }
  return 0;
}
