// SPDX-License-Identifier: Apache-2.0
// Any bytes as the ledger of an agent that starts.
#include "node-agent/admission/ledger.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

constexpr const char* kBoot = "boot";

bool Same(const Grant& a, const Grant& b) {
  return a.spec.id == b.spec.id && a.spec.name == b.spec.name &&
         a.spec.guest_memory == b.spec.guest_memory && a.spec.vcpus == b.spec.vcpus &&
         a.spec.placement == b.spec.placement && a.spec.reclaim == b.spec.reclaim &&
         a.ordinary == b.ordinary && a.reclaimed == b.reclaimed;
}

void Open(const Folder& folder, std::string_view content) {
  using admission::Ledger;
  const std::string bad = folder / "ledger.json.bad";
  std::filesystem::remove(bad);
  folder.Write("ledger.json", content);
  std::vector<Grant> before;
  bool complete = false;
  {
    const auto ledger = Ledger::Open(folder / "ledger.json", kBoot);
    Require(ledger.ok(), "no content keeps the agent from starting");
    before = (*ledger)->Grants();
    complete = (*ledger)->complete();
    const bool troubled = !(*ledger)->trouble().empty();
    Require(troubled == std::filesystem::exists(bad), "what makes no sense is moved aside");
    Require(!troubled || (before.empty() && !complete), "and nothing of it is believed");
    Require(IsUtf8((*ledger)->trouble()), "trouble can be shown");
    for (const Grant& grant : before) {
      Require(!grant.spec.id.value.empty() && IsShowable(grant.spec.name), "a name can be shown");
      Require(grant.ordinary >= Bytes() && grant.reclaimed >= Bytes(),
              "nothing negative is granted");
    }
  }
  const auto again = Ledger::Open(folder / "ledger.json", kBoot);
  Require(again.ok() && (*again)->trouble().empty(), "what it writes it can read");
  const std::vector<Grant> after = (*again)->Grants();
  Require((*again)->complete() == complete && after.size() == before.size() &&
              std::equal(before.begin(), before.end(), after.begin(), Same),
          "a restart changes nothing");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ullage::fuzz::Folder folder;
  static const bool deep = [] {
    ullage::fuzz::Open(folder, std::string(std::size_t{4} << 20, '['));
    return true;
  }();
  ullage::fuzz::Open(folder, deep ? ullage::fuzz::View(data, size) : std::string_view());
  return 0;
}
