// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/domain_xml.h"

#include <libxml/parser.h>
#include <libxml/tree.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <mutex>

#include "node-agent/host/text.h"

namespace ullage::qemu {
namespace {

constexpr std::size_t kShown = 64;  // of a bad value, in a message

struct FreeDoc {
  void operator()(xmlDoc* doc) const { xmlFreeDoc(doc); }
};
struct FreeContext {
  void operator()(xmlParserCtxt* context) const { xmlFreeParserCtxt(context); }
};
struct FreeText {
  void operator()(xmlChar* text) const { xmlFree(text); }
};
using Document = std::unique_ptr<xmlDoc, FreeDoc>;
using Text = std::unique_ptr<xmlChar, FreeText>;

std::string_view View(const xmlChar* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

const xmlChar* Xml(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

// A DTD is where entities, external files and their amplification live, and libvirt writes none:
// parsing ends where one begins, before anything in it is looked at.
void StopAtDtd(void* context, const xmlChar*, const xmlChar*, const xmlChar*) {
  auto* parser = static_cast<xmlParserCtxt*>(context);
  *static_cast<bool*>(parser->_private) = true;
  xmlStopParser(parser);
}

struct Parsed {
  Document document;
  std::string message;
};

Parsed Parse(std::string_view xml, const char* encoding) {
  static std::once_flag once;
  std::call_once(once, xmlInitParser);
  const std::unique_ptr<xmlParserCtxt, FreeContext> parser(xmlNewParserCtxt());
  if (parser == nullptr) return {nullptr, "no memory for an XML parser"};
  bool dtd = false;
  parser->_private = &dtd;
  parser->sax->internalSubset = StopAtDtd;
  Document document(xmlCtxtReadMemory(parser.get(), xml.data(), static_cast<int>(xml.size()),
                                      nullptr, encoding,
                                      XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING));
  if (dtd) return {nullptr, "a DTD is not accepted"};
  if (document != nullptr && parser->wellFormed != 0) return {std::move(document), {}};
  const xmlError* last = xmlCtxtGetLastError(parser.get());
  if (last == nullptr) return {nullptr, "not well-formed XML"};
  return {nullptr, "line " + std::to_string(last->line) + ": " +
                       host::Printable(Trim(last->message == nullptr ? "" : last->message))};
}

// The root <domain>, or why there is none.
Result<Document> ParseDomain(std::string_view xml, bool* not_utf8) {
  if (xml.size() > kDomainXmlLimit) {
    return Error(Code::kInvalid, "longer than " + std::to_string(kDomainXmlLimit) + " bytes");
  }
  Parsed parsed = Parse(xml, nullptr);
  if (parsed.document == nullptr) {
    const std::string text(xml);
    *not_utf8 = xmlCheckUTF8(reinterpret_cast<const unsigned char*>(text.c_str())) == 0;
    if (*not_utf8) parsed = Parse(xml, "ISO-8859-1");
  }
  if (parsed.document == nullptr) return Error(Code::kInvalid, parsed.message);
  const xmlNode* root = xmlDocGetRootElement(parsed.document.get());
  if (root == nullptr || View(root->name) != "domain") {
    return Error(Code::kInvalid, "the root element is not <domain>");
  }
  return std::move(parsed.document);
}

// libvirt's elements have no namespace; a stranger's <memory> in <metadata> is none of its.
bool Is(const xmlNode* node, std::string_view name, std::string_view space) {
  return node->type == XML_ELEMENT_NODE && View(node->name) == name &&
         View(node->ns == nullptr ? nullptr : node->ns->href) == space;
}

xmlNode* Child(const xmlNode* parent, std::string_view name, std::string_view space = {}) {
  for (xmlNode* node = parent == nullptr ? nullptr : parent->children; node != nullptr;
       node = node->next) {
    if (Is(node, name, space)) return node;
  }
  return nullptr;
}

std::string Content(const xmlNode* node) {
  const Text text(xmlNodeGetContent(node));
  return std::string(View(text.get()));
}

std::optional<std::string> Attribute(const xmlNode* node, const char* name) {
  if (node == nullptr) return std::nullopt;
  const Text text(xmlGetNoNsProp(node, Xml(name)));
  if (text == nullptr) return std::nullopt;
  return std::string(View(text.get()));
}

std::optional<bool> OnOff(const std::optional<std::string>& value) {
  if (value == "on") return true;
  if (value == "off") return false;
  return std::nullopt;
}

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

BalloonDevice ReadBalloon(const xmlNode* root) {
  BalloonDevice balloon;
  const xmlNode* node = Child(Child(root, "devices"), "memballoon");
  if (node == nullptr) return balloon;
  balloon.model = host::Printable(Attribute(node, "model").value_or(""), kShown);
  balloon.present = balloon.model != "none";
  balloon.alias = Attribute(Child(node, "alias"), "name").value_or("");
  balloon.free_page_reporting = OnOff(Attribute(node, "freePageReporting"));
  balloon.autodeflate = OnOff(Attribute(node, "autodeflate"));
  return balloon;
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
  const xmlNode* devices = Child(root, "devices");
  for (const xmlNode* node = devices == nullptr ? nullptr : devices->children; node != nullptr;
       node = node->next) {
    if (!Is(node, "channel", {})) continue;
    const xmlNode* target = Child(node, "target");
    if (Attribute(target, "name") != "org.qemu.guest_agent.0") continue;
    return Attribute(target, "state") == "connected";
  }
  return std::nullopt;
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
  facts.balloon = ReadBalloon(root);
  facts.agent_connected = ReadAgentChannel(root);
  ReadSettings(root, facts);
  return facts;
}

// libxml2 writes the names of namespaces as they are: these characters would come out as something
// else than went in.
bool CanBeWritten(const xmlNode* element) {
  for (const xmlNs* space = element->nsDef; space != nullptr; space = space->next) {
    if (View(space->href).find_first_of("<&\t\r\n") != std::string_view::npos) return false;
  }
  for (const xmlNode* node = element->children; node != nullptr; node = node->next) {
    if (node->type == XML_ELEMENT_NODE && !CanBeWritten(node)) return false;
  }
  return true;
}

}  // namespace

Result<DomainFacts> ParseDomainXml(std::string_view xml) {
  bool not_utf8 = false;
  const auto document = ParseDomain(xml, &not_utf8);
  if (!document) return document.error().In("domain XML");
  auto facts = Read(xmlDocGetRootElement(document->get()));
  if (facts && not_utf8) Complain(*facts, "the domain's XML is not UTF-8, it is read as Latin-1");
  return std::move(facts).In("domain XML");
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

Result<std::string> WithFreePageReporting(std::string_view xml) {
  bool not_utf8 = false;
  const auto document = ParseDomain(xml, &not_utf8);
  if (!document) return document.error().In("domain XML");
  if (not_utf8) return Error(Code::kInvalid, "domain XML: not UTF-8");
  xmlNode* root = xmlDocGetRootElement(document->get());
  const BalloonDevice balloon = ReadBalloon(root);
  if (!balloon.present || !balloon.model.starts_with("virtio")) {
    return Error(Code::kNotFound, "domain XML: no virtio balloon to switch reporting on at");
  }
  if (!CanBeWritten(root)) {
    return Error(Code::kInvalid, "domain XML: a namespace's name cannot be written back");
  }
  xmlNode* node = Child(Child(root, "devices"), "memballoon");
  if (xmlSetProp(node, Xml("freePageReporting"), Xml("on")) == nullptr) {
    return Error(Code::kInternal, "domain XML: no memory");
  }
  xmlChar* buffer = nullptr;
  int size = 0;
  xmlDocDumpMemoryEnc(document->get(), &buffer, &size, "UTF-8");
  const Text text(buffer);
  if (text == nullptr || size <= 0) return Error(Code::kInternal, "domain XML: no memory");
  return std::string(reinterpret_cast<const char*>(text.get()), static_cast<std::size_t>(size));
}

}  // namespace ullage::qemu
