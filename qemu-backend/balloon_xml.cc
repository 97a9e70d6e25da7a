// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/balloon_xml.h"

#include "qemu-backend/domain_tree.h"

namespace ullage::qemu {
namespace {

using tree::Child;

Result<tree::Document> Parse(std::string_view xml) {
  bool not_utf8 = false;
  auto document = tree::ParseDomain(xml, &not_utf8);
  if (document && not_utf8) return Error(Code::kInvalid, "not UTF-8");
  return document;
}

// A network device that is the host's own: it reaches guest memory behind QEMU's back.
bool HasHostInterface(const xmlNode* devices) {
  for (const xmlNode* node = Child(devices, "interface"); node != nullptr;
       node = tree::Next(node->next, "interface")) {
    const auto type = tree::Attribute(node, "type");
    if (type == "hostdev" || type == "vdpa") return true;
  }
  return false;
}

std::string Obstacle(const xmlNode* root) {
  const xmlNode* devices = Child(root, "devices");
  if (Child(devices, "hostdev") != nullptr) return "the domain has a host device";
  if (HasHostInterface(devices)) return "the domain has a network interface of the host's";
  if (Child(root, "launchSecurity") != nullptr) return "the domain is a confidential guest";
  const xmlNode* backing = Child(root, "memoryBacking");
  if (Child(backing, "hugepages") != nullptr) return "the domain's memory is on huge pages";
  if (Child(backing, "locked") != nullptr) return "the domain's memory is locked";
  return "";
}

Result<std::string> Rewrite(std::string_view xml, const BalloonFeatures& features) {
  const auto document = Parse(xml);
  if (!document) return document.error();
  xmlNode* root = xmlDocGetRootElement(document->get());
  const BalloonDevice balloon = tree::ReadBalloon(root);
  if (!IsVirtio(balloon)) {
    return Error(Code::kNotFound, "no virtio balloon to switch a feature on at");
  }
  const bool reporting = features.free_page_reporting && balloon.free_page_reporting != true;
  const bool autodeflate = features.autodeflate && balloon.autodeflate != true;
  if (!reporting && !autodeflate) return std::string(xml);
  xmlNode* node = Child(Child(root, "devices"), "memballoon");
  if (reporting) {
    if (const Status set = tree::SetAttribute(node, "freePageReporting", "on"); !set) {
      return set.error();
    }
  }
  if (autodeflate) {
    if (const Status set = tree::SetAttribute(node, "autodeflate", "on"); !set) return set.error();
  }
  return tree::Write(document->get());
}

}  // namespace

Result<BalloonSite> FindBalloon(std::string_view xml) {
  const auto document = Parse(xml);
  if (!document) return document.error().In("domain XML");
  const xmlNode* root = xmlDocGetRootElement(document->get());
  return BalloonSite{tree::ReadBalloon(root), Obstacle(root)};
}

bool IsVirtio(const BalloonDevice& balloon) {
  return balloon.present && balloon.model.starts_with("virtio");
}

Result<std::string> WithBalloonFeatures(std::string_view xml, const BalloonFeatures& features) {
  return Rewrite(xml, features).In("domain XML");
}

Result<std::string> WithFreePageReporting(std::string_view xml) {
  return WithBalloonFeatures(xml, {.free_page_reporting = true});
}

}  // namespace ullage::qemu
