// SPDX-License-Identifier: Apache-2.0
#include "tests/guest/tap.h"

#include <gtest/gtest.h>

#include <iostream>
#include <sstream>

namespace ullage::tests {

void ExpectTap(const std::string& text, int least) {
  int checks = 0;
  std::string plan;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();  // a serial port's
    EXPECT_FALSE(line.starts_with("not ok")) << line;
    EXPECT_EQ(line.find("# SKIP"), std::string::npos) << line;
    if (line.starts_with("ok ")) ++checks;
    if (line.starts_with("1..")) plan = line;
  }
  EXPECT_GE(checks, least);
  EXPECT_EQ(plan, "1.." + std::to_string(checks)) << "it came to its end";
  if (testing::Test::HasFailure()) std::cerr << text;
}

}  // namespace ullage::tests
