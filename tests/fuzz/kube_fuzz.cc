// SPDX-License-Identifier: Apache-2.0
// Any bytes as what an API server, or who writes objects into it, sends: a quantity, a list, a
// watch; and as a kubeconfig.
#include "node-agent/kube/answer.h"
#include "node-agent/kube/base64.h"
#include "node-agent/kube/kubeconfig.h"
#include "node-agent/kube/line_framer.h"
#include "node-agent/kube/quantity.h"
#include "node-agent/kube/reflector.h"
#include "node-agent/sources/cluster_objects.h"
#include "tests/fuzz/fuzz.h"

namespace ullage::fuzz {
namespace {

void Quantity(std::string_view text) {
  const auto value = kube::ParseQuantity(text);
  if (!value) return Require(IsShowable(value.error().message()), "an error can be shown");
  const std::string plain = std::to_string(*value);
  const auto again = kube::ParseQuantity(plain);
  Require(again.ok() && *again == *value, "what was read is written and read again");
  // Rounding up and not down: a sign before it changes the sign and nothing else.
  if (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    const auto negative = kube::ParseQuantity("-" + std::string(text));
    Require(!negative || *negative == -*value, "a quantity and its negative are the same amount");
  }
}

class Listener final : public kube::Handler<k8s::VirtualMachineInstance> {
 public:
  void OnAll(std::vector<kube::Item<k8s::VirtualMachineInstance>> all) override {
    for (const auto& item : all) Check(item);
  }
  void OnChange(kube::Change, kube::Item<k8s::VirtualMachineInstance> item) override {
    Check(item);
  }
  void OnFault(const Error&) override {}
  void OnFine() override {}

 private:
  static void Check(const kube::Item<k8s::VirtualMachineInstance>& item) {
    Require(IsShowable(item.fault), "a fault can be shown");
    if (const auto vmi = sources::VmiOf(item, "n1")) {
      const VmiSample& sample = vmi->sample;
      Require(IsShowable(sample.fault) && IsShowable(sample.stays), "what it says can be shown");
      Require(sample.stays.size() < 4096, "and is bounded");
      Require(!sample.keeps_pod || !sample.stays.empty(), "only what cannot migrate keeps its pod");
    }
    if (item.fault.empty()) return;
    Require(!item.object.metadata().uid().empty(), "what cannot be read is known by its UID");
    Require(!item.object.has_spec() && !item.object.has_status(),
            "and nothing else of it is known");
  }
};

void Watch(std::string_view text) {
  Listener listener;
  kube::TypedFeed<k8s::VirtualMachineInstance> feed(listener);
  kube::LineFramer framer(1024);
  while (!text.empty()) {
    const std::string_view piece = text.substr(0, 100);
    text.remove_prefix(piece.size());
    const auto fed = framer.Feed(piece, [&](std::string_view line) -> Status {
      Require(line.size() <= 1024 && !line.empty(), "a line is bounded");
      const auto heard = feed.Line(line);
      if (!heard) return heard.error();
      return Ok();
    });
    if (!fed) return Require(IsShowable(fed.error().message()), "an error can be shown");
  }
}

void List(std::string_view text) {
  Listener listener;
  kube::TypedFeed<k8s::VirtualMachineInstance> feed(listener);
  feed.BeginList();
  const auto page = feed.Page(text);
  if (!page) return Require(IsShowable(page.error().message()), "an error can be shown");
  feed.EndList();
}

void Kubeconfig(std::string_view text) {
  const auto access = kube::ParseKubeconfig(text, "/folder");
  if (!access) return Require(IsShowable(access.error().message()), "an error can be shown");
  Require(access->server.starts_with("https://"), "a server is asked over TLS");
  Require(access->certificate.empty() == access->key.empty(), "a certificate has a key");
}

}  // namespace
}  // namespace ullage::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ullage;
  std::string_view text = fuzz::View(data, size);
  switch (fuzz::TakeByte(text) % 6) {
    case 0:
      fuzz::Quantity(text);
      break;
    case 1:
      fuzz::Watch(text);
      break;
    case 2:
      fuzz::List(text);
      break;
    case 3:
      fuzz::Kubeconfig(text);
      break;
    case 4: {
      const Error error = kube::ErrorOf({"GET", std::string(text)}, {500, {}, std::string(text)});
      fuzz::Require(fuzz::IsShowable(error.message()), "an error can be shown");
      fuzz::Require(error.message().size() < 4096, "and is bounded");
      break;
    }
    default: {
      const auto decoded = kube::DecodeBase64(text);
      fuzz::Require(!decoded || decoded->size() <= text.size(), "base64 grows nothing");
    }
  }
  return 0;
}
