// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/requests.h"

#include "node-agent/host/text.h"

namespace ullage::publishers {
namespace {

Error Invalid(std::string message) { return {Code::kInvalid, std::move(message)}; }

Result<Placement> ParsePlacement(std::string_view text) {
  if (text.empty()) return Placement::kStandard;
  for (const Placement p : {Placement::kStandard, Placement::kReclaimed}) {
    if (text == Name(p)) return p;
  }
  return Invalid("placement is '" + host::Printable(text, 64) + "', not standard or reclaimed");
}

Result<Reclaim> ParseReclaim(std::string_view text) {
  if (text.empty()) return Reclaim::kHints;
  for (const Reclaim r : {Reclaim::kHints, Reclaim::kHybrid, Reclaim::kOff}) {
    if (text == Name(r)) return r;
  }
  return Invalid("reclaim is '" + host::Printable(text, 64) + "', not hints, hybrid or off");
}

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

}  // namespace

Result<VmId> ParseUuid(std::string_view text) {
  constexpr std::string_view kForm = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  const auto wrong = [&] {
    return Invalid("uuid '" + host::Printable(text, 64) + "' is not of the form " +
                   std::string(kForm));
  };
  if (text.size() != kForm.size()) return wrong();
  std::string canonical(text);
  for (std::size_t i = 0; i < kForm.size(); ++i) {
    char& c = canonical[i];
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    if (kForm[i] == '-' ? c != '-' : !IsHex(c)) return wrong();
  }
  return VmId{canonical};
}

Result<VmSpec> ParseReserve(const v1::ReserveRequest& request) {
  Result<VmId> id = ParseUuid(request.uuid());
  if (!id) return id.error();
  if (request.name().size() > kMaxNameBytes) return Invalid("the name is longer than 4 KiB");
  if (request.guest_memory() == 0) return Invalid("guest_memory is 0 or missing");
  if (request.guest_memory() > static_cast<std::uint64_t>(kMaxGuestMemory.count())) {
    return Invalid("guest_memory is over 64 TiB");
  }
  if (request.vcpus() < 1 || request.vcpus() > kMaxVcpus) {
    return Invalid("vcpus is " + std::to_string(request.vcpus()) + ", not 1 to 4096");
  }
  const Result<Placement> placement = ParsePlacement(request.placement());
  if (!placement) return placement.error();
  const Result<Reclaim> reclaim = ParseReclaim(request.reclaim());
  if (!reclaim) return reclaim.error();
  VmSpec spec;
  spec.id = *std::move(id);
  spec.name = host::Printable(request.name());
  spec.guest_memory = Bytes(static_cast<std::int64_t>(request.guest_memory()));
  spec.vcpus = request.vcpus();
  spec.placement = *placement;
  spec.reclaim = *reclaim;
  return spec;
}

}  // namespace ullage::publishers
