// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/metrics.h"

#include <gmock/gmock.h>
#include <prometheus/text_serializer.h>

#include <fstream>
#include <map>
#include <sstream>

#include "node-agent/host/temporary_tree.h"
#include "node-agent/kube/fake_api_server.h"
#include "node-agent/publishers/cluster_publisher.h"
#include "node-agent/publishers/metrics_table.h"
#include "node-agent/publishers/node_hook_server.h"
#include "node-agent/publishers/recorder.h"
#include "node-agent/publishers/report_fixture.h"

namespace ullage::publishers {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Scrape(const Metrics& metrics) {
  std::ostringstream out;
  prometheus::TextSerializer().Serialize(out, metrics.Collect());
  return out.str();
}

TEST(Metrics, ShowsTheLatestReport) {
  Bulletin bulletin;
  FakeClock clock;
  const Metrics metrics(bulletin, clock);
  bulletin.Post(Shared(SampleReport(3)));
  clock.now = milliseconds(102500);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("ullage_host_memory_total_bytes 8589934592\n"));
  EXPECT_THAT(text, HasSubstr("ullage_host_memory_pressure_ratio 0.0025\n"));
  EXPECT_THAT(text, HasSubstr("ullage_capacity_term_bytes{term=\"bound\"} -10485760\n"));
  EXPECT_THAT(text, HasSubstr("ullage_vm_returned_bytes{vm=\"web-1\",uuid=\"6f9b1c1e-0d3c-4d57-"
                              "9d0c-0123456789ab\"} 1610612736\n"));
  EXPECT_THAT(text, HasSubstr("state=\"on\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("ullage_vms{state=\"returned\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE ullage_ticks_total counter\nullage_ticks_total 3\n"));
  EXPECT_THAT(text, HasSubstr("ullage_tick_age_seconds 2.5\n"));
}

TEST(Metrics, CountsRejectedPodsOnceTheNodesPodsAreKnown) {
  Bulletin bulletin;
  const FakeClock clock;
  const Metrics metrics(bulletin, clock);
  Report report = SampleReport();
  report.snapshot.node = NodeSample{};
  report.snapshot.node->rejections = 3;
  bulletin.Post(Shared(report));
  EXPECT_THAT(Scrape(metrics), Not(HasSubstr("ullage_rejected_pods_total")));
  report.snapshot.node->heard_at = BootTime(seconds(1));
  bulletin.Post(Shared(report));
  EXPECT_THAT(Scrape(metrics), HasSubstr("ullage_rejected_pods_total 3\n"));
}

TEST(Metrics, CountsVmsThatWereAskedToGo) {
  Bulletin bulletin;
  const FakeClock clock;
  Metrics metrics(bulletin, clock);
  Report report = SampleReport();
  using State = Outcome::State;
  const Action migrate{Action::Kind::kMigrate, {"a"}, "r"};
  const Action evict{Action::Kind::kEvict, {"b"}, "r"};
  report.outcomes = {{migrate, State::kQueued, ""},
                     {migrate, State::kDone, ""},
                     {evict, State::kSkipped, ""},
                     {evict, State::kFailed, ""},
                     {evict, State::kFailed, ""}};
  metrics.Count(report);
  bulletin.Post(Shared(report));
  EXPECT_THAT(Scrape(metrics), Not(HasSubstr("ullage_departures_total"))) << "no Kubernetes";
  report.snapshot.node = NodeSample{};
  bulletin.Post(Shared(report));
  const std::string text = Scrape(metrics);
  const std::string name = "ullage_departures_total";
  EXPECT_THAT(text, HasSubstr(name + R"({action="migrate",result="done"} 1)"));
  EXPECT_THAT(text, HasSubstr(name + R"({action="migrate",result="failed"} 0)"));
  EXPECT_THAT(text, HasSubstr(name + R"({action="evict",result="done"} 0)"));
  EXPECT_THAT(text, HasSubstr(name + R"({action="evict",result="failed"} 2)"));
}

TEST(Metrics, UnknownIsAnAbsentSeries) {
  Bulletin bulletin;
  const FakeClock clock;
  const Metrics metrics(bulletin, clock);
  EXPECT_THAT(Scrape(metrics), Not(HasSubstr("ullage_promised_bytes")));
  Report report;
  report.snapshot.vms.push_back(VmState());
  bulletin.Post(Shared(report));
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, Not(HasSubstr("ullage_host_memory")));
  EXPECT_THAT(text, Not(HasSubstr("ullage_capacity_term_bytes")));
  EXPECT_THAT(text, Not(HasSubstr("ullage_vm_resident_bytes")));
  EXPECT_THAT(text, Not(HasSubstr("ullage_vm_growth_bytes")));
  EXPECT_THAT(text, HasSubstr("ullage_vm_promised_bytes"));
}

TEST(Metrics, LabelsAreUtf8OnOneLineAndBounded) {
  Bulletin bulletin;
  const FakeClock clock;
  const Metrics metrics(bulletin, clock);
  Report report = SampleReport();
  report.snapshot.vms[0].spec.name = "q\"\n\xff" + std::string(5000, 'x');
  bulletin.Post(Shared(report));
  std::istringstream text(Scrape(metrics));
  for (std::string line; std::getline(text, line);) {
    EXPECT_LT(line.size(), 400u);
    if (!line.starts_with("ullage_vm_resident")) continue;
    EXPECT_THAT(line, HasSubstr("q\\\"\\\\x0a\\\\xff"));
  }
}

