// SPDX-License-Identifier: Apache-2.0
// Any bytes as a file of decisions, and any records in one.
#include <limits>

#include "node-agent/publishers/decisions.h"
#include "node-agent/publishers/history.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

void Explain(std::string_view content, std::int64_t at) {
  const v1::Snapshot past = publishers::Replay(content, at);
  for (const v1::Vm& vm : past.vms()) {
    const auto explained = publishers::ExplainPast(past, vm.uuid());
    if (!explained) continue;
    Require(IsShowable(explained->vm().name()) && IsShowable(explained->vm().reason()) &&
                IsShowable(explained->vm().state()),
            "what is shown can be shown");
    for (const std::string& line : explained->lines()) Require(IsUtf8(line), "so can the lines");
    break;
  }
}

void Read(const Folder& folder, std::string_view bytes) {
  std::size_t read = 0;
  const std::size_t rest = publishers::ReadFrames(bytes, [&](std::string_view record) {
    read += publishers::kFrameHead + record.size();
    return true;
  });
  Require(read + rest == bytes.size(), "every byte is of a record or of the rest");
  Explain(bytes, std::numeric_limits<std::int64_t>::max());
  // The checksum keeps most inputs out: here it is right.
  const std::string framed = publishers::FrameOf(bytes);
  Explain(framed, std::numeric_limits<std::int64_t>::max());
  folder.Write("history-1.log", framed);
  const auto minutes = publishers::ReadMinutes(publishers::HistorySegments(folder / ""));
  const v1::History history = publishers::Audit(minutes, seconds(600));
  Require(history.minutes() == minutes.size() && history.broken() <= history.promises(),
          "an audit counts what is there");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ullage::fuzz::Folder folder;
  ullage::fuzz::Read(folder, ullage::fuzz::View(data, size));
  return 0;
}
