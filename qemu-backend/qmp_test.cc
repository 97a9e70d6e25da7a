// SPDX-License-Identifier: Apache-2.0
#include "qemu-backend/qmp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace ullage::qemu {
namespace {

using ::testing::HasSubstr;

std::string Status(const std::string& statuses, const std::string& guest_features) {
  return R"({"return":{"name":"virtio-balloon","device-id":5,"status":{"statuses":[)" + statuses +
         R"(]},"host-features":{"dev-features":["VIRTIO_BALLOON_F_REPORTING: offered"]},)" +
         R"("guest-features":{"unknown-dev-features":1099511627776,"dev-features":[)" +
         guest_features + R"(],"transports":[]}},"id":"libvirt-433"})";
}

constexpr const char* kReady = R"("VIRTIO_CONFIG_S_DRIVER: x","VIRTIO_CONFIG_S_DRIVER_OK: ready")";
constexpr const char* kReporting = R"("VIRTIO_BALLOON_F_REPORTING: Page reporting VQ enabled")";
constexpr const char* kNoCommand =
    R"({"id":"libvirt-9","error":{"class":"CommandNotFound","desc":"The command x has not been found"}})";

TEST(Qmp, AsksAboutOneDevice) {
  EXPECT_EQ(*AskIfReportingIsOffered("balloon0"),
            R"({"arguments":{"path":"/machine/peripheral/balloon0",)"
            R"("property":"free-page-reporting"},"execute":"qom-get"})");
  EXPECT_EQ(*AskVirtioStatus("ua-my.balloon_1"),
            R"({"arguments":{"path":"/machine/peripheral/ua-my.balloon_1/virtio-backend"},)"
            R"("execute":"x-query-virtio-status"})");
}

TEST(Qmp, RefusesAnAliasThatWalksElsewhere) {
  for (const std::string alias : {"", "../x", "a/b", "0balloon", "a\"", "b\xC3\xA9"}) {
    EXPECT_EQ(AskVirtioStatus(alias).error().code(), Code::kInvalid) << alias;
    EXPECT_EQ(AskIfReportingIsOffered(alias).error().code(), Code::kInvalid) << alias;
  }
  EXPECT_FALSE(AskVirtioStatus(std::string(65, 'a')).ok());
}

TEST(Qmp, ReadsABoolean) {
  EXPECT_EQ(*ParseQomBool(R"({"return":true,"id":"libvirt-1"})"), true);
  EXPECT_EQ(*ParseQomBool(R"({"return":false})"), false);
  for (const char* odd : {R"({"return":1})", R"({"return":"true"})", R"({"return":{}})"}) {
    EXPECT_EQ(ParseQomBool(odd).error().code(), Code::kInvalid) << odd;
  }
}

TEST(Qmp, SeesWhatTheGuestAccepted) {
  const auto on = ParseVirtioStatus(Status(kReady, kReporting));
  ASSERT_TRUE(on.ok());
  EXPECT_TRUE(on->reporting);
  EXPECT_TRUE(on->driver_ok);
}

TEST(Qmp, SeesWhetherTheGuestTakesBackFromItsBalloon) {
  const std::string both =
      kReporting + std::string(R"(,"VIRTIO_BALLOON_F_DEFLATE_ON_OOM: Deflate balloon on OOM")");
  EXPECT_TRUE(ParseVirtioStatus(Status(kReady, both))->deflates);
  EXPECT_TRUE(ParseVirtioStatus(Status(kReady, both))->reporting);
  EXPECT_FALSE(ParseVirtioStatus(Status(kReady, kReporting))->deflates);
  EXPECT_FALSE(
      ParseVirtioStatus(R"({"return":{"status":{"statuses":[]},"host-features":{"dev-features":)"
                        R"(["VIRTIO_BALLOON_F_DEFLATE_ON_OOM: x"]},"guest-features":)"
                        R"({"dev-features":[]}}})")
          ->deflates)
      << "the host's offer";
}

TEST(Qmp, DoesNotTakeTheHostsOfferForTheGuestsAnswer) {
  const auto off = ParseVirtioStatus(Status(kReady, R"("VIRTIO_BALLOON_F_STATS_VQ: x")"));
  ASSERT_TRUE(off.ok());
  EXPECT_FALSE(off->reporting);
}

TEST(Qmp, SeesWhatQemuOffers) {
  const auto status = [](const std::string& host) {
    return ParseVirtioStatus(R"({"return":{"status":{"statuses":[]},)" + host +
                             R"("guest-features":{"dev-features":[)" + kReporting + "]}}}");
  };
  EXPECT_EQ(ParseVirtioStatus(Status(kReady, ""))->offered, true);
  EXPECT_EQ(
      status(R"("host-features":{"dev-features":["VIRTIO_BALLOON_F_STATS_VQ: x"]},)")->offered,
      false)
      << "whatever the guest says";
  for (const char* none : {"", R"("host-features":{},)", R"("host-features":[],)",
                           R"("host-features":{"dev-features":"VIRTIO_BALLOON_F_REPORTING"},)"}) {
    ASSERT_TRUE(status(none).ok()) << none;
    EXPECT_EQ(status(none)->offered, std::nullopt) << none;
  }
}

TEST(Qmp, TellsFeaturesApartThatBeginAlike) {
  const auto alike = ParseVirtioStatus(Status(R"("VIRTIO_CONFIG_S_DRIVER_OK_NOT: x")",
                                              R"("VIRTIO_BALLOON_F_REPORTING2: x",7,null)"));
  ASSERT_TRUE(alike.ok());
  EXPECT_FALSE(alike->reporting);
  EXPECT_FALSE(alike->driver_ok);
}

TEST(Qmp, TellsErrorsOfQemuApart) {
  EXPECT_EQ(ParseVirtioStatus(kNoCommand).error().code(), Code::kNotFound);
  EXPECT_EQ(
      ParseVirtioStatus(R"({"error":{"class":"DeviceNotFound","desc":"gone"}})").error().code(),
      Code::kGone);
  const auto generic = ParseQomBool(
      R"({"error":{"class":"GenericError","desc":"Property 'x.y' not found\u001b[2J"}})");
  EXPECT_EQ(generic.error().code(), Code::kInternal);
  EXPECT_THAT(generic.error().message(), HasSubstr("Property 'x.y' not found\\x1b"));
  EXPECT_EQ(ParseQomBool(R"({"error":7})").error().code(), Code::kInternal);
}

TEST(Qmp, RefusesGarbage) {
  for (const std::string garbage :
       {"", "null", "[]", "{}", "{\"return\":", R"({"return":{}})", R"({"return":[]})",
        R"({"return":{"guest-features":{"dev-features":"x"},"status":{"statuses":[]}}})",
        R"({"return":{"guest-features":[],"status":7}})", "\xFF\xFE", "HMP text"}) {
    EXPECT_EQ(ParseVirtioStatus(garbage).error().code(), Code::kInvalid) << garbage;
  }
}

TEST(Qmp, BoundsSizeAndSurvivesDepth) {
  EXPECT_THAT(ParseQomBool(std::string(kQmpReplyLimit + 1, ' ')).error().message(),
              HasSubstr("longer"));
  EXPECT_FALSE(ParseQomBool(std::string(kQmpReplyLimit, '[')).ok());
  const std::size_t half = kQmpReplyLimit / 2 - 20;
  const std::string deep = "{\"return\":" + std::string(half, '[') + std::string(half, ']') + "}";
  EXPECT_FALSE(ParseVirtioStatus(deep).ok());
}

}  // namespace
}  // namespace ullage::qemu
