// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/table.h"

#include <gmock/gmock.h>

namespace ullage::clients {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// U+202E, which turns the rest of a line around.
const std::string kOverride{'\xe2', '\x80', '\xae'};

Table Sample() {
  Table table;
  table.columns = {{"GUEST", false, 6, 0}, {"SIZE", true, 0, 0}, {"NOTE", false, 0, 1}};
  table.rows = {{{"alpha-and-omega"}, {"1.0 GiB"}, {"fine"}}, {{"b"}, {"64 MiB"}, {""}}};
  return table;
}

TEST(Table, AlignsColumns) {
  EXPECT_THAT(Render(Sample(), 0, false),
              ElementsAre("GUEST               SIZE  NOTE", "alpha-and-omega  1.0 GiB  fine",
                          "b                 64 MiB"));
}

TEST(Table, ShrinksNamesFirstThenLeavesColumnsOut) {
  EXPECT_THAT(
      Render(Sample(), 24, false),
      ElementsAre("GUEST         SIZE  NOTE", "alpha-an…  1.0 GiB  fine", "b           64 MiB"));
  EXPECT_THAT(Render(Sample(), 18, false),
              ElementsAre("GUEST      SIZE", "alpha…  1.0 GiB", "b        64 MiB"));
}

TEST(Table, NoLineIsEverWiderThanTheTerminal) {
  Table table = Sample();
  table.rows.push_back({{"虚拟机-数据库-一号"}, {"?"}, {"e\xcc\x81"}});
  table.rows.push_back({{"\x1b[2J\xff\n"}, {"?"}, {kOverride + "gnp.exe"}});
  for (int width = 1; width < 60; ++width) {
    for (const std::string& line : Render(table, width, false)) {
      EXPECT_LE(DisplayWidth(line), width) << line;
    }
  }
}

TEST(Table, WideAndCombiningCharactersKeepColumnsStraight) {
  Table table;
  table.columns = {{"N", false, 4, 0}, {"S", true, 0, 0}};
  table.rows = {{{"虚拟机"}, {"1"}}, {{"e\xcc\x81t\xc3\xa9"}, {"2"}}};
  EXPECT_THAT(Render(table, 0, false),
              ElementsAre("N       S", "虚拟机  1", "e\xcc\x81t\xc3\xa9     2"));
}

TEST(Table, NothingReachesTheTerminalThatItWouldActOn) {
  EXPECT_EQ(Fit("a\x1b[31m\n\xff" + kOverride, 20), "a?[31m???");
  EXPECT_EQ(DisplayWidth("\x1b\xff"), 2);
}

TEST(Table, FitNeverCutsInsideACharacter) {
  EXPECT_EQ(Fit("虚拟机", 6), "虚拟机");
  EXPECT_EQ(Fit("虚拟机", 5), "虚拟…");
  EXPECT_EQ(Fit("虚拟机", 4), "虚…");
  EXPECT_EQ(Fit("虚拟机", 1), "…");
  EXPECT_EQ(Fit("abc", 0), "");
}

TEST(Table, ColoursOnlyWhenAsked) {
  Table table = Sample();
  table.rows[0][2].tone = Tone::kBad;
  EXPECT_THAT(Render(table, 0, true)[1], HasSubstr("\x1b[31mfine\x1b[0m"));
  EXPECT_THAT(Render(table, 0, false)[1], Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace ullage::clients
