// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/simulate.h"

#include <CLI/CLI.hpp>
#include <array>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>

#include "node-agent/clients/table.h"
#include "node-agent/model/human.h"

namespace ullage::clients {
namespace {

using simulation::Standing;
using simulation::Tally;

double Per(double part, double whole) { return whole > 0 ? part / whole : 0; }
double Mean(const Tally& tally) { return Per(tally.vm_hours, tally.counted_hours); }
double Broken(const Tally& tally) {
  return Per(static_cast<double>(tally.broken), static_cast<double>(tally.windows));
}

std::optional<double> Density(const Standing& one, const Standings& all) {
  for (const Standing& standing : all) {
    if (standing.name == "none" && Mean(standing.tally) > 0) {
      return Mean(one.tally) / Mean(standing.tally);
    }
  }
  return std::nullopt;
}

std::string Fixed(double value, int digits) {
  std::array<char, 64> text{};
  std::snprintf(text.data(), text.size(), "%.*f", digits, value);
  return text.data();
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Error(Code::kNotFound, "cannot be opened");
  std::string text;
  std::array<char, 1 << 16> block{};
  while (file.read(block.data(), block.size()) || file.gcount() > 0) {
    text.append(block.data(), static_cast<std::size_t>(file.gcount()));
    if (text.size() > simulation::kMostTraceBytes) break;
  }
  if (file.bad()) return Error(Code::kUnavailable, "cannot be read");
  return text;
}

std::string Json(const Standing& one, const Standings& all) {
  const Tally& tally = one.tally;
  std::string text = R"({"name":")" + one.name + R"(","density":)";
  const auto density = Density(one, all);
  text += density ? Fixed(*density, 4) : "null";
  const auto number = [&](const char* key, const std::string& value) {
    text += std::string(",\"") + key + "\":" + value;
  };
  number("vms_per_node", Fixed(Mean(tally), 3));
  number("promised_ratio", Fixed(Per(tally.promised_hours, tally.counted_hours), 4));
  number("node_hours", Fixed(tally.node_hours, 3));
  number("windows", std::to_string(tally.windows));
  number("broken", std::to_string(tally.broken));
  number("oom_kills", std::to_string(tally.oom_kills));
  number("evictions", std::to_string(tally.evictions));
  number("migrations", std::to_string(tally.migrations));
  number("writes", std::to_string(tally.writes));
  number("placed", std::to_string(tally.placed));
  number("stall_seconds", Fixed(tally.stall_seconds, 0));
  number("most_out_bytes", std::to_string(tally.most_out.count()));
  return text + "}";
}

}  // namespace

std::vector<std::string> SimulationLines(const Standings& standings, int columns, bool color) {
  Table table{{{"STRATEGY"},
               {"DENSITY", true},
               {"VMS/NODE", true},
               {"BROKEN", true},
               {"OOM KILLS", true},
               {"EVICTED", true},
               {"MIGRATED", true, 0, 2},
               {"WRITES/H", true, 0, 3},
               {"STALLED", true, 0, 4},
               {"RULE", false, 10, 1}},
              {}};
  for (const Standing& one : standings) {
    const Tally& tally = one.tally;
    const auto density = Density(one, standings);
    const double broken = Broken(tally);
    table.rows.push_back(
        {{one.name},
         {density ? Fixed(100 * *density, 1) + " %" : "?"},
         {Fixed(Mean(tally), 2)},
         {Fixed(100 * broken, 4) + " %", broken > 0.0001 ? Tone::kBad : Tone::kGood},
         {std::to_string(tally.oom_kills), tally.oom_kills > 0 ? Tone::kBad : Tone::kGood},
         {std::to_string(tally.evictions)},
         {std::to_string(tally.migrations)},
         {Fixed(Per(static_cast<double>(tally.writes), tally.node_hours), 2)},
         {Fixed(100 * Per(tally.stall_seconds / 3600, tally.node_hours), 3) + " %"},
         {one.rule, Tone::kDim}});
  }
  return Render(table, columns, color);
}

std::string SimulationJson(const simulation::Plot& plot, const std::string& name,
                           const Standings& standings) {
  std::string text =
      R"({"workload":")" + name + "\",\"nodes\":" + std::to_string(plot.nodes) +
      ",\"hours\":" + std::to_string(plot.hours) + ",\"seed\":" + std::to_string(plot.seed) +
      ",\"memory_bytes\":" + std::to_string(plot.machine.total.count()) +
      ",\"swap_bytes\":" + std::to_string(plot.machine.swap.count()) +
      ",\"ratio_cap\":" + std::to_string(plot.params.ratio_cap.value) + ",\"strategies\":[";
  for (std::size_t i = 0; i < standings.size(); ++i) {
    text += (i > 0 ? "," : "") + Json(standings[i], standings);
  }
  return text + "]}";
}

