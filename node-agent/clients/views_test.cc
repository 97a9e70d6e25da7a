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
