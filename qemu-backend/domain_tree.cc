// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/domain_tree.h"

#include <libxml/parser.h>
#include <libxml/xmlsave.h>

#include <mutex>

#include "node-agent/host/text.h"

namespace ullage::qemu::tree {
namespace {

constexpr std::size_t kShown = 64;  // of a bad value, in a message

struct FreeContext {
  void operator()(xmlParserCtxt* context) const { xmlFreeParserCtxt(context); }
};
struct FreeText {
  void operator()(xmlChar* text) const { xmlFree(text); }
};
struct FreeBuffer {
  void operator()(xmlBuffer* buffer) const { xmlBufferFree(buffer); }
};
using Text = std::unique_ptr<xmlChar, FreeText>;

std::string_view View(const xmlChar* text) {
  return text == nullptr ? std::string_view() : reinterpret_cast<const char*>(text);
}

const xmlChar* Xml(const char* text) { return reinterpret_cast<const xmlChar*>(text); }

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

bool Is(const xmlNode* node, std::string_view name, std::string_view space) {
  return node->type == XML_ELEMENT_NODE && View(node->name) == name &&
         View(node->ns == nullptr ? nullptr : node->ns->href) == space;
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

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const auto first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::optional<bool> OnOff(const std::optional<std::string>& value) {
  if (value == "on") return true;
  if (value == "off") return false;
  return std::nullopt;
}

xmlNode* Next(xmlNode* node, std::string_view name, std::string_view space) {
  for (; node != nullptr; node = node->next) {
    if (Is(node, name, space)) return node;
  }
  return nullptr;
}

xmlNode* Child(const xmlNode* parent, std::string_view name, std::string_view space) {
  return parent == nullptr ? nullptr : Next(parent->children, name, space);
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

Status SetAttribute(xmlNode* node, const char* name, const char* value) {
  // By its namespace too: a stranger's q:freePageReporting is another attribute.
  if (xmlSetNsProp(node, nullptr, Xml(name), Xml(value)) != nullptr) return Ok();
  return Error(Code::kInternal, "no memory");
}

Result<std::string> Write(xmlDoc* document) {
  if (!CanBeWritten(xmlDocGetRootElement(document))) {
    return Error(Code::kInvalid, "a namespace's name cannot be written back");
  }
  // libxml2 keeps in `standalone` whether there was a declaration: -1 is none.
  const int options = document->standalone == -1 ? XML_SAVE_NO_DECL : 0;
  const std::unique_ptr<xmlBuffer, FreeBuffer> buffer(xmlBufferCreate());
  xmlSaveCtxt* save = buffer == nullptr ? nullptr : xmlSaveToBuffer(buffer.get(), "UTF-8", options);
  if (save == nullptr) return Error(Code::kInternal, "no memory");
  const bool written = xmlSaveDoc(save, document) >= 0;
  xmlSaveClose(save);
  const int size = xmlBufferLength(buffer.get());
  if (!written || size <= 0) return Error(Code::kInternal, "it could not be written");
  return std::string(reinterpret_cast<const char*>(xmlBufferContent(buffer.get())),
                     static_cast<std::size_t>(size));
}

}  // namespace ullage::qemu::tree
