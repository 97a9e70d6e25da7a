// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <libxml/tree.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "node-agent/model/result.h"
#include "qemu-backend/domain_xml.h"

/// libxml2's tree of a libvirt domain, for the files that read or rewrite one.
namespace ullage::qemu::tree {

struct FreeDocument {
  void operator()(xmlDoc* document) const { xmlFreeDoc(document); }
};
using Document = std::unique_ptr<xmlDoc, FreeDocument>;

/// A document whose root is <domain>, under the bounds of ParseDomainXml. `not_utf8` says that it
/// was read as Latin-1.
Result<Document> ParseDomain(std::string_view xml, bool* not_utf8);

std::string_view Trim(std::string_view text);
std::optional<bool> OnOff(const std::optional<std::string>& value);

/// The next element of that name and namespace at or after `node`, among its siblings. libvirt's
/// elements have no namespace; a stranger's <memory> in <metadata> is none of its.
xmlNode* Next(xmlNode* node, std::string_view name, std::string_view space = {});
/// The first such child; null when there is none, or no parent.
xmlNode* Child(const xmlNode* parent, std::string_view name, std::string_view space = {});
std::string Content(const xmlNode* node);
/// Absent when there is no such attribute, or no node.
std::optional<std::string> Attribute(const xmlNode* node, const char* name);

BalloonDevice ReadBalloon(const xmlNode* root);

/// Sets an attribute without a namespace. kInternal: no memory.
Status SetAttribute(xmlNode* node, const char* name, const char* value);
/// The document as UTF-8, with an XML declaration only where it had one. kInvalid: it holds what
/// libxml2 would write as something else than it read.
Result<std::string> Write(xmlDoc* document);

}  // namespace ullage::qemu::tree
