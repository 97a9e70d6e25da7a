// SPDX-License-Identifier: Apache-2.0
// Any bytes as the histories that an agent before this one left; the checksum is made to fit, for
// no fuzzer finds one.
#include "node-agent/agent/history_file.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

constexpr const char* kBoot = "boot";
constexpr BootTime kNow{std::chrono::hours(1000)};

// FNV-1a, 64 bits.
std::string WithChecksum(std::string_view body) {
  std::uint64_t sum = 0xcbf29ce484222325U;
  for (const char c : body) sum = (sum ^ static_cast<std::uint8_t>(c)) * 0x100000001b3U;
  return std::to_string(sum) + "\n" + std::string(body);
}

std::string Kept(const Folder& folder, const policy::Histories& histories) {
  const agent::HistoryFile file(folder / "kept.json", kBoot);
  Require(file.Write(histories).ok(), "what is remembered can be written");
  return folder.Read("kept.json");
}

void Restore(const Folder& folder, std::string_view content) {
  folder.Write("histories.json", content);
  policy::Histories histories;
  const Status restored =
      agent::HistoryFile(folder / "histories.json", kBoot).Restore(histories, kNow);
  if (!restored) {
    Require(IsUtf8(restored.error().message()), "an error can be shown");
    Require(histories.vms().empty() && histories.together().observed() == seconds(0),
            "of what makes no sense nothing is believed");
    return;
  }
  for (const auto& [id, history] : histories.vms()) {
    Require(history.seen_at <= kNow && history.observed >= seconds(0) && history.held >= Bytes(),
            "nobody was seen in the future, and nothing is negative");
  }
  const policy::Together seen = histories.together().Seen();
  Require(seen.high.value >= 0 && seen.high.value <= 10000 && seen.rise.value >= 0,
          "no more than all was held");
  const std::string once = Kept(folder, histories);
  policy::Histories again;
  Require(agent::HistoryFile(folder / "kept.json", kBoot).Restore(again, kNow).ok(),
          "what it writes it can read");
  Require(Kept(folder, again) == once, "a restart changes nothing");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ullage::fuzz::Folder folder;
  const auto content = ullage::fuzz::View(data, size);
  ullage::fuzz::Restore(folder, content);
  ullage::fuzz::Restore(folder, ullage::fuzz::WithChecksum(content));
  return 0;
}
