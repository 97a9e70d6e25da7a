// SPDX-License-Identifier: Apache-2.0
#include "node-agent/sources/working_set.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

#include "node-agent/host/fake_guest_memory.h"
#include "node-agent/host/temporary_tree.h"

namespace ullage::sources {
namespace {

// All of it is in use, or nothing.
class Guest final : public host::FakeGuestMemory {
 public:
  Guest(std::size_t pages, bool is_busy) : FakeGuestMemory(pages), busy(is_busy) {}
  const bool busy;
};

class Marks final : public PageMarks {
 public:
  const char* Name() const override { return "fake"; }
  Result<std::vector<bool>> Set(host::GuestMemory&,
                                const std::vector<std::uint64_t>& pages) override {
    return std::vector<bool>(pages.size(), true);
  }
  Result<std::vector<bool>> Stand(host::GuestMemory& memory,
                                  const std::vector<std::uint64_t>& pages) override {
    return std::vector<bool>(pages.size(), !dynamic_cast<Guest&>(memory).busy);
  }
};

bool Eventually(const std::function<bool()>& holds) {
  for (int i = 0; i < 6000; ++i) {
    if (holds()) return true;
    std::this_thread::sleep_for(milliseconds(10));
  }
  return false;
}

host::VmProcess Vm(const char* id) {
  host::VmProcess vm;
  vm.id.value = id;
  return vm;
}

class SampledProbeTest : public testing::Test {
 protected:
  host::SystemClock clock_;
  SampledProbe probe_{std::make_unique<Marks>(),
                      [](const host::VmProcess& vm) -> Result<std::unique_ptr<host::GuestMemory>> {
                        if (vm.id.value == "lost") return Error(Code::kGone, "ended");
                        return std::unique_ptr<host::GuestMemory>(
                            std::make_unique<Guest>(4096, vm.id.value == "busy"));
                      },
                      clock_, seconds(1)};
};

TEST_F(SampledProbeTest, TellsColdFromBusy) {
  probe_.Watch({Vm("idle"), Vm("busy"), Vm("lost")});
  EXPECT_TRUE(Eventually([&] { return probe_.Latest({"idle"}).cold > Bytes::MiB(15); }));
  EXPECT_TRUE(Eventually([&] { return probe_.Latest({"busy"}).active == Permyriad{10000}; }));
  EXPECT_EQ(probe_.Latest({"busy"}).cold, Bytes(0));
  EXPECT_TRUE(Eventually([&] { return probe_.Latest({"lost"}).fault == "ended"; }));
  EXPECT_EQ(probe_.Latest({"lost"}).cold, std::nullopt);
  EXPECT_FALSE(probe_.TakeCold({"idle"}, Bytes::MiB(4))->empty());
  EXPECT_TRUE(probe_.TakeCold({"busy"}, Bytes::MiB(4))->empty());
  EXPECT_EQ(probe_.TakeCold({"lost"}, Bytes::MiB(4)).error().code(), Code::kUnavailable);
}

TEST_F(SampledProbeTest, ForgetsWhomItIsNotToWatch) {
  EXPECT_EQ(probe_.Latest({"idle"}).probe, "");
  EXPECT_EQ(probe_.TakeCold({"idle"}, Bytes::MiB(4)).error().code(), Code::kNotFound);
  probe_.Watch({Vm("idle")});
  EXPECT_TRUE(Eventually([&] { return probe_.Latest({"idle"}).probe == "fake"; }));
  probe_.Watch({});
  EXPECT_TRUE(Eventually([&] { return probe_.Latest({"idle"}).probe.empty(); }));
}

TEST(ChooseProbe, TakesWhatTheKernelHasAndSaysWhyNotMore) {
  const host::TemporaryTree tree;
  const host::SystemClock clock;
  host::Roots roots;
  roots.mm = tree.path("mm");
  std::string why;
  EXPECT_EQ(ChooseProbe(roots, clock, seconds(1), why), nullptr);
  tree.Write("mm/page_idle/bitmap", std::string(64, '\0'));
  if (!IdleMarks::Open(roots)) GTEST_SKIP() << "no right to see page frame numbers";
  EXPECT_STREQ(ChooseProbe(roots, clock, seconds(1), why)->Name(), "idle-page");
  tree.Write("mm/damon/admin/kdamonds/nr_kdamonds", "2\n");
  EXPECT_STREQ(ChooseProbe(roots, clock, seconds(1), why)->Name(), "idle-page");
  EXPECT_EQ(why, "damon: another program uses it");
}

}  // namespace
}  // namespace ullage::sources
