// SPDX-License-Identifier: Apache-2.0
#include "node-agent/model/shared_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ullage {
namespace {

using testing::ElementsAre;

TEST(SharedList, ACopyIsTheSameListUntilOneIsEdited) {
  SharedList<int> list(std::vector{1, 2});
  SharedList<int> copy = list;
  EXPECT_TRUE(copy.Shares(list));
  copy.Edit().push_back(3);
  EXPECT_FALSE(copy.Shares(list));
  EXPECT_THAT(list, ElementsAre(1, 2));
  EXPECT_THAT(copy, ElementsAre(1, 2, 3));
  EXPECT_FALSE(copy.Shares(SharedList(copy.Get()))) << "equal is not the same";
}

TEST(SharedList, NoneIsEmpty) {
  SharedList<int> none;
  EXPECT_TRUE(none.empty());
  EXPECT_THAT(none, ElementsAre());
  none.Edit().push_back(1);
  EXPECT_THAT(none, ElementsAre(1));
}

}  // namespace
}  // namespace ullage
