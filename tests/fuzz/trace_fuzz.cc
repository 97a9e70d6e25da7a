// SPDX-License-Identifier: Apache-2.0
// Any bytes as a trace of the simulation.
#include "node-agent/simulation/trace.h"
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  const auto traces = simulation::ParseTrace(fuzz::View(data, size));
  if (!traces) {
    fuzz::Require(fuzz::IsShowable(traces.error().message()), "an error can be shown");
    return 0;
  }
  fuzz::Require(!traces->empty(), "a trace has VMs");
  for (const simulation::TraceSeries& series : *traces) {
    fuzz::Require(fuzz::IsShowable(series.vm) && !series.vm.empty(), "a VM has a name");
    fuzz::Require(!series.points.empty() && series.points.front().second >= 0, "and a past");
    std::int64_t before = -1;
    for (const simulation::TracePoint& point : series.points) {
      fuzz::Require(point.second > before, "times rise");
      fuzz::Require(
          point.cold >= Bytes() && point.cold <= point.resident && point.resident <= series.limit,
          "cold ≤ resident ≤ limit");
      before = point.second;
    }
    for (const std::int64_t minute : {0, 1, 1000, 600'000}) {
      const simulation::TracePoint at = series.At(minute);
      fuzz::Require(at.resident >= Bytes() && at.resident <= series.limit && at.cold <= at.resident,
                    "so it is between two points");
    }
  }
  return 0;
}
