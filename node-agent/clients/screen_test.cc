// SPDX-License-Identifier: Apache-2.0
#include "node-agent/clients/screen.h"

#include <gmock/gmock.h>

#include <sstream>

namespace ullage::clients {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Screen, IsPlainLinesWhereNoTerminalIs) {
  std::ostringstream out;
  {
    Screen screen(out, false);
    EXPECT_TRUE(screen.Show({"a", "b"}, 24, 0));
    EXPECT_TRUE(screen.Show({"c"}, 24, 0));
  }
  EXPECT_EQ(out.str(), "a\nb\n\nc\n");
}

TEST(Screen, RedrawsInPlaceAndGivesTheCursorBack) {
  std::ostringstream out;
  {
    Screen screen(out, true);
    screen.Show({"a", "b"}, 24, 80);
    EXPECT_EQ(out.str(), "\x1b[?25la\x1b[K\nb\x1b[K\n\x1b[J");
    out.str("");
    screen.Show({"c"}, 24, 80);
    EXPECT_EQ(out.str(), "\x1b[?25l\x1b[2A\rc\x1b[K\n\x1b[J");
  }
  EXPECT_TRUE(out.str().ends_with("\x1b[?25h"));
}

TEST(Screen, StaysWithinTheTerminalsHeight) {
  std::ostringstream out;
  Screen screen(out, true);
  screen.Show(std::vector<std::string>(50, "x"), 10, 80);
  EXPECT_THAT(out.str(), HasSubstr("and 42 more lines"));
  out.str("");
  screen.Show({"y"}, 10, 80);
  EXPECT_THAT(out.str(), HasSubstr("\x1b[9A"));
}

TEST(Screen, StartsAnewAfterAResize) {
  std::ostringstream out;
  Screen screen(out, true);
  screen.Show({"x"}, 10, 80);
  out.str("");
  screen.Show({"x"}, 10, 40);
  EXPECT_THAT(out.str(), HasSubstr("\x1b[2J"));
  EXPECT_THAT(out.str(), Not(HasSubstr("A\r")));
}

TEST(Screen, NoticesThatNobodyReads) {
  std::ostringstream out;
  Screen screen(out, false);
  out.setstate(std::ios::badbit);
  EXPECT_FALSE(screen.Show({"x"}, 10, 40));
}

}  // namespace
}  // namespace ullage::clients
