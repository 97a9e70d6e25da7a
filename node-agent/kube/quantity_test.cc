// SPDX-License-Identifier: Apache-2.0
#include "node-agent/kube/quantity.h"

#include <gtest/gtest.h>

#include <string>

namespace ullage::kube {
namespace {

constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();

google::protobuf::Value Text(const std::string& text) {
  google::protobuf::Value value;
  value.set_string_value(text);
  return value;
}

google::protobuf::Value Number(double number) {
  google::protobuf::Value value;
  value.set_number_value(number);
  return value;
}

TEST(Quantity, ReadsEachForm) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"0", 0},
      {"-0", 0},
      {"522715137", 522715137},
      {"+5", 5},
      {"512Mi", std::int64_t{512} << 20},
      {"1Ki", 1024},
      {"1.5Gi", std::int64_t{3} << 29},
      {"1Ti", std::int64_t{1} << 40},
      {"1Pi", std::int64_t{1} << 50},
      {"7Ei", std::int64_t{7} << 60},
      {"1k", 1000},
      {"5M", 5000000},
      {"1G", 1000000000},
      {"2T", 2000000000000},
      {"1P", 1000000000000000},
      {"9E", 9000000000000000000},
      {"12e6", 12000000},
      {"12E6", 12000000},
      {"1.5e3", 1500},
      {"1500e-3", 2},
      {"1e+2", 100},
      {"5.", 5},
      {".5Ki", 512},
      {"000001", 1},
      {"1.000000000000000000000000000000", 1},
      {"100000000000000000000000000e-20", 1000000},
      {"-3", -3},
      {"9223372036854775807", kMost},
      {"-9223372036854775807", -kMost},
      {"9223372036854775806.5", kMost},
      {"0e9999999999", 0},
  };
  for (const auto& [text, wanted] : cases) {
    const auto value = ParseQuantity(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.error().message();
    EXPECT_EQ(*value, wanted) << text;
  }
}

TEST(Quantity, RoundsUpAwayFromZero) {
  const std::pair<const char*, std::int64_t> cases[] = {
      {"100m", 1},
      {"1000m", 1},
      {"1001m", 2},
      {"1n", 1},
      {"1u", 1},
      {"1.1", 2},
      {"-1.1", -2},
      {"-100m", -1},
      {"0.1Ki", 103},
      {"1e-30", 1},
      {"1e-999", 1},
      {"0.0001", 1},
      {"1.0009765625Ki", 1025},
  };
  for (const auto& [text, wanted] : cases) {
    const auto value = ParseQuantity(text);
    ASSERT_TRUE(value.ok()) << text << ": " << value.error().message();
    EXPECT_EQ(*value, wanted) << text;
  }
}

TEST(Quantity, WhatDoesNotFitIsAnError) {
  for (const char* text :
       {"9223372036854775808", "8Ei", "10E", "1e19", "1e9999999999999", "99999999999999999999Ei",
        "-9223372036854775808", "9223372036854775807.1"}) {
    const auto value = ParseQuantity(text);
    ASSERT_FALSE(value.ok()) << text;
    EXPECT_EQ(value.error().code(), Code::kExhausted) << text;
  }
}

TEST(Quantity, RefusesWhatIsNone) {
  for (const char* text : {"",
                           " ",
                           "1 ",
                           " 1",
                           "Mi",
                           "1mi",
                           "1MI",
                           "1KI",
                           "1K",
                           "1 Gi",
                           "1.2.3",
                           ".",
                           "-",
                           "+",
                           "--1",
                           "1e",
                           "1e+",
                           "1e1.5",
                           "1e3Mi",
                           "1Mib",
                           "1GiB",
                           "0x10",
                           "1,5",
                           "nan",
                           "inf",
                           "١",
                           "123456789012345678901",
                           "1.23456789012345678901"}) {
    const auto value = ParseQuantity(text);
    ASSERT_FALSE(value.ok()) << "'" << text << "'";
    EXPECT_EQ(value.error().code(), Code::kInvalid) << text;
  }
  EXPECT_TRUE(ParseQuantity(std::string(kMaxQuantityLength, '0')).ok());
  EXPECT_FALSE(ParseQuantity(std::string(kMaxQuantityLength + 1, '0')).ok());
}

TEST(Quantity, ReadsBareNumbersOfCustomResources) {
  EXPECT_EQ(*ParseQuantity(Number(1073741824)), 1073741824);
  EXPECT_EQ(*ParseQuantity(Number(0.5)), 1);
  EXPECT_EQ(*ParseQuantity(Number(-2)), -2);
  EXPECT_EQ(*ParseQuantity(Number(1e15)), 1000000000000000);
  EXPECT_EQ(ParseQuantity(Number(1e16)).error().code(), Code::kExhausted);
  EXPECT_EQ(*ParseQuantity(Text("1Ki")), 1024);
}

TEST(Quantity, NullIsAbsentAndNotZero) {
  google::protobuf::Value null;
  null.set_null_value(google::protobuf::NULL_VALUE);
  EXPECT_EQ(ParseQuantity(null).error().code(), Code::kNotFound);
  EXPECT_EQ(ParseQuantity(google::protobuf::Value()).error().code(), Code::kNotFound);
  google::protobuf::Value boolean;
  boolean.set_bool_value(true);
  EXPECT_EQ(ParseQuantity(boolean).error().code(), Code::kInvalid);
}

TEST(Quantity, MemoryIsNotNegative) {
  EXPECT_EQ(ParseBytes(Text("1Mi"))->count(), 1 << 20);
  EXPECT_EQ(ParseBytes(Text("-1")).error().code(), Code::kInvalid);
}

}  // namespace
}  // namespace ullage::kube
