// SPDX-License-Identifier: Apache-2.0
// docs/config.md and the program say the same: every key, its default, its bounds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>

#include "node-agent/agent/config.h"
#include "node-agent/agent/yaml_section.h"
#include "node-agent/host/text.h"

namespace ullage::agent {
namespace {

using testing::EndsWith;

constexpr std::string_view kNoMapping = "a mapping of keys is wanted";

struct Row {
  std::string kind, standard, least, most;
};

// The cells of a table's row, without blanks and backticks around them.
std::vector<std::string> Cells(std::string_view line) {
  std::vector<std::string> cells;
  host::TakeUntil(line, '|');
  while (!line.empty()) {
    const std::string_view cell = host::TakeUntil(line, '|');
    const std::size_t begin = cell.find_first_not_of(" `");
    const std::size_t end = cell.find_last_not_of(" `");
    cells.emplace_back(begin == std::string_view::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

std::vector<std::string> Lines(const std::string& page = "/config.md") {
  std::ifstream doc(ULLAGE_DOCS + page);
  EXPECT_TRUE(doc) << "no docs" << page;
  std::vector<std::string> lines;
  for (std::string line; std::getline(doc, line);) lines.push_back(line);
  return lines;
}

std::map<std::string, Row> Documented() {
  std::map<std::string, Row> rows;
  for (const std::string& line : Lines()) {
    if (!line.starts_with("| `")) continue;
    const auto cells = Cells(line);
    EXPECT_EQ(cells.size(), 6u) << line;
    if (cells.size() < 6) continue;
    EXPECT_TRUE(rows.emplace(cells[0], Row{cells[1], cells[2], cells[3], cells[4]}).second)
        << "twice: " << line;
  }
  return rows;
}

// "policy.growth", "10%" → a file with that key alone.
std::string Yaml(const std::string& key, const std::string& value) {
  const std::size_t dot = key.find('.');
  if (dot == std::string::npos) return key + ": " + value + "\n";
  return key.substr(0, dot) + ":\n  " + key.substr(dot + 1) + ": " + value + "\n";
}

std::string ErrorOf(const std::string& text) {
  const auto config = ParseConfig(text);
  return config.ok() ? "" : config.error().message();
}

// The names that the parser offers in place of an unknown one.
std::vector<std::string> KnownNames(const std::string& section) {
  constexpr std::string_view kKnown = "known here: ";
  const std::string key = "no-such-key";
  const std::string error = ErrorOf(Yaml(section.empty() ? key : section + "." + key, "1"));
  const std::size_t at = error.find(kKnown);
  EXPECT_NE(at, std::string::npos) << error;
  std::vector<std::string> names;
  std::string_view rest = std::string_view(error).substr(at + kKnown.size());
  while (!rest.empty()) {
    std::string_view name = host::TakeUntil(rest, ',');
    if (name.starts_with(' ')) name.remove_prefix(1);
    names.emplace_back(name);
  }
  return names;
}

std::set<std::string> KnownKeys() {
  std::set<std::string> keys;
  for (const std::string& name : KnownNames("")) {
    if (ErrorOf(Yaml(name, "5")).find(kNoMapping) == std::string::npos) {
      keys.insert(name);
      continue;
    }
    for (const std::string& below : KnownNames(name)) keys.insert(name + "." + below);
  }
  return keys;
}

std::string Show(const std::string& text) { return text.empty() ? "''" : text; }

std::string Show(Mode mode) { return Name(mode); }

std::string Show(GuestRule rule) { return Name(rule); }

std::string Show(const std::map<std::string, std::string>& pairs) {
  std::string text;
  for (const auto& [key, value] : pairs) text += (text.empty() ? "" : ", ") + key + ": " + value;
  return "{" + text + "}";
}

std::string Show(milliseconds time) {
  const auto count = time.count();
  if (count != 0 && count % 60000 == 0) return std::to_string(count / 60000) + "m";
  if (count % 1000 == 0) return std::to_string(count / 1000) + "s";
  return std::to_string(count) + "ms";
}

std::string Show(Bytes size) {
  if (size == Bytes()) return "0";
  if (size.FloorTo(Bytes::MiB(1)) == size) return std::to_string(size.mib()) + "MiB";
  return std::to_string(size.count());
}

std::string Show(Permyriad share) {
  std::ostringstream out;
  out << static_cast<double>(share.value) / 100 << "%";
  return out.str();
}

// Each key's value in the notation of the docs. A new key has to be added here as well.
std::map<std::string, std::string> Values(const Config& config) {
  const Config::Libvirt& libvirt = config.libvirt;
  const PolicyParams& policy = config.policy;
  return {{"mode", Show(config.mode)},
          {"tick", Show(config.tick)},
          {"socket", Show(config.socket)},
          {"state_dir", Show(config.state_dir)},
          {"listen", Show(config.listen)},
          {"log_level", Show(config.log_level)},
          {"host.cgroup", Show(config.host_cgroup)},
          {"host.reserve", Show(policy.reserve)},
          {"overhead.fixed", Show(policy.overhead.fixed)},
          {"overhead.per_vcpu", Show(policy.overhead.per_vcpu)},
          {"libvirt.uri", Show(libvirt.uri)},
          {"libvirt.run_dir", Show(libvirt.run_dir)},
          {"libvirt.deadline", Show(libvirt.deadline)},
          {"libvirt.list_period", Show(libvirt.list_period)},
          {"libvirt.refresh", Show(libvirt.refresh)},
          {"libvirt.proof_period", Show(libvirt.proof_period)},
          {"kubernetes.node", Show(config.kubernetes.node)},
          {"kubernetes.kubeconfig", Show(config.kubernetes.kubeconfig)},
          {"kubernetes.kubelet_dir", Show(config.kubernetes.kubelet_dir)},
          {"kubernetes.proc", Show(config.kubernetes.proc)},
          {"kubernetes.cgroup", Show(config.kubernetes.cgroup)},
          {"kubernetes.node_hook_socket", Show(config.kubernetes.node_hook_socket)},
          {"kubernetes.increase_every", Show(config.kubernetes.increase_every)},
          {"kubernetes.dead_band", Show(config.kubernetes.dead_band)},
          {"kubernetes.eviction_threshold", Show(config.kubernetes.eviction_threshold)},
          {"kubernetes.last_step", Name(config.kubernetes.last_step)},
          {"guest.agent", Show(config.guest.agent)},
          {"guest.read_every", Show(config.guest.read_every)},
          {"guest.parameters", Show(policy.guest_parameters)},
          {"policy.growth", Show(policy.growth)},
          {"policy.buffer_of_host", Show(policy.buffer_of_host)},
          {"policy.buffer_of_vm", Show(policy.buffer_of_vm)},
          {"policy.ratio_cap", Show(policy.ratio_cap)},
          {"policy.quantum", Show(policy.quantum)},
          {"policy.bound", Name(policy.bound)},
          {"policy.horizon", Show(policy.horizon)},
          {"policy.dead_band", Show(policy.dead_band)},
          {"policy.history_min", Show(policy.history_min)},
          {"policy.rise_delay", Show(policy.rise_delay)},
          {"policy.rise_step", Show(policy.rise_step)},
          {"policy.stale_after", Show(policy.stale_after)},
          {"hybrid.hold_below", Show(policy.hybrid.hold_below)},
          {"hybrid.shrink_below", Show(policy.hybrid.shrink_below)},
          {"hybrid.limit_below", Show(policy.hybrid.limit_below)},
          {"hybrid.evict_below", Show(policy.hybrid.evict_below)},
          {"hybrid.min_memory", Show(policy.hybrid.min_memory)},
          {"hybrid.page_out", Show(policy.hybrid.page_out)},
          {"hybrid.refaults", Show(policy.hybrid.refaults)},
          {"hybrid.pressure", Show(policy.hybrid.pressure)},
          {"hybrid.victim_every", Show(policy.hybrid.victim_every)}};
}

TEST(ConfigDocs, ListEveryKeyAndNoOther) {
  const auto rows = Documented();
  std::set<std::string> documented;
  for (const auto& [key, row] : rows) documented.insert(key);
  const std::set<std::string> known = KnownKeys();
  EXPECT_GT(known.size(), 20u) << "the parser's own list could not be read";
  EXPECT_EQ(documented, known);
}

TEST(ConfigDocs, ShowEachDefault) {
  const auto rows = Documented();
  const auto standard = Values(Config{});
  EXPECT_EQ(rows.size(), standard.size());
  for (const auto& [key, row] : rows) {
    const auto at = standard.find(key);
    ASSERT_NE(at, standard.end()) << key << " is missing in Values()";
    EXPECT_EQ(row.standard, at->second) << key;
    const auto config = ParseConfig(Yaml(key, row.standard));
    ASSERT_TRUE(config.ok()) << config.error().message();
    EXPECT_EQ(Values(*config), standard) << key << ": the default changes something";
  }
}

// A bound of the docs as the parser's own message writes it.
std::string AsParserSays(const std::string& kind, const std::string& value) {
  if (kind == "time") return std::to_string(ParseDuration(value).value().count()) + "ms";
  if (kind == "size") return std::to_string(ParseSize(value).value().count()) + " bytes";
  return Show(ParseShare(value).value());
}

TEST(ConfigDocs, ShowEachBound) {
  for (const auto& [key, row] : Documented()) {
    const bool bounded = row.kind == "time" || row.kind == "size" || row.kind == "share";
    EXPECT_EQ(bounded, !row.least.empty() && !row.most.empty()) << key;
    if (!bounded) continue;
    EXPECT_EQ(ErrorOf(Yaml(key, row.least)), "") << key;
    EXPECT_EQ(ErrorOf(Yaml(key, row.most)), "") << key;
    EXPECT_THAT(ErrorOf(Yaml(key, "9" + row.most)),
                EndsWith("must lie from " + AsParserSays(row.kind, row.least) + " to " +
                         AsParserSays(row.kind, row.most)))
        << key;
  }
}

// The parameters that may be set in a guest are those of the driver in this tree.
TEST(ConfigDocs, KnowTheDriversParameters) {
  std::set<std::string> documented;
  for (const std::string& line : Lines("/../guest-module/README.md")) {
    const auto cells = Cells(line);
    if (!line.starts_with("| `") || cells.size() < 5) continue;  // counters have two cells
    documented.insert(cells[0]);
    const GuestParameter* known = FindGuestParameter(cells[0]);
    ASSERT_NE(known, nullptr) << cells[0];
    EXPECT_EQ(known->flag, cells[1] == "bool") << cells[0];
    if (known->flag) continue;
    // "0 to 2000", "1 to the allocator's largest (10)"
    const auto numbers = [&](const std::string& text) {
      std::vector<std::uint64_t> found;
      std::istringstream words(text);
      for (std::string word; words >> word;) {
        std::erase_if(word, [](char c) { return c == '(' || c == ')'; });
        if (const auto number = host::ParseUnsigned(word)) found.push_back(*number);
      }
      return found;
    };
    EXPECT_EQ(numbers(cells[2]), (std::vector<std::uint64_t>{known->least, known->most}))
        << cells[0];
  }
  EXPECT_EQ(documented.size(), kGuestParameters.size());
}

TEST(ConfigDocs, TheExampleIsAccepted) {
  std::string example;
  bool inside = false;
  for (const std::string& line : Lines()) {
    if (inside && line == "```") inside = false;
    if (inside) example += line + "\n";
    if (line == "```yaml") inside = true;
  }
  EXPECT_NE(example, "");
  EXPECT_EQ(ErrorOf(example), "");
}

}  // namespace
}  // namespace ullage::agent
