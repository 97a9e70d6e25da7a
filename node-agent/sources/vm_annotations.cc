// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/vm_annotations.h"

#include <initializer_list>
#include <optional>
#include <utility>

#include "node-agent/host/text.h"
#include "node-agent/kube/quantity.h"

namespace ullage::sources {
namespace {

constexpr std::size_t kShown = 64;  // of a value that makes no sense
constexpr std::uint64_t kMostShares = 1000000;

class Reader {
 public:
  Reader(const google::protobuf::Map<std::string, std::string>& annotations, std::string& bad)
      : annotations_(annotations), bad_(bad) {}

  const std::string* Find(const char* name) const {
    const auto at = annotations_.find(std::string("ullage.io/") + name);
    return at == annotations_.end() ? nullptr : &at->second;
  }
  void Complain(const char* name, const std::string& wanted) {
    bad_ += (bad_.empty() ? "" : "; ") + std::string("ullage.io/") + name + " is '" +
            host::Printable(*Find(name), kShown) + "' and must be " + wanted +
            ": its default applies";
  }
  template <typename T>
  void OneOf(const char* name, std::initializer_list<std::pair<const char*, T>> choices, T& field) {
    const std::string* value = Find(name);
    if (value == nullptr) return;
    std::string wanted;
    for (const auto& [word, meaning] : choices) {
      if (*value == word) {
        field = meaning;
        return;
      }
      wanted += (wanted.empty() ? "" : " or ") + std::string(word);
    }
    Complain(name, wanted);
  }

 private:
  const google::protobuf::Map<std::string, std::string>& annotations_;
  std::string& bad_;
};

enum class WhenFull { kWait, kOrdinary };

}  // namespace

void TakeAnnotations(const google::protobuf::Map<std::string, std::string>& annotations,
                     VmSpec& spec) {
  Reader reader(annotations, spec.bad_setting);
  reader.OneOf<Reclaim>(
      "reclaim", {{"hints", Reclaim::kHints}, {"hybrid", Reclaim::kHybrid}, {"off", Reclaim::kOff}},
      spec.reclaim);
  reader.OneOf<Placement>(
      "placement", {{"standard", Placement::kStandard}, {"reclaimed", Placement::kReclaimed}},
      spec.placement);
  reader.OneOf<GuestAccess>("guest-agent",
                            {{"deny", GuestAccess::kDeny}, {"allow", GuestAccess::kAllow}},
                            spec.guest_access);
  // Nothing here acts on when-full; whoever mistyped it is to hear of it now.
  WhenFull when_full = WhenFull::kWait;
  reader.OneOf<WhenFull>("when-full",
                         {{"wait", WhenFull::kWait}, {"ordinary", WhenFull::kOrdinary}}, when_full);
  if (const std::string* value = reader.Find("min-memory"); value != nullptr) {
    const auto least = kube::ParseQuantity(*value);
    if (least && *least >= 0) {
      spec.min_memory = Bytes(*least);
    } else {
      reader.Complain("min-memory", "a quantity of memory");
    }
  }
  if (const std::string* value = reader.Find("shares"); value != nullptr) {
    const auto shares = host::ParseUnsigned(*value);
    if (shares && *shares >= 1 && *shares <= kMostShares) {
      spec.shares = static_cast<std::uint32_t>(*shares);
    } else {
      reader.Complain("shares", "a number from 1 to " + std::to_string(kMostShares));
    }
  }
}

}  // namespace ullage::sources
