// SPDX-License-Identifier: Apache-2.0
#include "node-agent/publishers/requests.h"

#include <gmock/gmock.h>

namespace ullage::publishers {
namespace {

using testing::HasSubstr;

v1::ReserveRequest Good() {
  v1::ReserveRequest request;
  request.set_name("db");
  request.set_uuid("6F9B1C1E-0d3c-4d57-9d0c-0123456789ab");
  request.set_guest_memory(std::uint64_t{1} << 30);
  request.set_vcpus(2);
  return request;
}

void ExpectRefused(const v1::ReserveRequest& request, const char* why) {
  const auto spec = ParseReserve(request);
  ASSERT_FALSE(spec.ok()) << why;
  EXPECT_EQ(spec.error().code(), Code::kInvalid);
  EXPECT_THAT(spec.error().message(), HasSubstr(why));
}

TEST(Requests, TakesDefaultsAndOneSpellingOfTheUuid) {
  const auto spec = ParseReserve(Good());
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->id.value, "6f9b1c1e-0d3c-4d57-9d0c-0123456789ab");
  EXPECT_EQ(spec->placement, Placement::kStandard);
  EXPECT_EQ(spec->reclaim, Reclaim::kHints);
  EXPECT_EQ(spec->guest_memory, Bytes::GiB(1));
}

TEST(Requests, MakesAHostileNamePrintable) {
  v1::ReserveRequest request = Good();
  request.set_name(std::string("\xff\x1b]0;x\x07\0n", 9));
  const auto spec = ParseReserve(request);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->name, "\\xff\\x1b]0;x\\x07\\x00n");
}

TEST(Requests, RefusesWhatNoDomainHas) {
  v1::ReserveRequest request = Good();
  request.set_uuid("6f9b1c1e-0d3c-4d57-9d0c-0123456789a");
  ExpectRefused(request, "uuid");
  request.set_uuid("6f9b1c1e-0d3c-4d57-9d0c-0123456789ag");
  ExpectRefused(request, "uuid");
  request = Good();
  request.set_guest_memory(0);
  ExpectRefused(request, "guest_memory is 0");
  request.set_guest_memory((std::uint64_t{64} << 40) + 1);
  ExpectRefused(request, "64 TiB");
  request = Good();
  request.set_vcpus(0);
  ExpectRefused(request, "vcpus is 0");
  request.set_vcpus(4097);
  ExpectRefused(request, "4096");
  request = Good();
  request.set_name(std::string(4097, 'x'));
  ExpectRefused(request, "4 KiB");
  request = Good();
  request.set_placement("cheap");
  ExpectRefused(request, "'cheap'");
  request = Good();
  request.set_reclaim("HINTS");
  ExpectRefused(request, "'HINTS'");
}

TEST(Requests, TakesTheLargestOfEach) {
  v1::ReserveRequest request = Good();
  request.set_guest_memory(std::uint64_t{64} << 40);
  request.set_vcpus(4096);
  request.set_name(std::string(4096, 'x'));
  request.set_placement("reclaimed");
  request.set_reclaim("off");
  const auto spec = ParseReserve(request);
  ASSERT_TRUE(spec.ok());
  EXPECT_EQ(spec->placement, Placement::kReclaimed);
  EXPECT_LE(spec->name.size(), 256u);
}

}  // namespace
}  // namespace ullage::publishers
