// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/views.h"

#include <gmock/gmock.h>

#include "node-agent/clients/table.h"

namespace ullage::clients {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

v1::Snapshot Sample() {
  v1::Snapshot snapshot;
  snapshot.set_tick(12);
  snapshot.set_mode("publish");
  snapshot.mutable_host()->set_total(std::uint64_t{8} << 30);
  snapshot.mutable_host()->set_available(std::uint64_t{6} << 30);
  snapshot.mutable_capacity()->set_published(512 << 20);
  snapshot.mutable_capacity()->set_reason("all that is safe");
  v1::Vm& vm = *snapshot.add_vms();
  vm.set_name("web-1");
  vm.set_promised(std::uint64_t{2} << 30);
  vm.set_resident(0);
  vm.set_hinting("on");
  vm.set_state("idle");
  return snapshot;
}

TEST(TopLines, ShowsHostCapacityAndVms) {
  const auto lines = TopLines(Sample(), {80, false});
  EXPECT_THAT(lines, Contains(HasSubstr("[#######...................] 2.0 GiB of 8.0 GiB used")));
  EXPECT_THAT(lines, Contains(HasSubstr("pressure unknown")));
  EXPECT_THAT(lines, Contains(HasSubstr("published 512 MiB = granted 0 B")));
  EXPECT_THAT(lines.back(), testing::MatchesRegex("web-1 +2.0 GiB +0 B +\\? +on +idle"));
}

TEST(TopLines, FitsEveryTerminal) {
  v1::Snapshot snapshot = Sample();
  snapshot.add_conditions(std::string(300, 'x'));
  snapshot.mutable_vms(0)->set_name(std::string(200, 'y'));
  for (int width = 1; width < 120; ++width) {
    for (const std::string& line : TopLines(snapshot, {width, false})) {
      EXPECT_LE(DisplayWidth(line), width) << line;
    }
  }
}

TEST(TopLines, BoundsTheConditions) {
  v1::Snapshot snapshot = Sample();
  for (int i = 0; i < 10; ++i) snapshot.add_conditions("wrong");
  EXPECT_THAT(TopLines(snapshot, {}), Contains("! and 7 more"));
}

TEST(CapacityLines, IsASumWithAReason) {
  v1::Snapshot snapshot = Sample();
  EXPECT_THAT(CapacityLines(snapshot, {}), Contains(HasSubstr("the sum is unknown")));
  v1::CapacityTerms& terms = *snapshot.mutable_capacity()->mutable_terms();
  terms.set_available(std::int64_t{5} << 30);
  terms.set_bound(-(std::int64_t{1} << 30));
  const auto lines = CapacityLines(snapshot, {});
  EXPECT_THAT(lines, Contains(testing::MatchesRegex(" +5.0 GiB +available on the host.*")));
  EXPECT_THAT(lines, Contains(testing::MatchesRegex("= +-1.0 GiB +safe within.*")));
  EXPECT_THAT(lines, Contains(HasSubstr("all that is safe")));
}

TEST(HistoryLines, SaysHowMuchAndHowSafe) {
  EXPECT_THAT(HistoryLines({}, {}), testing::ElementsAre(HasSubstr("nothing is recorded")));
  v1::History history;
  history.set_minutes(3 * 1440);
  history.set_mode("observe");
  EXPECT_THAT(HistoryLines(history, {}), Contains(HasSubstr("unknown all the time")));
  history.set_known_minutes(4000);
  history.set_vm_size(std::uint64_t{2} << 30);
  history.set_additional_median(std::uint64_t{5} << 30);
  history.set_additional_most(std::uint64_t{8} << 30);
  history.set_more_vms_median(2);
  history.set_more_vms_most(4);
  history.set_horizon_seconds(600);
  for (int i = 0; i < 9; ++i) history.add_points()->set_additional(std::uint64_t(i) << 30);
  history.add_points();
  auto lines = HistoryLines(history, {});
  EXPECT_THAT(lines, Contains(HasSubstr("3.0 days")));
  EXPECT_THAT(lines, Contains(HasSubstr("2 in the median (0 to 4), of 2.0 GiB each")));
  EXPECT_THAT(lines, Contains("           ▁▂▃▄▅▅▆▇█ "));
  EXPECT_THAT(lines, Contains(HasSubstr("none whose 10 min are over")));
  history.set_promises(3000);
  EXPECT_THAT(HistoryLines(history, {}), Contains(HasSubstr("0 of 3000 would have broken")));
  history.set_broken(2);
  history.set_worst_shortfall(std::uint64_t{1} << 30);
  lines = HistoryLines(history, {});
  EXPECT_THAT(lines, Contains(HasSubstr("2 of 3000 would have broken within 10 min; at worst "
                                        "1.0 GiB were missing")));
}

TEST(ToJson, KnownZerosAreThereAndUnknownsAreNot) {
  const std::string json = ToJson(Sample());
  EXPECT_THAT(json, HasSubstr("\"resident\":\"0\""));
  EXPECT_THAT(json, HasSubstr("\"granted\":\"0\""));
  EXPECT_THAT(json, HasSubstr("\"guestMemory\":\"0\""));
  EXPECT_THAT(json, Not(HasSubstr("\"returned\"")));
  EXPECT_THAT(json, Not(HasSubstr("\"terms\"")));
  EXPECT_THAT(json, Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace ullage::clients
