// SPDX-License-Identifier: Apache-2.0
#include "node-agent/simulation/node.h"

#include <gtest/gtest.h>

namespace ullage::simulation {
namespace {

// Sells and does what the test says.
struct Script {
  Acts acts;
  bool kubelet = false;
  Bytes balloon;
};
class Scripted final : public Strategy {
 public:
  explicit Scripted(const Script& script) : script_(script) {}
  Acts Look(const View&) override { return script_.acts; }
  Offer Sell(const View&) override { return {}; }
  Bytes balloon_a_second(const View&) const override { return script_.balloon; }
  bool has_kubelet() const override { return script_.kubelet; }

 private:
  const Script& script_;
};

// A node of 10 GiB with VMs that do what a trace says: so many MiB at each minute.
class NodeTest : public testing::Test {
 protected:
  NodeTest() {
    machine_.total = Bytes::GiB(10);
    machine_.own = Bytes();
  }
  void Start() { node_ = std::make_unique<Node>(machine_, std::make_unique<Scripted>(script_)); }
  void Add(std::vector<std::int64_t> mib, std::int64_t cold_percent = 0) {
    TraceSeries& series = *series_.emplace_back(std::make_unique<TraceSeries>());
    series.limit = Bytes::GiB(20);
    for (std::size_t i = 0; i < mib.size(); ++i) {
      series.points.push_back({static_cast<std::int64_t>(i) * 60, Bytes::MiB(mib[i]),
                               Bytes::MiB(mib[i] * cold_percent / 100)});
    }
    Order order;
    order.number = series_.size();
    order.guest = order.limit = series.limit;
    order.trace = &series;
    Resident vm{order, Demand(order, Workload::kMixed, climate_), {}, 0, 1000, {}, {}, {}, {}};
    vm.held = Bytes::MiB(mib[0]);
    node_->Bind(vm);
  }
  std::vector<Order> Minute() {
    node_->Promise(minute_);
    return node_->Live(minute_++, true);
  }
  std::int64_t UsedMib() const { return node_->used().mib(); }

  const Climate climate_{};
  Machine machine_;
  Script script_;
  std::unique_ptr<Node> node_;
  std::vector<std::unique_ptr<TraceSeries>> series_;
  std::int64_t minute_ = 0;
};

TEST_F(NodeTest, MoreThanMemoryAndSwapKillsTheLargest) {
  machine_.swap = Bytes::GiB(1);
  Start();
  Add({3000, 3000});
  Add({4000, 9000});
  const auto lost = Minute();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].number, 2u);
  EXPECT_EQ(node_->Total().oom_kills, 1u);
  EXPECT_EQ(node_->Total().evictions, 0u);
  EXPECT_EQ(node_->vms().size(), 1u);
}

TEST_F(NodeTest, TheKernelPushesColdMemoryOutAsFastAsItCan) {
  machine_.swap = Bytes::GiB(8);
  machine_.swap_a_second = Bytes::MiB(100);
  Start();
  Add({9000, 12000, 12000, 12000}, 50);
  Minute();
  EXPECT_LE(UsedMib(), 10240);
  EXPECT_EQ(node_->Total().oom_kills, 0u);
  EXPECT_EQ(node_->Total().stall_seconds, 0) << "50 MiB a second more, 100 out";
  EXPECT_GT(node_->Total().most_out, Bytes::MiB(1700));
}

TEST_F(NodeTest, WhatCannotBePushedOutInTimeStalls) {
  machine_.swap = Bytes::GiB(8);
  machine_.swap_a_second = Bytes::MiB(10);
  Start();
  Add({9000, 12000, 12000, 12000}, 50);
  Minute();
  EXPECT_GT(node_->Total().stall_seconds, 10);
  EXPECT_EQ(node_->Total().oom_kills, 0u);
}

TEST_F(NodeTest, WhatIsTouchedAgainComesBack) {
  machine_.swap = Bytes::GiB(8);
  Start();
  script_.acts.push = Bytes::GiB(2);
  Add({4000, 4000, 4000, 4000}, 50);
  Minute();
  EXPECT_EQ(UsedMib(), 2000);
  script_.acts.push = Bytes();
  for (TracePoint& point : series_[0]->points) point.cold = Bytes();
  Minute();
  EXPECT_EQ(UsedMib(), 4000);
}

TEST_F(NodeTest, ABalloonTakesNoMoreThanPageCache) {
  Start();
  script_.balloon = Bytes::MiB(50);
  script_.acts.balloon = Bytes::GiB(5);
  Add({4000, 4000, 4000}, 50);
  Minute();
  EXPECT_EQ(UsedMib(), 3000) << "half of what is cold";
  script_.acts.balloon = Bytes::GiB(-5);
  Minute();
  EXPECT_EQ(UsedMib(), 4000);
}

TEST_F(NodeTest, TheKubeletEvictsWhereOneWatches) {
  for (const bool kubelet : {true, false}) {
    script_.kubelet = kubelet;
    minute_ = 0;
    Start();
    Add({5000, 5080});
    Add({5000, 5080});
    const auto lost = Minute();
    EXPECT_EQ(lost.size(), kubelet ? 1u : 0u);
    EXPECT_EQ(node_->Total().evictions, kubelet ? 1u : 0u);
    EXPECT_EQ(node_->Total().oom_kills, 0u);
  }
}

TEST_F(NodeTest, AMigrationWaitsForTheMinuteAndCounts) {
  Start();
  script_.acts.migrate = 0;
  Add({4000, 4000});
  Add({4000, 4000});
  Minute();
  ASSERT_TRUE(node_->Leaving());
  EXPECT_EQ(node_->Migrate(*node_->Leaving()).order.number, 1u);
  EXPECT_EQ(node_->Total().migrations, 1u);
  EXPECT_FALSE(node_->Leaving());
}

TEST_F(NodeTest, VmsEndWhenTheirTimeHasCome) {
  Start();
  Add({4000, 4000});
  EXPECT_TRUE(node_->End(999).empty());
  EXPECT_EQ(node_->End(1000).size(), 1u);
  EXPECT_TRUE(node_->vms().empty());
}

}  // namespace
}  // namespace ullage::simulation
