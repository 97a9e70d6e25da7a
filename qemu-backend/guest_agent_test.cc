// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/guest_agent.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ullage::qemu {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

std::string Content(const std::string& base64) {
  return R"({"return":{"count":1,"buf-b64":")" + base64 + R"(","eof":true}})";
}

TEST(GuestAgentProtocol, AsksInQemusWords) {
  const json open = json::parse(AskOpen("/a\"b", "r"));
  EXPECT_EQ(open["execute"], "guest-file-open");
  EXPECT_EQ(open["arguments"], json({{"path", "/a\"b"}, {"mode", "r"}}));
  EXPECT_EQ(json::parse(AskRead(7))["arguments"], json({{"handle", 7}, {"count", 4097}}));
  EXPECT_EQ(json::parse(AskClose(7))["arguments"], json({{"handle", 7}}));
  // RFC 4648, 10.
  const std::pair<const char*, const char*> vectors[] = {
      {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}};
  for (const auto& [plain, coded] : vectors) {
    EXPECT_EQ(json::parse(AskWrite(7, plain))["arguments"]["buf-b64"], coded);
    EXPECT_EQ(ParseContent(Content(coded)).value(), plain);
  }
}

TEST(GuestAgentProtocol, ReadsWhatQemuGaSays) {
  EXPECT_EQ(ParseHandle(R"({"return":1000})").value(), 1000);
  EXPECT_EQ(ParseCount(R"({"return":{"count":5,"eof":false}})").value(), 5);
  EXPECT_TRUE(ParseEmpty(R"({"return":{}})").ok());
  const auto error = ParseHandle(R"({"error":{"class":"GenericError","desc":"no\u001b[2J"}})");
  EXPECT_EQ(error.error().code(), Code::kInternal);
  EXPECT_EQ(error.error().message(), R"(guest agent: no\x1b[2J)");
}

TEST(GuestAgentProtocol, RefusesEverythingElse) {
  const std::string deep = R"({"return":)" + std::string(5000, '[') + std::string(5000, ']') + "}";
  for (const std::string& reply :
       {std::string(), std::string("null"), std::string("[]"), std::string("{}"), deep,
        std::string(R"({"return":null})"), std::string(R"({"return":"1"})"),
        std::string(R"({"return":-1})"), std::string(R"({"return":1.5})"),
        std::string(R"({"return":18446744073709551615})"), std::string("{\"return\":1"),
        std::string("\xFF\xFE"),
        R"({"return":1,"x":")" + std::string(kGuestReplyLimit, 'x') + "\"}"}) {
    EXPECT_EQ(ParseHandle(reply).error().code(), Code::kInvalid) << reply.substr(0, 40);
    EXPECT_EQ(ParseContent(reply).error().code(), Code::kInvalid) << reply.substr(0, 40);
    EXPECT_EQ(ParseCount(reply).error().code(), Code::kInvalid) << reply.substr(0, 40);
  }
  for (const char* coded : {"Zg=", "Z", "Zg==Zg==", "Z===", "Zm 9", "====", "Zg\\u0000="}) {
    EXPECT_FALSE(ParseContent(Content(coded)).ok()) << coded;
  }
}

TEST(GuestAgentProtocol, BoundsAFile) {
  const auto zeros = [](std::size_t groups) { return std::string(groups * 4, 'A'); };
  EXPECT_EQ(ParseContent(Content(zeros(1365))).value().size(), 4095u);
  EXPECT_THAT(ParseContent(Content(zeros(1366))).error().message(), HasSubstr("too long"));
}

TEST(Summary, KeepsWhatItKnowsAndWhatItDoesNot) {
  std::uint64_t refused = 0;
  const auto module = ParseSummary(
      "reporting 1\nballoon_pages 256\nreported_bytes 0\nreport_errors 3\nbackoffs 9\n", refused);
  ASSERT_TRUE(module.ok());
  EXPECT_EQ(module->reporting, true);
  EXPECT_EQ(module->balloon, Bytes::MiB(1));
  EXPECT_EQ(module->reported, Bytes()) << "a zero is known";
  EXPECT_EQ(module->report_errors, 3u);
  EXPECT_EQ(module->other, (std::map<std::string, std::uint64_t>{{"backoffs", 9}}));
  EXPECT_EQ(refused, 0u);
  const auto less = ParseSummary("passes 4\n", refused);
  ASSERT_TRUE(less.ok());
  EXPECT_EQ(less->reporting, std::nullopt);
  EXPECT_EQ(less->reported, std::nullopt) << "absent is not zero";
}

TEST(Summary, LeavesOutWhatIsNoCounter) {
  std::uint64_t refused = 0;
  const auto module = ParseSummary(
      "passes 4\nUPPER 1\nx\n\nname  2\nneg -1\nbig 18446744073709551616\n\x1B[2J 1\n" +
          std::string(kGuestNameLimit + 1, 'n') + " 1\nlast 18446744073709551615",
      refused);
  ASSERT_TRUE(module.ok());
  EXPECT_EQ(module->other.size(), 2u);
  EXPECT_EQ(module->other.at("last"), std::numeric_limits<std::uint64_t>::max());
  EXPECT_EQ(refused, 8u);
  EXPECT_FALSE(ParseSummary("", refused).ok());
  EXPECT_FALSE(ParseSummary("Permission denied\n", refused).ok());
}

TEST(Summary, IsBounded) {
  std::string text;
  for (int i = 0; i < 500; ++i) text += "c" + std::to_string(i) + " 1\n";
  std::uint64_t refused = 0;
  EXPECT_EQ(ParseSummary(text, refused)->other.size(), kGuestCounters);
  EXPECT_EQ(refused, 500 - kGuestCounters);
  const auto huge = ParseSummary("balloon_pages 18446744073709551615\n", refused);
  EXPECT_EQ(huge->balloon, Bytes::Max());
}

}  // namespace
}  // namespace ullage::qemu
