// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/page.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <limits>

#include "node-agent/model/human.h"

namespace ullage::publishers {
namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Ullage</title><style>
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.4rem;margin:0}h2{font-size:1.05rem;margin:1.8rem 0 .4rem}
p{margin:.3rem 0}.dim{opacity:.65}
.bar{display:flex;height:1.4rem;border-radius:.3rem;overflow:hidden;background:#8883;margin:.5rem 0}
.used{background:#5b7fa6}.free{background:#6aa67a}
.tile{display:inline-block;margin:0 2rem .6rem 0}.tile b{display:block;font-size:1.3rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%}
th,td{text-align:right;padding:.25rem .6rem;border-bottom:1px solid #8884;white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;overflow-wrap:anywhere}
td.text,th.text{text-align:left}td.why{white-space:normal;min-width:14rem}li{overflow-wrap:anywhere}
</style></head><body><h1>Ullage</h1>
)";
constexpr std::string_view kFoot = "</body></html>\n";

std::string Size(std::uint64_t bytes) {
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  return Human(Bytes(static_cast<std::int64_t>(std::min(bytes, kMost))));
}

std::string Percent(double share) {
  std::array<char, 16> text{};
  std::snprintf(text.data(), text.size(), "%.1f", std::clamp(share, 0.0, 1.0) * 100);
  return text.data();
}

std::string Cell(std::string_view text, std::string_view look = "") {
  const std::string open = look.empty() ? "<td>" : "<td class=\"" + std::string(look) + "\">";
  return open + EscapeHtml(text) + "</td>";
}

std::string Tile(std::string_view size, std::string_view what) {
  return "<span class=\"tile\"><b>" + EscapeHtml(size) + "</b>" + EscapeHtml(what) + "</span>";
}

std::string HostPart(const v1::Host& host) {
  std::string out = "<h2>Host</h2>";
  if (!host.has_total() || !host.has_available()) {
    return out + "<p>The host's memory is unknown.</p>";
  }
  const auto total = static_cast<double>(std::max<std::uint64_t>(host.total(), 1));
  const double left = static_cast<double>(host.available()) / total;
  out += "<div class=\"bar\"><span class=\"used\" style=\"width:" + Percent(1 - left) +
         "%\"></span><span class=\"free\" style=\"width:" + Percent(left) + "%\"></span></div>";
  out += "<p>" + Size(host.available()) + " available of " + Size(host.total());
  if (host.has_pressure_some_avg10()) {
    out += " · pressure " + Percent(host.pressure_some_avg10() / 10000.0) + " % of the last 10 s";
  } else {
    out += " · pressure unknown";
  }
  return out + "</p>";
}

std::string CapacityPart(const v1::Capacity& capacity) {
  std::string out = "<h2>Capacity</h2><p>";
  out += Tile(Size(capacity.promised()), "promised to VMs");
  out += Tile(Size(capacity.published()), "reclaimable, published");
  out += Tile(Size(capacity.granted()), "of it granted");
  out += Tile(Size(capacity.additional()), "of it left");
  out += Tile(Size(capacity.unsold()), "ordinary, never promised");
  return out + "</p><p>Why not more: " + EscapeHtml(capacity.reason()) + "</p>";
}

std::string VmRow(const v1::Vm& vm) {
  const auto known = [](bool has, std::uint64_t size) { return has ? Size(size) : "?"; };
  return "<tr><td title=\"" + EscapeHtml(vm.uuid()) + "\">" + EscapeHtml(vm.name()) + "</td>" +
         Cell(Size(vm.promised())) + Cell(known(vm.has_resident(), vm.resident())) +
         Cell(known(vm.has_returned(), vm.returned())) + Cell(known(vm.has_growth(), vm.growth())) +
         Cell(vm.hinting(), "text") + Cell(vm.state(), "text") + Cell(vm.reason(), "text why") +
         "</tr>\n";
}

std::string VmPart(const v1::Snapshot& snapshot) {
  std::string out = "<h2>VMs</h2>";
  if (snapshot.vms().empty()) return out + "<p>No VM is known.</p>";
  out +=
      "<div class=\"scroll\"><table><thead><tr><th>guest<th>promised<th>resident<th>returned"
      "<th>may grow<th class=\"text\">hinting<th class=\"text\">state<th class=\"text\">"
      "why</tr></thead><tbody>\n";
  for (const v1::Vm& vm : snapshot.vms()) out += VmRow(vm);
  return out + "</tbody></table></div>";
}

std::string List(std::string_view title, const std::vector<std::string>& items) {
  if (items.empty()) return "";
  std::string out = "<h2>" + EscapeHtml(title) + "</h2><ul>";
  for (const std::string& item : items) out += "<li>" + EscapeHtml(item) + "</li>";
  return out + "</ul>";
}

// The guests' own words, of those whose driver was asked.
std::string DriverPart(const v1::Snapshot& snapshot) {
  std::vector<std::string> items;
  for (const v1::Vm& vm : snapshot.vms()) {
    if (!vm.has_guest_module()) continue;
    const v1::GuestModule& module = vm.guest_module();
    std::string item = vm.name() + ": reporting ";
    item += !module.has_reporting() ? "unknown" : module.reporting() ? "on" : "off";
    if (module.has_reported()) item += ", " + Size(module.reported()) + " reported";
    if (module.has_report_errors()) {
      item += ", " + std::to_string(module.report_errors()) + " failed";
    }
    if (module.has_balloon()) item += ", " + Size(module.balloon()) + " in the balloon";
    items.push_back(item);
  }
  return List("What the guests' drivers say (shown, not believed)", items);
}

std::string ActionPart(const v1::Snapshot& snapshot) {
  std::vector<std::string> items;
  for (const v1::Action& action : snapshot.actions()) {
    items.push_back(action.kind() + " for " + action.uuid() + ": " + action.state() +
                    (action.message().empty() ? "" : " (" + action.message() + ")") + ". " +
                    action.reason());
  }
  return List("Actions of the last tick", items);
}

}  // namespace

std::string EscapeHtml(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string RenderPage(const v1::Snapshot& snapshot, milliseconds age) {
  std::string out(kHead);
  out += "<p class=\"dim\">mode " + EscapeHtml(snapshot.mode()) + " · tick " +
         std::to_string(snapshot.tick()) + " · seen " +
         std::to_string(std::max<std::int64_t>(age.count(), 0)) + " ms ago</p>";
  out += HostPart(snapshot.host()) + CapacityPart(snapshot.capacity());
  out += List("What is wrong", {snapshot.conditions().begin(), snapshot.conditions().end()});
  out += VmPart(snapshot) + DriverPart(snapshot) + ActionPart(snapshot);
  out +=
      "<p class=\"dim\">To stop it: set <code>mode: observe</code> in the agent's "
      "configuration, or stop the agent; VMs keep running either way.</p>";
  return out.append(kFoot);
}

std::string RenderEmptyPage() {
  std::string out(kHead);
  out += "<p>The agent has just started: its first tick is not done.</p>";
  return out.append(kFoot);
}

}  // namespace ullage::publishers
