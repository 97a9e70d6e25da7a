// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/domain_xml.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "node-agent/host/text.h"
#include "qemu-backend/domain_tree.h"

namespace ullage::qemu {
namespace {

constexpr std::size_t kShown = 64;  // of a bad value, in a message

using tree::Attribute;
using tree::Child;
using tree::Content;
using tree::Trim;

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// What one `unit` holds, as libvirt scales: a lone letter and "…iB" are binary, "…B" is decimal,
// case does not matter, nothing at all is KiB.
std::optional<std::uint64_t> UnitSize(std::string_view unit) {
  std::string lower(unit);
  std::transform(lower.begin(), lower.end(), lower.begin(), Lower);
  if (lower.empty()) return 1024;
  if (lower == "b" || lower == "byte" || lower == "bytes") return 1;
  constexpr std::string_view kLetters = "kmgtpe";
  const auto power = kLetters.find(lower.front());
  if (power == std::string_view::npos) return std::nullopt;
  const std::string_view rest = std::string_view(lower).substr(1);
  if (!rest.empty() && rest != "ib" && rest != "b") return std::nullopt;
  std::uint64_t size = 1;
  for (std::size_t i = 0; i <= power; ++i) size *= rest == "b" ? 1000 : 1024;
  return size;
}

// An element such as <memory unit='KiB'>1048576</memory>.
std::optional<Bytes> Amount(const xmlNode* node) {
  if (node == nullptr) return std::nullopt;
  const std::string content = Content(node);
  const auto count = host::ParseUnsigned(Trim(content));
  const auto unit = UnitSize(Trim(Attribute(node, "unit").value_or("")));
  if (!count || !unit) return std::nullopt;
  std::int64_t bytes = 0;
  if (__builtin_mul_overflow(*count, *unit, &bytes)) return Bytes::Max();
  return Bytes(bytes);
}

std::optional<std::string> Uuid(std::string_view text) {
  std::string uuid(Trim(text));
  if (uuid.size() != 36) return std::nullopt;
  for (std::size_t i = 0; i < uuid.size(); ++i) {
    uuid[i] = Lower(uuid[i]);
    const char c = uuid[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
    if (dash ? c != '-' : !hex) return std::nullopt;
  }
  return uuid;
}

void Complain(DomainFacts& facts, const std::string& what) {
  if (!facts.bad_setting.empty()) facts.bad_setting += "; ";
  facts.bad_setting += what;
}

template <typename E, std::size_t N>
E Choose(DomainFacts& facts, const xmlNode* node, const char* key, const E (&choices)[N]) {
  const auto value = Attribute(node, key);
  if (!value) return choices[0];
  std::string names;
  for (const E choice : choices) {
    if (*value == Name(choice)) return choice;
    names += (names.empty() ? "" : "|") + std::string(Name(choice));
  }
  Complain(facts, std::string("ullage:vm ") + key + "='" + host::Printable(*value, kShown) +
                      "' is not one of " + names + ", " + Name(choices[0]) + " applies");
  return choices[0];
}

void ReadSettings(const xmlNode* root, DomainFacts& facts) {
  const xmlNode* node = Child(Child(root, "metadata"), "vm", kMetadataNamespace);
  if (node == nullptr) return;
  facts.placement = Choose(facts, node, "placement", {Placement::kStandard, Placement::kReclaimed});
  facts.reclaim =
      Choose(facts, node, "reclaim", {Reclaim::kHints, Reclaim::kHybrid, Reclaim::kOff});
  const auto agent = Attribute(node, "guest-agent");
  if (!agent) return;
  // Whoever writes anything here wants a say: what makes no sense is no permission.
  facts.guest_access = agent == "allow" ? GuestAccess::kAllow : GuestAccess::kDeny;
  if (agent == "allow" || agent == "deny") return;
  Complain(facts, "ullage:vm guest-agent='" + host::Printable(*agent, kShown) +
                      "' is not one of allow|deny, deny applies");
}

// QEMU's guest agent answers on the channel of this name; libvirt tells whether one listens.
std::optional<bool> ReadAgentChannel(const xmlNode* root) {
  for (const xmlNode* node = Child(Child(root, "devices"), "channel"); node != nullptr;
       node = tree::Next(node->next, "channel")) {
    const xmlNode* target = Child(node, "target");
    if (Attribute(target, "name") != "org.qemu.guest_agent.0") continue;
    return Attribute(target, "state") == "connected";
  }
  return std::nullopt;
}

// Whether a device's memory is the guest's own, pinned: QEMU then takes what the guest returns and
// discards nothing (ram_block_discard_disable: hw/vfio/common.c, hw/virtio/vhost-vdpa.c; the
// balloon's report handler asks it). USB and SCSI devices copy.
bool Passes(const xmlNode* device) {
  const std::string type = Attribute(device, "type").value_or("");
  return type == "pci" || type == "mdev" || type == "hostdev" || type == "vdpa";
}

// What holds the guest's memory for good, whatever the guest returns.
std::string ReadPinned(const xmlNode* root) {
  const xmlNode* devices = Child(root, "devices");
  for (const char* kind : {"hostdev", "interface"}) {
    for (const xmlNode* node = Child(devices, kind); node != nullptr;
         node = tree::Next(node->next, kind)) {
      if (Passes(node)) return "a device is passed through (VFIO): QEMU discards nothing";
    }
  }
  if (Child(root, "launchSecurity") != nullptr) return "confidential: its memory is pinned";
  const xmlNode* backing = Child(root, "memoryBacking");
  if (Child(backing, "locked") != nullptr) return "its memory is locked";
  if (Child(backing, "hugepages") != nullptr) return "its memory is huge pages of the host's pool";
  return "";
}

Status ReadVcpus(const xmlNode* root, DomainFacts& facts) {
  const xmlNode* node = Child(root, "vcpu");
  if (node == nullptr) return Ok();  // libvirt's default is 1
  const std::string content = Content(node);
  const auto count = host::ParseUnsigned(Trim(content));
  if (!count || *count == 0) {
    return Error(Code::kInvalid, "<vcpu> is no count: '" + host::Printable(content, kShown) + "'");
  }
  facts.vcpus = static_cast<std::uint32_t>(std::min<std::uint64_t>(*count, kMaxVcpus));
  return Ok();
}

Result<DomainFacts> Read(const xmlNode* root) {
  DomainFacts facts;
  if (const auto id = Attribute(root, "id")) {
    const auto number = host::ParseUnsigned(*id);
    if (number && *number <= std::numeric_limits<std::int32_t>::max()) {
      facts.id = static_cast<std::int32_t>(*number);
    }
  }
  const xmlNode* name = Child(root, "name");
  if (name != nullptr) facts.name = Content(name);
  if (facts.name.empty()) return Error(Code::kInvalid, "no <name>");
  const xmlNode* uuid_node = Child(root, "uuid");
  const auto uuid = uuid_node == nullptr ? std::nullopt : Uuid(Content(uuid_node));
  if (!uuid) return Error(Code::kInvalid, "no valid <uuid>");
  facts.uuid = *uuid;
  const auto memory = Amount(Child(root, "memory"));
  if (!memory || *memory <= Bytes(0)) return Error(Code::kInvalid, "no valid <memory>");
  facts.memory = *memory;
  facts.current_memory = Amount(Child(root, "currentMemory"));
  if (const Status vcpus = ReadVcpus(root, facts); !vcpus) return vcpus.error();
  facts.balloon = tree::ReadBalloon(root);
  facts.pinned = ReadPinned(root);
  facts.agent_connected = ReadAgentChannel(root);
  ReadSettings(root, facts);
  return facts;
}

}  // namespace

Result<DomainFacts> ParseDomainXml(std::string_view xml) {
  bool not_utf8 = false;
  const auto document = tree::ParseDomain(xml, &not_utf8);
  if (!document) return document.error().In("domain XML");
  auto facts = Read(xmlDocGetRootElement(document->get()));
  if (facts && not_utf8) Complain(*facts, "the domain's XML is not UTF-8, it is read as Latin-1");
  return std::move(facts).In("domain XML");
}

const Result<DomainFacts>& DomainReader::Read(std::string_view xml) {
  const std::size_t hash = std::hash<std::string_view>{}(xml);
  if (!last_ || xml.size() != size_ || hash != hash_) {
    last_ = ParseDomainXml(xml);
    if (*last_) std::string().swap((*last_)->name);
    size_ = xml.size();
    hash_ = hash;
  }
  return *last_;
}

VmSpec ToSpec(const DomainFacts& facts) {
  VmSpec spec;
  spec.id.value = facts.uuid;
  spec.name = host::Printable(facts.name);
  spec.guest_memory = facts.memory;
  spec.vcpus = facts.vcpus;
  spec.placement = facts.placement;
  spec.reclaim = facts.reclaim;
  spec.guest_access = facts.guest_access;
  spec.bad_setting = facts.bad_setting;
  return spec;
}

}  // namespace ullage::qemu
