// SPDX-License-Identifier: Apache-2.0
#include "node-agent/host/text.h"

#include <gtest/gtest.h>

namespace ullage::host {
namespace {

TEST(Printable, KeepsPlainAndForeignText) {
  EXPECT_EQ(Printable("vm-1"), "vm-1");
  EXPECT_EQ(Printable("Fässer 樽"), "Fässer 樽");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(Printable("a\xff"), "a\\xff");
  EXPECT_EQ(Printable("\xc0\xaf"), "\\xc0\\xaf") << "overlong";
  EXPECT_EQ(Printable("\xed\xa0\x80"), "\\xed\\xa0\\x80") << "surrogate";
  EXPECT_EQ(Printable("\xe6\xa8"), "\\xe6\\xa8") << "cut off";
  EXPECT_EQ(Printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80") << "beyond U+10FFFF";
}

TEST(Printable, EscapesWhatMovesTheCursorOrTurnsTextRound) {
  EXPECT_EQ(Printable("\x1b[2J"), "\\x1b[2J");
  EXPECT_EQ(Printable(std::string_view("a\0b", 3)), "a\\x00b");
  EXPECT_EQ(Printable("\xe2\x80\xae"
                      "gpj"),
            "\\xe2\\x80\\xaegpj")
      << "right-to-left override";
  EXPECT_EQ(Printable("\xc2\x9b"
                      "x"),
            "\\xc2\\x9bx")
      << "C1 CSI";
}

TEST(Printable, CutsBetweenCharacters) {
  EXPECT_EQ(Printable("abcdef", 6), "abcdef");
  EXPECT_EQ(Printable("abcdefg", 6), "abc…");
  EXPECT_EQ(Printable("\xff\xff\xff", 8), "\\xff…");
  EXPECT_LE(Printable(std::string(1 << 20, '\xff')).size(), 256u);
}

TEST(ParseUnsigned, TakesDigitsOnly) {
  EXPECT_EQ(ParseUnsigned("0"), 0u);
  EXPECT_EQ(ParseUnsigned("4096\n"), 4096u);
  EXPECT_EQ(ParseUnsigned("18446744073709551615"), ~std::uint64_t{0});
  for (const char* bad :
       {"", "\n", " 1", "1 ", "-1", "+1", "0x10", "1e3", "1\n\n", "max", "18446744073709551616"}) {
    EXPECT_EQ(ParseUnsigned(bad), std::nullopt) << bad;
  }
}

TEST(TakeUntil, SplitsAndEnds) {
  std::string_view rest = "a:b";
  EXPECT_EQ(TakeUntil(rest, ':'), "a");
  EXPECT_EQ(TakeUntil(rest, ':'), "b");
  EXPECT_TRUE(rest.empty());
}

}  // namespace
}  // namespace ullage::host