TEST(Metrics, CountsFaultsOfEveryTick) {
  Bulletin bulletin;
  const FakeClock clock;
  Metrics metrics(bulletin, clock);
  Report report = SampleReport();
  report.snapshot.host.fault = "x";
  report.snapshot.vms[0].resident.reset();
  metrics.Count(report);
  metrics.Count(report);
  const std::string text = Scrape(metrics);
  EXPECT_THAT(text, HasSubstr("ullage_faults_total{source=\"host\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("ullage_faults_total{source=\"charge\"} 2\n"));
  EXPECT_THAT(text, HasSubstr("ullage_faults_total{source=\"qemu\"} 0\n"));
}

std::vector<std::string> Cells(const std::string& row) {
  std::vector<std::string> cells;
  std::istringstream in(row.substr(1));
  for (std::string cell; std::getline(in, cell, '|');) {
    std::erase(cell, '`');
    const std::size_t begin = cell.find_first_not_of(' ');
    const std::size_t end = cell.find_last_not_of(' ');
    cells.push_back(begin == std::string::npos ? "" : cell.substr(begin, end - begin + 1));
  }
  return cells;
}

TEST(Metrics, TheDocsShowTheSameTable) {
  std::ifstream doc(ULLAGE_DOCS "/metrics.md");
  ASSERT_TRUE(doc) << "no docs/metrics.md";
  std::map<std::string, std::vector<std::string>> rows;
  for (std::string line; std::getline(doc, line);) {
    if (!line.starts_with("| `ullage_")) continue;
    const auto cells = Cells(line);
    EXPECT_TRUE(rows.emplace(cells.at(0), cells).second) << "twice: " << cells[0];
  }
  for (const metric::Info* info : metric::kTable) {
    const auto row = rows.find(std::string(info->name));
    ASSERT_NE(row, rows.end()) << "not in docs/metrics.md: " << info->name;
    EXPECT_THAT(row->second,
                testing::ElementsAre(info->name, info->type, info->labels, info->help));
    rows.erase(row);
  }
  EXPECT_TRUE(rows.empty()) << "only in docs/metrics.md: " << rows.begin()->first;
}

class Deaf final : public NodeHookListener {
 public:
  void OnNodeHook(const NodeHookCall&) override {}
};

TEST(Metrics, EverySeriesIsDeclaredWithItsLabels) {
  Bulletin bulletin;
  const FakeClock clock;
  const host::TemporaryTree tree;
  kube::FakeTime time;
  // It hears of no report, so nothing is sent.
  Bulletin silent;
  const kube::Client client(std::make_shared<kube::FakeTransport>(),
                            {time, time, kube::AlwaysHundred()});
  const ClusterPublisher cluster({.node = "n1"}, client, silent);
  const Recorder recorder({.state_dir = tree.path()}, bulletin);
  Deaf deaf;
  const auto hooks = NodeHookServer::Start({.socket = tree.path("hooks")}, deaf);
  ASSERT_TRUE(hooks.ok()) << hooks.error().message();
  Metrics metrics(bulletin, clock);
  metrics.Also({&cluster, &recorder, hooks->get(), [] { return DirectoryCounters(); }});
  Report report = SampleReport();
  report.snapshot.vms[0].swapped = Bytes();
  report.snapshot.node = NodeSample{};
  report.snapshot.node->heard_at = BootTime(seconds(1));
  bulletin.Post(Shared(report));
  const auto families = metrics.Collect();
  EXPECT_EQ(families.size(), metric::kTable.size());
  for (const auto& family : families) {
    const auto info = std::find_if(metric::kTable.begin(), metric::kTable.end(),
                                   [&](const auto* i) { return i->name == family.name; });
    ASSERT_NE(info, metric::kTable.end()) << family.name;
    std::string labels;
    for (const auto& label : family.metric.at(0).label) {
      labels += (labels.empty() ? "" : ", ") + label.name;
    }
    EXPECT_EQ(labels, (*info)->labels) << family.name;
  }
}

TEST(Metrics, CountsWhatQemusAndGuestsAnswered) {
  const Bulletin bulletin;
  const FakeClock clock;
  Metrics metrics(bulletin, clock);
  metrics.Also({.qemus = [] {
    return DirectoryCounters{.questions = 1,
                             .failures = 2,
                             .late = 3,
                             .connections = 4,
                             .resets = 5,
                             .implausible = 6,
                             .guest_questions = 7,
                             .guest_failures = 8,
                             .guest_late = 9,
                             .guest_refused = 10};
  }});
  std::map<std::string, double> series;
  for (const auto& family : metrics.Collect()) {
    for (const auto& one : family.metric) {
      std::string name = family.name;
      for (const auto& label : one.label) name += " " + label.value;
      series[name] = one.counter.value;
    }
  }
  EXPECT_EQ(series["ullage_questions_total qemu"], 1);
  EXPECT_EQ(series["ullage_questions_total guest-agent"], 7);
  EXPECT_EQ(series["ullage_answer_faults_total qemu failed"], 2);
  EXPECT_EQ(series["ullage_answer_faults_total qemu late"], 3);
  EXPECT_EQ(series["ullage_answer_faults_total qemu nonsense"], 6);
  EXPECT_EQ(series["ullage_answer_faults_total guest-agent failed"], 8);
  EXPECT_EQ(series["ullage_answer_faults_total guest-agent late"], 9);
  EXPECT_EQ(series["ullage_answer_faults_total guest-agent nonsense"], 10);
  EXPECT_EQ(series["ullage_libvirt_connections_total"], 4);
  EXPECT_EQ(series["ullage_guest_resets_total"], 5);
}

}  // namespace
}  // namespace ullage::publishers
