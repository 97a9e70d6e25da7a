// SPDX-License-Identifier: Apache-2.0
// Each formula by hand, on a node of 100 GiB that sells 90.
#include <gtest/gtest.h>

#include "node-agent/simulation/node.h"

namespace ullage::simulation {
namespace {

constexpr std::int64_t kGib = std::int64_t{1} << 30;

class RivalTest : public testing::Test {
 protected:
  RivalTest() {
    machine_.total = Bytes::GiB(100);
    machine_.reserve = Bytes::GiB(10);
    machine_.own = Bytes::GiB(5);
  }
  static std::unique_ptr<Strategy> Make(const std::string& name) {
    for (const Rival& rival : Rivals()) {
      if (name == rival.name) return rival.make();
    }
    ADD_FAILURE() << "no rival " << name;
    return nullptr;
  }
  void Add(std::int64_t limit, std::int64_t held, std::int64_t cold = 0, bool lent = false) {
    Order order;
    order.number = vms_.size();
    order.guest = order.limit = Bytes::GiB(limit);
    vms_.push_back({order,
                    Demand(order, Workload::kMixed, climate_),
                    lent ? order.limit : Bytes(),
                    0,
                    1000,
                    Bytes::GiB(held),
                    Bytes::GiB(cold),
                    Bytes(),
                    {}});
  }
  View Now(std::int64_t second = 0) const {
    Bytes used = machine_.own;
    Bytes cold;
    for (const Resident& vm : vms_) {
      used += vm.held;
      cold += vm.cold;
    }
    return {machine_, vms_, second, machine_.total - used, Bytes(), cold, machine_.swap};
  }
  static double InGib(Bytes bytes) {
    return static_cast<double>(bytes.count()) / static_cast<double>(kGib);
  }

  const Climate climate_{};
  Machine machine_;
  std::vector<Resident> vms_;
};

TEST_F(RivalTest, NobodyOvercommits) {
  Add(40, 10);
  const Offer offer = Make("none")->Sell(Now());
  EXPECT_EQ(offer.ordinary, Bytes::GiB(50));
  EXPECT_EQ(offer.reclaimed, Bytes());
}

TEST_F(RivalTest, AStaticRatioDoesNotLookAtUse) {
  Add(60, 10);
  EXPECT_NEAR(InGib(Make("static")->Sell(Now()).ordinary), 75, 0.01) << "1.5 × 90 − 60";
  vms_[0].held = Bytes::GiB(60);
  EXPECT_NEAR(InGib(Make("static")->Sell(Now()).ordinary), 75, 0.01);
}

TEST_F(RivalTest, WaspWantsSwapBehindItsRatio) {
  Add(60, 10);
  EXPECT_NEAR(InGib(Make("wasp")->Sell(Now()).ordinary), 30, 0.01) << "no swap: 90 − 60";
  machine_.swap = Bytes::GiB(20);
  EXPECT_NEAR(InGib(Make("wasp")->Sell(Now()).ordinary), 48, 0.1) << "1.2 × 90 − 60";
  machine_.swap = Bytes::GiB(90);
  EXPECT_NEAR(InGib(Make("wasp")->Sell(Now()).ordinary), 75, 0.1);
}

TEST_F(RivalTest, KoordinatorLendsWhatOrdinaryPodsDoNotUse) {
  Add(80, 20);
  Add(10, 10, 0, true);
  const auto koordinator = Make("koordinator");
  const Offer offer = koordinator->Sell(Now());
  EXPECT_EQ(offer.ordinary, Bytes::GiB(10));
  EXPECT_NEAR(InGib(offer.reclaimed), 65 - 10 - 20 - 10, 0.1);
  vms_[0].held = Bytes::GiB(22);
  EXPECT_EQ(koordinator->Sell(Now(60)).reclaimed, offer.reclaimed) << "moved by less than 10 %";
  EXPECT_LT(koordinator->Sell(Now(300)).reclaimed, offer.reclaimed);
  EXPECT_EQ(koordinator->writes(), 2u);
}

TEST_F(RivalTest, KoordinatorEvictsFrom70To68Percent) {
  Add(80, 60);
  Add(10, 2, 0, true);
  Add(10, 4, 0, true);
  const auto koordinator = Make("koordinator");
  EXPECT_EQ(koordinator->Look(Now()).evict, 2u) << "71 % used; the larger one";
  vms_[0].held = Bytes::GiB(58);
  EXPECT_TRUE(koordinator->Look(Now()).evict) << "69 %: not yet done";
  vms_[0].held = Bytes::GiB(56);
  EXPECT_FALSE(koordinator->Look(Now()).evict);
  vms_[0].held = Bytes::GiB(58);
  EXPECT_FALSE(koordinator->Look(Now()).evict) << "69 % from below";
}

TEST_F(RivalTest, MomBalloonsBelowAFifthFree) {
  Add(40, 20, 10);
  const auto mom = Make("mom");
  EXPECT_EQ(mom->balloon_a_second(Now()), Bytes());
  Add(80, 60, 10);
  EXPECT_NEAR(InGib(mom->balloon_a_second(Now())), 0.05 * (40 + 80) / 10, 0.01);
  vms_[1].cold = Bytes();
  vms_[1].held = Bytes::GiB(70);
  EXPECT_NEAR(InGib(mom->balloon_a_second(Now())), 0.05 * 40 / 10, 0.01)
      << "the other has less than 20 % free";
}

TEST_F(RivalTest, ProxmoxAimsAtFourFifths) {
  Add(80, 45);
  const auto proxmox = Make("proxmox");
  EXPECT_NEAR(InGib(proxmox->Sell(Now()).ordinary), 30, 0.1);
  EXPECT_EQ(proxmox->balloon_a_second(Now()), Bytes());
  vms_[0].held = Bytes::GiB(79);
  EXPECT_EQ(proxmox->Sell(Now()).ordinary, Bytes());
  EXPECT_EQ(proxmox->balloon_a_second(Now()), Bytes::MiB(10));
}

TEST_F(RivalTest, FiveSigmasOfADay) {
  Add(40, 10);
  const auto sigma = Make("sigma");
  EXPECT_NEAR(InGib(sigma->Sell(Now(0)).ordinary), 90 - 5 - 40, 0.01) << "too young: all of it";
  Offer offer;
  for (std::int64_t sample = 1; sample < 288; ++sample) {
    vms_[0].held = Bytes::GiB(sample % 2 == 0 ? 10 : 12);
    offer = sigma->Sell(Now(sample * 300));
  }
  EXPECT_NEAR(InGib(offer.ordinary), 90 - 5 - (11 + 5 * 1), 0.05) << "mean 11, sigma 1";
  Add(20, 1);
  EXPECT_NEAR(InGib(sigma->Sell(Now(288 * 300)).ordinary), 90 - 5 - 16 - 20, 0.05);
}

}  // namespace
}  // namespace ullage::simulation