CLI::App* AddSimulate(CLI::App& app, SimulateOptions& options) {
  CLI::App* simulate = app.add_subcommand(
      "simulate", "the policy and its rivals in virtual time; needs no agent and no host");
  CLI::Option* trace = simulate->add_option(
      "TRACE", options.trace, "CSV: time,vm,resident,cold,limit (docs/simulation.md)");
  std::vector<std::string> names;
  for (const simulation::Workload workload : simulation::kWorkloads) {
    names.emplace_back(simulation::Name(workload));
  }
  simulate->add_option("--workload", options.workload, "instead of a trace")
      ->check(CLI::IsMember(names))
      ->excludes(trace)
      ->capture_default_str();
  simulate->add_option("--nodes", options.nodes)
      ->check(CLI::Range(std::size_t{1}, simulation::kMostNodes))
      ->capture_default_str();
  simulate
      ->add_option("--vms", options.vms,
                   "that want to run; 0: twice of what fits without overcommit")
      ->check(CLI::Range(std::size_t{0}, simulation::kMostVms))
      ->capture_default_str();
  simulate->add_option("--hours", options.hours)
      ->check(CLI::Range(std::int64_t{1}, simulation::kMostHours))
      ->capture_default_str();
  simulate->add_option("--seed", options.seed)->capture_default_str();
  simulate->add_option("--memory", options.memory_gib, "of each node, GiB")
      ->check(CLI::Range(1.0, 65536.0))
      ->capture_default_str();
  simulate->add_option("--swap", options.swap_gib, "of each node, GiB")
      ->check(CLI::Range(0.0, 65536.0))
      ->capture_default_str();
  simulate->add_option("--ratio-cap", options.ratio_cap, "policy.ratio_cap in %; 0: its default")
      ->check(CLI::Range(0.0, 1000.0));
  simulate->add_option("--strategy", options.strategies,
                       "only these: ullage none static wasp koordinator mom proxmox sigma");
  return simulate;
}

Status Simulate(const SimulateOptions& options, int columns, bool color) {
  simulation::Plot plot;
  std::string name = options.workload;
  std::vector<simulation::TraceSeries> series;
  if (options.trace.empty()) {
    const auto workload = simulation::WorkloadNamed(options.workload);
    if (!workload) return Error(Code::kInvalid, "no such workload");
    plot.workload = *workload;
  } else {
    const auto text = ReadFile(options.trace);
    if (!text) return text.error().In(options.trace);
    auto parsed = simulation::ParseTrace(*text);
    if (!parsed) return parsed.error().In(options.trace);
    series = *std::move(parsed);
    plot.trace = &series;
    name = "trace";
  }
  const auto gib = [](double count) { return Bytes(static_cast<std::int64_t>(count * 0x1p30)); };
  plot.nodes = options.nodes;
  plot.vms = options.vms;
  plot.hours = static_cast<std::int64_t>(options.hours);
  plot.seed = options.seed;
  plot.machine.total = gib(options.memory_gib);
  plot.machine.swap = gib(options.swap_gib);
  if (options.ratio_cap > 0) {
    plot.params.ratio_cap = Permyriad{static_cast<std::int64_t>(options.ratio_cap * 100)};
  }
  const auto standings = simulation::Compare(plot, options.strategies);
  if (!standings) return standings.error();
  if (options.json) {
    std::cout << SimulationJson(plot, name, *standings) << '\n';
    return Ok();
  }
  std::cout << name << ", " << plot.nodes << " nodes of " << Human(plot.machine.total);
  if (plot.machine.swap > Bytes()) std::cout << " and " << Human(plot.machine.swap) << " of swap";
  std::cout << ", " << plot.hours << " h, seed " << plot.seed << '\n';
  for (const std::string& line : SimulationLines(*standings, columns, color)) {
    std::cout << line << '\n';
  }
  return Ok();
}

}  // namespace ullage::clients
